"""smoothxent beside its peers: `python -m benches.peers`."""

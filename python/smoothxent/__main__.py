"""`python -m smoothxent` is the command `smoothxent`."""

import sys

from smoothxent._cli import main

if __name__ == "__main__":
    sys.exit(main())

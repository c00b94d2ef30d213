"""One module for each engine, in the order of the columns.

A module has

    PACKAGES               the distributions whose versions the record names
    start(threads)         once, before anything else: how many threads
    calls(problem)         what can be timed: "loss_grad", "loss", "softmax", "log_softmax", each also
                           as "... out" where the engine can write to memory it is given
    EPSILON                if it cannot smooth: 0

A call has everything it needs in the engine's own form, returns when the work is done, and is the
fastest form that a careful user of the engine would write.
"""

OURS = "smoothxent"
# The level that most machines have, beside AVX-512 where there is that.
AVX2 = "smoothxent_avx2"
# What the process of an engine finds in its environment.
ENVIRONMENTS = {AVX2: {"SMOOTHXENT_MAX_ISA": "avx2"}}
PEERS = (
    "torch",
    "torch_compile",
    "torch_compile_lse",
    "jax_optax",
    "jax_lse",
    "tensorflow",
    "tensorflow_xla",
    "onnxruntime",
    "sklearn",
    "numba",
    "scipy",
    "numpy",
)
ALL = (OURS, AVX2, *PEERS)
OPERATIONS = ("loss_grad", "loss", "softmax", "log_softmax")

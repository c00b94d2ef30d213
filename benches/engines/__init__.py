"""One module for each engine, in the order of the columns.

A module has

    PACKAGES               the distributions whose versions are in the record
    start(threads)         sets the number of threads; called once, before anything else
    calls(problem)         the calls to time: "loss_grad", "loss", "soft_loss", "softmax", "log_softmax",
                           each also as "... out" if the engine can write to a given array
    EPSILON                0 if it has no label smoothing

A call has everything it needs in the engine's own form, returns when the work is done, and is the
fastest form that a careful user of the engine would write.
"""

OURS = "smoothxent"
# The level of most machines, beside AVX-512 if the processor has it.
AVX2 = "smoothxent_avx2"
# Environment variables for the process of an engine.
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
OPERATIONS = ("loss_grad", "loss", "soft_loss", "softmax", "log_softmax")

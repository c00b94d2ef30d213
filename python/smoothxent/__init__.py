"""Softmax cross-entropy with label smoothing: its value, its gradient, and what it is made of.

For logits z of one sample, K classes, target distribution q, a prior u (uniform by default) and
label smoothing eps (section 7 of arXiv 1512.00567)::

    p(k)     = exp(z_k) / sum_i exp(z_i)                     softmax, log_softmax, logsumexp
    q'(k)    = (1 - eps) q(k) + eps u(k)                     smooth_labels, label_dropout
    loss     = -sum_k q'(k) log p(k)                         cross_entropy
             = (1 - eps) H(q, p) + eps (KL(u || p) + H(u))   cross_entropy_terms
    gradient = p(k) - q'(k)                                  cross_entropy_value_and_grad

`top_k_log_softmax` and `log_softmax_at` give log p(k) of some classes of each row.

`linear_cross_entropy` and `linear_cross_entropy_value_and_grad` give the loss of the linear layer that makes
the logits, and its gradients, with the logits of some rows at a time in memory.

`class_prior` counts u from labels; `score` adds up loss, accuracy and calibration error over arrays
and files of any size. Arrays come by position or by keyword, everything else by keyword, and the classes
are along the last axis unless `axis` says otherwise. `tf_losses` has the loss as tf.compat.v1.losses calls it;
`smoothxent.dask`, a module to import, has some of the functions for dask arrays on many machines.

Arrays of other libraries are read where they lie in the memory of the CPU, by the buffer protocol,
`__array__` or DLPack; results are NumPy arrays, or the tensors of torch that were given as outputs
(`out`, `grad_out` and others), which must be on the CPU. bfloat16 is the type of ml_dtypes, also for tensors of torch.
Masked, missing and sparse values are refused, because NumPy would change them on the way, and collections
of dask, because reading them would compute them. `smoothxent.torch`, which imports PyTorch, has the loss as
PyTorch calls it.

A call reads and writes the memory of its arguments without a copy, on several threads and with the
interpreter lock released. If another thread changes the numbers meanwhile, or writes the same output,
results are unspecified. The memory itself must stay until the call has ended: ``ndarray.resize(refcheck=False)``
frees memory that is in use, as NumPy warns, and a file that is truncated under a `numpy.memmap` ends the process
(SIGBUS), as it does in NumPy.

Losses, entropies, divergences and log-probabilities are in nats: logarithms are natural.

Ctrl-C and other signals are answered within 100 ms. The time that another library takes to make an
array when it is asked for one is not included.
"""

import sys

from smoothxent import tf_losses
from smoothxent._activations import log_softmax, softmax
from smoothxent._chosen import TopK, log_softmax_at, top_k_log_softmax
from smoothxent._errors import InternalError, LabelError
from smoothxent._gradients import cross_entropy_value_and_grad
from smoothxent._labels import class_prior, label_dropout
from smoothxent._linear import (
    LinearCrossEntropy,
    linear_cross_entropy,
    linear_cross_entropy_value_and_grad,
)
from smoothxent._logsumexp import logsumexp
from smoothxent._losses import cross_entropy
from smoothxent._score import Score
from smoothxent._scoring import score
from smoothxent._smoothing import smooth_labels
from smoothxent._smoothxent import __version__
from smoothxent._terms import CrossEntropyTerms, cross_entropy_terms
from smoothxent._threads import get_num_threads, num_threads, set_num_threads, show_config

__all__ = [
    "CrossEntropyTerms",
    "InternalError",
    "LabelError",
    "LinearCrossEntropy",
    "Score",
    "TopK",
    "__version__",
    "class_prior",
    "cross_entropy",
    "cross_entropy_terms",
    "cross_entropy_value_and_grad",
    "get_num_threads",
    "label_dropout",
    "linear_cross_entropy",
    "linear_cross_entropy_value_and_grad",
    "log_softmax",
    "log_softmax_at",
    "logsumexp",
    "num_threads",
    "score",
    "set_num_threads",
    "show_config",
    "smooth_labels",
    "softmax",
    "tf_losses",
    "top_k_log_softmax",
]

# Whoever imports threadpoolctl later imports smoothxent.threadpoolctl: nothing is imported here that
# the program does not use. Before 3.2 it had no `register`.
if hasattr(sys.modules.get("threadpoolctl"), "register"):
    from smoothxent import threadpoolctl  # noqa: F401

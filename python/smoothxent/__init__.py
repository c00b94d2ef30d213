"""Softmax cross-entropy with label smoothing: the loss, its gradient and its terms.

For the logits z of one row, K classes, target distribution q, a prior u (uniform by default) and
label smoothing eps (section 7 of arXiv 1512.00567)::

    p(k)     = exp(z_k) / sum_i exp(z_i)                     softmax, log_softmax, logsumexp
    q'(k)    = (1 - eps) q(k) + eps u(k)                     smooth_labels, label_dropout
    loss     = -sum_k q'(k) log p(k)                         cross_entropy
             = (1 - eps) H(q, p) + eps (KL(u || p) + H(u))   cross_entropy_terms
    gradient = p(k) - q'(k)                                  cross_entropy_value_and_grad

`top_k_log_softmax` and `log_softmax_at` return log p(k) for some classes of each row.

`linear_cross_entropy` and `linear_cross_entropy_value_and_grad` compute the loss of a linear layer,
and its gradients, without holding all of its logits in memory.

`class_prior` estimates u from labels. `score` computes loss, accuracy and calibration error of
arrays of any size. `tf_losses` has the softmax cross-entropies of tf.compat.v1.losses. Modules to
be imported separately have the loss for other libraries: `smoothxent.torch` for PyTorch,
`smoothxent.dask` for Dask arrays, and `smoothxent.objectives` for LightGBM and XGBoost.

Arrays are passed by position or by keyword, options by keyword only. The classes are along the
last axis unless `axis` says otherwise. Losses, entropies, divergences and log-probabilities are in
nats: logarithms are natural.

Arrays of other libraries on the CPU are read through the buffer protocol, `__array__` or DLPack,
without a copy unless the library makes one, as for some data frames. Results are NumPy arrays, or
PyTorch tensors on the CPU that were given as outputs (`out`, `grad_out` and others). bfloat16 is
the type of ml_dtypes, also for PyTorch tensors.
Arrays with masked, missing or sparse values are refused, because NumPy would change these values,
and so are dask collections, because reading them would compute them.

A call reads and writes the memory of its arguments directly, and a large one on several threads and
with the interpreter lock (GIL) released. If another thread changes the numbers during the call, or
writes to the same output, the results are unspecified. The memory must remain valid until the call
has ended: ``ndarray.resize(refcheck=False)`` frees memory that is in use, as NumPy warns, and
truncating a file that is mapped by a `numpy.memmap` ends the process (SIGBUS), as in NumPy.

Ctrl-C and other signals are answered within 100 ms, plus the time that another library takes to
convert its objects to arrays. Only `score` with millions of rows in a chunk may take longer.
"""

import sys

try:  # before modules that import it, which would be said to be circular imports
    from smoothxent._smoothxent import __version__
except ModuleNotFoundError as _error:
    if _error.name != "smoothxent._smoothxent":
        raise
    raise ImportError(
        f"{__path__[0]} has no extension module for this Python, {sys.implementation.cache_tag} "
        f"on {sys.platform}: install smoothxent with pip, for this Python and not into an archive"
    ) from None

from smoothxent import _warnings, tf_losses  # noqa: F401 - the first, of the extension, so that PyInstaller sees it
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

# If threadpoolctl is imported later, the user imports smoothxent.threadpoolctl: nothing is imported here
# that the program does not use. Before 3.2 it had no `register`.
if hasattr(sys.modules.get("threadpoolctl"), "register"):
    from smoothxent import threadpoolctl  # noqa: F401

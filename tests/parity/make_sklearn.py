"""Writes sklearn.npz: scikit-learn's multinomial loss and log_loss, and SciPy's softmax functions.

Both losses take shape (rows, classes) and labels: the first logits, log_loss their softmax; log_loss
has no gradient.
"""

import numpy as np
import scipy
import sklearn
from scipy import special
from sklearn._loss import HalfMultinomialLoss
from sklearn.metrics import log_loss

from parity import archive, cases

VARIANTS = ("labels", "sample weights")
SHAPES = [shape for shape in cases.SHAPES if len(shape) == 2 and shape[1] >= 2]
# Only labels, neither smoothed nor ignored, with float32 or float64 logits.
DIFFERENCES = (
    "no rows", "sample weights all zero", "-inf off the label", "-inf at the label",
    "a row of -inf", "+inf off the label", "+inf at the label", "label K", "label -1",
    "confident rows", "large offset",
)  # fmt: skip


def multinomial(logits, targets, *, reduction, sample_weight=None, **_):
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    arrays = {
        "y_true": targets.astype(logits.dtype),
        "raw_prediction": logits,
        "sample_weight": sample_weight,
    }
    return {"loss": loss(**arrays)} if reduction == "mean" else loss.loss_gradient(**arrays)


def of_probabilities(logits, targets, *, reduction, sample_weight=None, **_):
    p = special.softmax(logits, axis=1)
    options = {"labels": np.arange(p.shape[1]), "normalize": reduction == "mean"}
    return {"loss": log_loss(targets, p, sample_weight=sample_weight, **options)}


def activation(logits, *, axis, op):
    return {"value": getattr(special, op)(logits, axis=axis)}


def grid():
    for case in cases.grid(VARIANTS, epsilons=[0.0], shapes=SHAPES):
        for reduction, peer, call in (
            ("none", multinomial, "sklearn._loss.HalfMultinomialLoss"),
            ("mean", multinomial, "sklearn._loss.HalfMultinomialLoss"),
            ("sum", of_probabilities, "sklearn.metrics.log_loss"),
            ("mean", of_probabilities, "sklearn.metrics.log_loss"),
        ):
            asked = case | {"options": case["options"] | {"reduction": reduction}}
            yield archive.ask(peer, asked, call)
    for case in cases.activations():
        yield archive.ask(activation, case, f"scipy.special.{case['op']}", op=case["op"])


def differences():
    for case in cases.differences(*DIFFERENCES):
        yield archive.ask(multinomial, case, "sklearn._loss.HalfMultinomialLoss")
    for case in cases.differences("no rows", "-inf at the label", "label K"):
        case["options"]["reduction"] = "mean"
        yield archive.ask(of_probabilities, case, "sklearn.metrics.log_loss")


if __name__ == "__main__":
    versions = {name.__name__: name.__version__ for name in (sklearn, scipy, np)}
    archive.write("sklearn", versions, [*grid(), *differences()])

"""The oracle of the options: weights, masks, temperature and z_loss around the formulas of reference.py.

With c the class weights, s the sample weight, T the temperature and lambda the z_loss, z / T
replaces z, a masked class has the logit -inf, and u is renormalised over the others:

    loss     = s [sum_k c_k q'(k) (-log p(k)) + lambda lse^2]
    gradient = s / T [(Q + 2 lambda lse) p(k) - c_k q'(k)]        Q = sum_k c_k q'(k)
    Hessian  = s Q p(k) (1 - p(k))                                T = 1, lambda = 0; its diagonal
"""

import numpy as np

import reference
from reference import Real

DEFAULTS = {
    "label_smoothing": 0.0,
    "prior": None,
    "class_weight": None,
    "sample_weight": None,
    "ignore_index": -100,
    "where": None,
    "temperature": 1.0,
    "z_loss": 0.0,
}


def effective(logits, where=None, temperature=1.0):
    """The logits that the softmax sees, minus their maximum, and the maximum: separately they keep their digits."""
    z = np.asarray(logits, Real)
    z = z if where is None else np.where(where, z, -np.inf)
    top = z.max(-1, keepdims=True)
    level = np.where(np.isfinite(top), top, 0)
    return (z - level) / Real(temperature), level[..., 0] / Real(temperature)


class Problem:
    """One call: classes last, rows first. Attributes have the names of the formulas."""

    def __init__(self, logits, targets, **options):
        options = DEFAULTS | options
        shape, targets = np.shape(logits), np.asarray(targets)
        where, prior = options["where"], options["prior"]
        targets = targets if targets.dtype.kind in "iu" else reference.in_row_type(targets, logits)
        prior = None if prior is None else reference.in_row_type(prior, logits)
        self.kept = np.broadcast_to(True if where is None else where, shape)
        self.counts = self.kept.any(-1)
        if targets.dtype.kind in "iu":
            self.counts = self.counts & (targets != options["ignore_index"])
        s = options["sample_weight"]
        self.s = np.broadcast_to(np.asarray(1.0 if s is None else s, Real), shape[:-1])
        self.counts = self.counts & (self.s != 0)
        c = options["class_weight"]
        c = np.ones(shape[-1], Real) if c is None else np.asarray(c, Real)
        if where is not None and options["label_smoothing"] > 0:
            u = np.where(self.kept, np.ones(()) if prior is None else prior, Real(0))
            total = u.sum(-1, keepdims=True)
            prior = u / np.where(total == 0, 1, total)
        smoothing = options["label_smoothing"], prior, options["ignore_index"]
        self.w = c * reference.smoothed(targets, shape[-1], *smoothing)
        self.hard_mass = (c * reference.smoothed(targets, shape[-1], 0.0, None, smoothing[2])).sum(
            -1
        )
        self.temperature, self.z_loss = Real(options["temperature"]), Real(options["z_loss"])
        # A row that does not count is not read.
        z, level = effective(logits, where, self.temperature)
        self.z = np.where(self.counts[..., None], z, np.where(self.kept, 0, -np.inf))
        with np.errstate(invalid="ignore"):
            self.row = reference.shifted(self.z)
            self.lse = level + reference.logsumexp(self.z)
        self.p = self.row.weight / self.row.weight.sum(-1, keepdims=True)

    def losses(self):
        with np.errstate(invalid="ignore"):
            log_p = reference.log_softmax(self.z)
            terms = -np.where(self.w == 0, 0, self.w * log_p)
            extra = self.z_loss * self.lse**2 if self.z_loss else 0
            return np.where(self.counts, self.s * (terms.sum(-1) + extra), 0)

    def gradient(self):
        others = self.row.others / self.row.weight.sum(-1, keepdims=True)
        rest = self.w.sum(-1, keepdims=True) - self.w
        slope = self.p * rest - self.w * others + self._pull() * self.p
        return np.where(self.counts[..., None] & self.kept, self._share() * slope, 0)

    def hessian(self):
        """Its diagonal, without z_loss."""
        others = self.row.others / self.row.weight.sum(-1, keepdims=True)
        curve = self.w.sum(-1, keepdims=True) * self.p * others
        return np.where(self.counts[..., None], self._share() * curve, 0)

    def gradient_size(self):
        """The size of the terms whose difference the gradient is."""
        weight = self.w.sum(-1, keepdims=True) + np.abs(self._pull())
        return np.maximum(self._share() * np.maximum(weight * self.p, self.w), 0)

    def divisor(self, reduction):
        if reduction == "mean":
            return np.where(self.counts, self.s * self.hard_mass, 0).sum()
        return Real(self.counts.sum() if reduction == "sum_by_nonzero_weights" else 1)

    def _pull(self):
        return 2 * self.z_loss * self.lse[..., None] if self.z_loss else Real(0)

    def _share(self):
        return self.s[..., None] / self.temperature

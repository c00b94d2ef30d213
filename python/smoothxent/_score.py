"""The result of `score`: exact sums over rows, and the figures computed from them.

Every figure is a quotient of two sums that are kept without rounding. So scores of parts add up to
the score of the whole, with the same bits, for any parts in any order.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from smoothxent._exact import ExactSum

BINS = 15
"""Bins of the confidence, of equal width: (0, 1/15], (1/15, 2/15], ..., (14/15, 1]."""

_NONE = ExactSum()


class Sums(NamedTuple):
    """Sums over rows that count, each row times its sample weight."""

    weight: ExactSum = _NONE
    """The sum of the weights alone."""
    loss: ExactSum = _NONE
    divisor: ExactSum = _NONE
    """The sum of the masses of the targets before smoothing, times class weights."""
    nll: ExactSum = _NONE
    prior_cross_entropy: ExactSum = _NONE
    prior_kl: ExactSum = _NONE
    prior_entropy: ExactSum = _NONE
    logsumexp: ExactSum = _NONE
    top_1: ExactSum = _NONE
    top_5: ExactSum = _NONE
    top_k: ExactSum = _NONE


@dataclass(frozen=True, slots=True, repr=False)
class Score:
    """Loss, accuracy and calibration error of rows of logits, as `score` returns them.

    Scores of parts can be added: ``a + b`` is the score of the rows of both, and ``sum(parts)``
    that of all parts. The sums from which the figures are computed are exact, so the parts and
    their order make no difference, not even in the last bit. Each figure is rounded once, when it
    is read. Scores are equal if all their sums are equal. They can be pickled, and `as_dict`
    returns the figures by name.

    Examples
    --------
    >>> import numpy as np
    >>> import smoothxent as sx
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 2.0]])
    >>> labels = np.array([0, 1, 0])
    >>> whole = sx.score(logits, labels)
    >>> whole
    Score of 3 rows
      loss                  0.636712
      nll                   0.636712
      prior cross-entropy   1.63671
      prior KL              0.538099
      prior entropy         1.09861
      logsumexp             2.63671
      perplexity            1.89025
      accuracy              0.666667
      top-5 accuracy        1
      calibration error     0.140346  (15 bins)
    >>> parts = [sx.score(logits[:2], labels[:2]), sx.score(logits[2:], labels[2:])]
    >>> sum(parts) == whole
    True
    """

    rows: int = 0
    """The number of rows that count: not ignored, of nonzero weight, with a class that `where` keeps."""
    ignored_rows: int = 0
    """The number of rows that do not count; no figure includes them."""
    nonfinite_rows: int = 0
    """The number of rows that count and whose loss is infinite or nan, which makes the mean so too."""
    top_k: int | None = None
    """The k of `top_k_accuracy`."""
    _sums: Sums = field(default_factory=Sums)
    _gaps: tuple[ExactSum, ...] = field(default_factory=lambda: (_NONE,) * BINS)
    """For each bin, the sum over its rows of hits minus confidences, times sample weights."""

    def __add__(self, other: Score) -> Score:
        if not isinstance(other, Score):
            return NotImplemented
        nothing = Score()
        if nothing in (self, other):
            return other if self == nothing else self
        if self.top_k != other.top_k:
            raise ValueError(
                f"scores with top_k {self.top_k} and {other.top_k} cannot be added to one another"
            )
        return Score(
            self.rows + other.rows,
            self.ignored_rows + other.ignored_rows,
            self.nonfinite_rows + other.nonfinite_rows,
            self.top_k,
            Sums._make(a + b for a, b in zip(self._sums, other._sums)),
            tuple(a + b for a, b in zip(self._gaps, other._gaps)),
        )

    def __radd__(self, other: object) -> Score:
        return self if other == 0 else NotImplemented  # `sum` starts with 0

    @property
    def loss(self) -> float:
        """The mean loss in nats, as in `cross_entropy`: the sum divided by `divisor`; nan without rows."""
        return self._sums.loss.over(self._sums.divisor)

    @property
    def divisor(self) -> float:
        """The divisor of "mean": the sum of the targets before smoothing, times all weights."""
        return self._sums.divisor.value()

    @property
    def nll(self) -> float:
        """The mean of H(q, p), the loss without smoothing, class weights and z_loss, in nats."""
        return self._sums.nll.over(self._sums.weight)

    @property
    def prior_cross_entropy(self) -> float:
        """The mean of H(u, p), the cross-entropy with the prior, in nats."""
        return self._sums.prior_cross_entropy.over(self._sums.weight)

    @property
    def prior_kl(self) -> float:
        """The mean of KL(u || p), the divergence from the prior, in nats."""
        return self._sums.prior_kl.over(self._sums.weight)

    @property
    def prior_entropy(self) -> float:
        """The mean of H(u), the entropy of the prior, in nats."""
        return self._sums.prior_entropy.over(self._sums.weight)

    @property
    def logsumexp(self) -> float:
        """The mean of the logarithm of the sum of exponentials of the logits, in nats."""
        return self._sums.logsumexp.over(self._sums.weight)

    @property
    def perplexity(self) -> float:
        """exp(nll), correctly rounded; it has no unit."""
        from decimal import Context, Decimal  # which takes 2 ms

        # `math.exp` depends on the processor and the C library. Without traps, overflow gives inf, no error.
        return float(Decimal.from_float(self.nll).exp(Context(prec=40, traps=[])))

    @property
    def accuracy(self) -> float:
        """The weighted share of the rows whose most probable class is that of the target."""
        return self._sums.top_1.over(self._sums.weight)

    @property
    def top_5_accuracy(self) -> float:
        """The weighted share of the rows whose target class is among the five most probable classes."""
        return self._sums.top_5.over(self._sums.weight)

    @property
    def top_k_accuracy(self) -> float | None:
        """The weighted share of the rows whose target class is among the `top_k` most probable, or None."""
        return None if self.top_k is None else self._sums.top_k.over(self._sums.weight)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (ECE), with 15 bins of equal width for the confidence.

        The confidence of a row is its largest probability. The ECE is the mean over the bins,
        weighted by their rows, of the absolute difference between the accuracy and the mean
        confidence.
        """
        gaps = [gap.over(self._sums.weight) for gap in self._gaps]
        return math.fsum(map(abs, gaps))

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the figures by name.

        Returns
        -------
        dict
            The attributes of the score; `top_k` and ``top_k_accuracy`` only if `top_k` was given.
        """
        names = ["rows", "ignored_rows", "nonfinite_rows", "divisor", *_LABELS]
        names.insert(names.index("top_k_accuracy"), "top_k")
        figures = {name: getattr(self, name) for name in names}
        return {name: figure for name, figure in figures.items() if figure is not None}

    def __repr__(self) -> str:
        """Return the figures as a table."""
        others = [f"{self.ignored_rows:,} ignored"] if self.ignored_rows else []
        if self.nonfinite_rows:
            others.append(f"the loss of {self.nonfinite_rows:,} is infinite or nan")
        beside = f" ({'; '.join(others)})" if others else ""
        lines = [f"Score of {self.rows:,} row{'' if self.rows == 1 else 's'}{beside}"]
        for name, label in _LABELS.items():
            value = getattr(self, name)
            if value is not None:
                lines.append(f"  {label.format(k=self.top_k):<20}  {value:.6g}")
        return "\n".join(lines) + f"  ({BINS} bins)"


_LABELS = {
    "loss": "loss",
    "nll": "nll",
    "prior_cross_entropy": "prior cross-entropy",
    "prior_kl": "prior KL",
    "prior_entropy": "prior entropy",
    "logsumexp": "logsumexp",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5 accuracy",
    "top_k_accuracy": "top-{k} accuracy",
    "calibration_error": "calibration error",
}


def to_state(score: Score) -> dict[str, Any]:
    """Return a score in the types of JSON, exactly."""
    return dataclasses.asdict(score)


def from_state(state: dict[str, Any]) -> Score:
    """Return the score that `to_state` was given."""
    sums, gaps = ([ExactSum(**one) for one in state[name]] for name in ("_sums", "_gaps"))
    return Score(**{**state, "_sums": Sums._make(sums), "_gaps": tuple(gaps)})

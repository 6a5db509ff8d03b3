"""How far a correlation could move by the luck of which pictures were measured.

Percentile intervals by the bootstrap, for one score vector or for the paired difference of two
against the same labels. Pictures of one person resemble each other, so where identities are
given whole identities are drawn. A resample is held as the number of times each picture was
drawn; ranks and moments follow from these counts without copying or sorting pictures again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiqa import metrics, vectors
from fiqa.errors import MetricError
from fiqa.vectors import Floats

Statistic = Literal["score", "srcc", "plcc"]
Identities = Sequence[Hashable] | NDArray[np.generic]

CELLS_AT_ONCE = 1 << 18  # pictures times resamples held together: about 2 MB an array
CONSTANT = 1e-12  # a spread below this part of the whole vector's is rounding

_ESTIMATES: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "score": metrics.challenge_score,
    "srcc": metrics.srcc,
    "plcc": metrics.plcc,
}


@dataclass(frozen=True)
class Interval:
    """A percentile interval holding `level` of the resampled values.

    `resamples` counts those used. `degenerate` more were left out, because the scores or labels
    drawn were all equal and have no correlation.
    """

    estimate: float
    low: float
    high: float
    level: float
    resamples: int
    units: Literal["identities", "pictures"]
    degenerate: int = 0


def bootstrap_interval(
    statistic: Statistic,
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    identities: Identities | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of `statistic` for one score vector; the same seed gives the same interval."""
    x, y = vectors.checked_pair(scores, labels)
    estimate = _estimate(statistic, x, y)
    draws = _Draws(x.size, identities, resamples, seed)
    return _interval(draws, estimate, _resampled(statistic, [x], y, draws)[0], level)


def bootstrap_difference(
    statistic: Statistic,
    scores: ArrayLike,
    baseline: ArrayLike,
    labels: ArrayLike,
    *,
    identities: Identities | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of `statistic` of `scores` minus that of `baseline`, on the same resamples.

    Above 0: the scores agree with the labels better than the baseline does.
    """
    return bootstrap_mean_difference(
        statistic, [scores], [baseline], labels,
        identities=identities, resamples=resamples, level=level, seed=seed,
    )  # fmt: skip


def bootstrap_mean_difference(
    statistic: Statistic,
    runs: Sequence[ArrayLike],
    baseline: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    identities: Identities | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The same for two recipes that were run several times: the mean of the one's runs minus
    that of the other's. The interval is over pictures or people; runs are not drawn.
    """
    if not runs or not baseline:
        raise MetricError(
            f"{len(runs)} runs and {len(baseline)} of the baseline", expected="one or more of each"
        )
    pairs = [vectors.checked_pair(scores, labels) for scores in runs]
    names = ("baseline scores", "labels")
    pairs += [vectors.checked_pair(scores, labels, names) for scores in baseline]
    y = pairs[0][1]
    shares = np.repeat([1 / len(runs), -1 / len(baseline)], [len(runs), len(baseline)])
    estimate = float(shares @ [_estimate(statistic, x, y) for x, _ in pairs])
    draws = _Draws(y.size, identities, resamples, seed)
    values = shares @ np.stack(_resampled(statistic, [x for x, _ in pairs], y, draws))
    return _interval(draws, estimate, values, level)


def _estimate(statistic: str, scores: Floats, labels: Floats) -> float:
    if statistic not in _ESTIMATES:
        raise MetricError(f"statistic {statistic!r}", expected=f"one of {', '.join(_ESTIMATES)}")
    return _ESTIMATES[statistic](scores, labels)


def _interval(draws: _Draws, estimate: float, values: Floats, level: float) -> Interval:
    tail = (1 - level) / 2
    if not 0 < level < 1 or draws.resamples * tail < 1 - 1e-9:
        raise MetricError(
            f"{draws.resamples} resamples for a level of {level}",
            expected="a level between 0 and 1, and a resample or more in each tail",
            fix="use level=0.95 with resamples=2000",
        )
    usable = values[np.isfinite(values)]
    degenerate = int(values.size - usable.size)
    if degenerate > usable.size:
        raise MetricError(
            f"{degenerate} of {values.size} resamples held scores or labels that are all equal",
            expected="at least half with some variation",
            fix="measure on more pictures; nearly all of these share one value",
        )
    low, high = np.quantile(usable, (tail, 1 - tail))
    used = int(usable.size)
    return Interval(estimate, float(low), float(high), level, used, draws.units, degenerate)


# ---------------------------------------------------------------- drawing


class _Draws:
    """Seeded resamples of pictures, or of identities with all their pictures."""

    units: Literal["identities", "pictures"]

    def __init__(
        self, pictures: int, identities: Identities | None, resamples: int, seed: int
    ) -> None:
        if resamples < 1:
            raise MetricError(f"{resamples} resamples", expected="at least 1")
        self.pictures, self.resamples, self.seed = pictures, resamples, seed
        self.owner = None if identities is None else _identity_codes(identities, pictures)
        self.units = "pictures" if self.owner is None else "identities"
        self.drawn_from = pictures if self.owner is None else int(self.owner.max()) + 1
        if self.drawn_from < vectors.FEWEST_SAMPLES:
            raise MetricError(
                f"{self.drawn_from} {self.units} to draw from",
                expected=f"at least {vectors.FEWEST_SAMPLES}",
                fix="measure on more people, or leave identities out and say so",
            )

    def chunks(self) -> Iterator[Floats]:
        """How often each picture was drawn, (pictures, some resamples), until all are done.

        The numbers drawn do not depend on how the resamples are cut into chunks.
        """
        rng = np.random.default_rng(self.seed)
        together = max(1, CELLS_AT_ONCE // self.pictures)
        for done in range(0, self.resamples, together):
            width = min(together, self.resamples - done)
            drawn = rng.integers(0, self.drawn_from, (width, self.drawn_from))
            cells = drawn * width + np.arange(width)[:, None]
            counts = np.bincount(cells.ravel(), minlength=self.drawn_from * width)
            counts = counts.reshape(self.drawn_from, width)
            chosen = counts if self.owner is None else counts[self.owner]
            yield chosen.astype(np.float64)


def _identity_codes(identities: Identities, pictures: int) -> NDArray[np.int64]:
    """Each picture's identity as a number from 0, in order of first appearance."""
    names = identities.tolist() if isinstance(identities, np.ndarray) else list(identities)
    if len(names) != pictures:
        raise MetricError(
            f"{len(names)} identities for {pictures} pictures",
            expected="one identity for each picture, in the same order",
        )
    unnamed = sum(name is None or name == "" or name != name for name in names)
    if unnamed:
        raise MetricError(
            f"{unnamed} of {pictures} pictures without an identity",
            expected="an identity for each picture",
            fix="name them, or leave identities out to resample pictures",
        )
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(name, len(codes)) for name in names], np.int64)


# ---------------------------------------------------------------- statistics from counts


def _resampled(
    statistic: str, vectors: list[Floats], labels: Floats, draws: _Draws
) -> list[Floats]:
    """`statistic` of each vector for every resample; NaN where a resample is constant."""
    parts: list[list[Floats]] = [[] for _ in vectors]
    sides = [_Side(values) for values in [labels, *vectors]]
    for counts in draws.chunks():
        drawn = counts.sum(axis=0)
        found = [np.zeros_like(drawn) for _ in vectors]
        for prepare in _PREPARE[statistic]:
            (target, power), *others = [prepare(side, counts, drawn) for side in sides]
            for value, (deviation, own_power) in zip(found, others, strict=True):
                shared = np.einsum("nb,nb,nb->b", counts, deviation, target)
                value += _ratio(shared, own_power * power) / len(_PREPARE[statistic])
        for part, value in zip(parts, found, strict=True):
            part.append(value)
    return [np.concatenate(part) for part in parts]


class _Side:
    """One vector, sorted once, so that each resample's ranks need only cumulative counts."""

    def __init__(self, values: Floats) -> None:
        self.values = vectors.centred_unit(values)
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        self.starts = np.concatenate(([0], np.flatnonzero(np.diff(ordered)) + 1))
        self.group = np.empty(values.size, np.int64)  # which distinct value each picture has
        self.group[self.order] = np.repeat(
            np.arange(self.starts.size), np.diff(np.append(self.starts, values.size))
        )

    def of_ranks(self, counts: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        """Midranks within each resample about their mean, (n, b), and their power, (b,)."""
        sizes = counts[self.order]
        if self.starts.size < self.order.size:
            sizes = np.add.reduceat(sizes, self.starts, axis=0)
        ranks = np.cumsum(sizes, axis=0)
        ranks -= (sizes - 1) / 2
        ranks -= (drawn + 1) / 2
        power = np.einsum("nb,nb,nb->b", sizes, ranks, ranks)
        return ranks[self.group], power

    def of_values(self, counts: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        """Values about each resample's mean, (n, b), and their power, (b,); 0 if constant."""
        deviation = self.values[:, None] - (self.values @ counts) / drawn
        power = np.einsum("nb,nb,nb->b", counts, deviation, deviation)
        power[power <= drawn * CONSTANT**2] = 0
        return deviation, power


_PREPARE: dict[str, tuple[Callable[[_Side, Floats, Floats], tuple[Floats, Floats]], ...]] = {
    "score": (_Side.of_ranks, _Side.of_values),
    "srcc": (_Side.of_ranks,),
    "plcc": (_Side.of_values,),
}


def _ratio(shared: Floats, power: Floats) -> Floats:
    """Correlations from sums of products; NaN where a side has no power."""
    result = np.full_like(shared, np.nan)
    np.divide(shared, np.sqrt(power), out=result, where=power > 0)
    return np.clip(result, -1, 1)

"""What a change of scores means for decisions: shift, flips, rejection, error versus discard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiqa.errors import MetricError
from fiqa.vectors import (
    Floats,
    checked_pair,
    checked_vector,
    require_variation,
)


@dataclass(frozen=True)
class Shift:
    """How far scores moved from one model to another, in score units (signed: after - before).

    A picture is accepted where score >= threshold. Without a threshold the flips are None.
    """

    count: int
    largest: float
    mean_absolute: float
    mean_signed: float
    threshold: float | None = None
    flip_share: float | None = None
    accept_to_reject: int | None = None
    reject_to_accept: int | None = None


def score_shift(before: ArrayLike, after: ArrayLike, *, threshold: float | None = None) -> Shift:
    """Compare two score vectors of the same pictures, such as FP32 and INT8."""
    a, b = checked_pair(before, after, ("scores before", "scores after"), fewest=1)
    moved = b - a
    largest, absolute = float(np.abs(moved).max()), float(np.abs(moved).mean())
    signed = float(moved.mean())
    if threshold is None:
        return Shift(int(a.size), largest, absolute, signed)
    limit = float(checked_vector([threshold], "threshold")[0])
    lost = int(((a >= limit) & (b < limit)).sum())
    gained = int(((a < limit) & (b >= limit)).sum())
    share = (lost + gained) / int(a.size)
    return Shift(int(a.size), largest, absolute, signed, limit, share, lost, gained)


@dataclass(frozen=True)
class Rejection:
    """The threshold that rejects `rejected` of `count` pictures (those with score < threshold)."""

    threshold: float
    requested_rate: float
    achieved_rate: float
    rejected: int
    count: int


def threshold_for_rejection(scores: ArrayLike, rate: float) -> Rejection:
    """The threshold that rejects as many pictures as possible, but no more than `rate` of them.

    Tied scores are rejected together or not at all. The threshold lies midway between the
    highest rejected and the lowest accepted score, so that rounding flips neither.
    """
    values = np.sort(checked_vector(scores, "scores", fewest=1))
    _require_share(rate, "rejection rate")
    wanted = math.floor(rate * values.size + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if wanted == values.size:
        threshold = math.nextafter(float(values[-1]), math.inf)
        return Rejection(threshold, float(rate), 1.0, wanted, wanted)
    accepted = float(values[wanted])
    rejected = int(np.searchsorted(values, accepted, side="left"))
    threshold = accepted
    if rejected:
        middle = (float(values[rejected - 1]) + accepted) / 2
        threshold = middle if middle > values[rejected - 1] else accepted
    count = int(values.size)
    return Rejection(threshold, float(rate), rejected / count, rejected, count)


def _require_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise MetricError(f"{name} {value}", expected="from 0 to 1")


@dataclass(frozen=True)
class DiscardCurve:
    """Share of bad pictures among those kept, as the lowest-scored are discarded.

    `errors[i]` belongs to `fractions[i]` discarded. `oracle` discards by the labels themselves,
    `random` blindly. Areas are integrals over the fractions, by trapezoids; lower is better.
    A picture is bad where label < bad_below.
    """

    count: int
    bad_below: float
    bad_share: float
    fractions: tuple[float, ...]
    errors: tuple[float, ...]
    oracle: tuple[float, ...]
    random: tuple[float, ...]
    area: float
    area_oracle: float
    area_random: float

    @property
    def gain(self) -> float:
        """1 for the oracle's area, 0 for blind discarding, negative for worse than blind."""
        return (self.area_random - self.area) / (self.area_random - self.area_oracle)


DISCARD_FRACTIONS = tuple(step / 20 for step in range(20))  # 0, 0.05, ... 0.95


def discard_curve(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    bad_below: float | None = None,
    fractions: Sequence[float] = DISCARD_FRACTIONS,
) -> DiscardCurve:
    """The error-versus-discard curve of `scores`.

    By default the bad pictures are the lowest fifth of the labels, with all that tie with its
    highest. Tied scores are discarded in random order and a fraction of a picture in part: the
    curve is the expectation, so it does not depend on the order of the input.
    """
    x, y = checked_pair(scores, labels)
    shares = _checked_fractions(fractions)
    limit = _lowest_fifth(y) if bad_below is None else bad_below
    limit = float(checked_vector([limit], "bad_below")[0])
    bad = y < limit
    if bad.all() or not bad.any():
        raise MetricError(
            f"{int(bad.sum())} of {bad.size} labels below {limit:g}",
            expected="some bad pictures and some good ones",
            fix=f"choose bad_below between {y.min():g} and {y.max():g}",
        )
    errors, oracle = _kept_bad_share(x, bad, shares), _kept_bad_share(y, bad, shares)
    blind = np.full(shares.size, bad.mean())
    areas = [_area(shares, curve) for curve in (errors, oracle, blind)]
    lists: list[Any] = [tuple(curve.tolist()) for curve in (shares, errors, oracle, blind)]
    return DiscardCurve(int(x.size), limit, float(bad.mean()), *lists, *areas)


def _checked_fractions(fractions: Sequence[float]) -> Floats:
    shares = checked_vector(fractions, "discard fractions", fewest=2)
    if shares[0] < 0 or shares[-1] >= 1 or (np.diff(shares) <= 0).any():
        raise MetricError(
            f"discard fractions {shares.tolist()}", expected="rising, from 0 to below 1"
        )
    return shares


def _lowest_fifth(labels: Floats) -> float:
    """The limit below which a fifth of the labels lie, or more where they tie."""
    require_variation(labels, "labels")
    ordered = np.sort(labels)
    highest_bad = ordered[math.ceil(labels.size / 5) - 1]
    above = ordered[ordered > highest_bad]
    return float(above[0] if above.size else highest_bad)


def _kept_bad_share(scores: Floats, bad: NDArray[np.bool_], shares: Floats) -> Floats:
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    discarded = np.concatenate(([0], np.cumsum(sizes)))
    bad_discarded = np.concatenate(([0], np.cumsum(np.bincount(group, weights=bad))))
    dropped = shares * scores.size
    kept_bad = bad_discarded[-1] - np.interp(dropped, discarded, bad_discarded)
    return np.asarray(np.maximum(kept_bad, 0) / (scores.size - dropped), np.float64)


def _area(x: Floats, y: Floats) -> float:
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())

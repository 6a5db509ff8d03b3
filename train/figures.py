"""Figures of agreement with the intervals that belong to them, or the reason why there is none.

Intervals are bootstrapped over people where these are known, else over pictures. A figure that
the numbers do not define (too few pictures, a constant score) is None with its reason: a small
split must not stop the measurement of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fiqa import logistic, metrics, vectors
from fiqa.bootstrap import Interval, Statistic, bootstrap_difference, bootstrap_interval
from fiqa.errors import MetricError
from fiqa.vectors import Floats

LEVEL = 0.95
SLOW_RESAMPLES = 1000  # for figures that fiqa.bootstrap has no fast way for: 1 s for 1000 pictures
COMPARED: tuple[Statistic, ...] = ("score", "srcc", "plcc")

Identities = Sequence[Hashable]
Units = Literal["identities", "pictures"]
Measure = Callable[[Floats, Floats], float]
Bounds = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval. `reason` says why one of them is missing."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def units_of(identities: Identities | None) -> Units:
    """What intervals draw: fewer than three people say nothing about people."""
    known = identities is not None and len(set(identities)) >= vectors.FEWEST_SAMPLES
    return "identities" if known else "pictures"


def agreement(
    scores: Floats, labels: Floats, identities: Identities | None = None
) -> dict[str, Estimate]:
    """SRCC, KRCC, PLCC raw and fitted, RMSE raw and fitted, and the challenge score.

    The fitted figures' intervals hold the logistic as it was fitted to all pictures.
    """
    people = identities if units_of(identities) == "identities" else None

    def fast(name: Statistic, x: Floats) -> Bounds:
        return lambda: _bounds(bootstrap_interval(name, x, labels, identities=people, level=LEVEL))

    def slow(measure: Measure, x: Floats) -> Bounds:
        return lambda: _slow_bounds(measure, x, labels, people)

    found = {
        "srcc": _estimate(lambda: metrics.srcc(scores, labels), fast("srcc", scores)),
        "krcc": _estimate(lambda: metrics.krcc(scores, labels), slow(metrics.krcc, scores)),
        "plcc": _estimate(lambda: metrics.plcc(scores, labels), fast("plcc", scores)),
        "rmse": _estimate(lambda: metrics.rmse(scores, labels), slow(metrics.rmse, scores)),
        "score": _estimate(lambda: metrics.challenge_score(scores, labels), fast("score", scores)),
    }
    try:
        mapped = logistic.fit_logistic(scores, labels)(scores)
    except MetricError as error:
        return found | dict.fromkeys(("plcc_fitted", "rmse_fitted"), _missing(error))
    if mapped.min() == mapped.max():
        plcc_fitted = Estimate(0.0, reason="the scores say nothing: the fit is flat")
    else:
        plcc_fitted = _estimate(lambda: metrics.plcc(mapped, labels), fast("plcc", mapped))
    rmse_fitted = _estimate(lambda: metrics.rmse(mapped, labels), slow(metrics.rmse, mapped))
    return found | {"plcc_fitted": plcc_fitted, "rmse_fitted": rmse_fitted}


def advantage(
    scores: Floats, baseline: Floats, labels: Floats, identities: Identities | None = None
) -> dict[str, Estimate]:
    """How much better than the baseline, on the same pictures; above 0 is better."""
    people = identities if units_of(identities) == "identities" else None
    found: dict[str, Estimate] = {}
    for name in COMPARED:
        try:
            interval = bootstrap_difference(
                name, scores, baseline, labels, identities=people, level=LEVEL
            )
            found[name] = Estimate(interval.estimate, interval.low, interval.high)
        except MetricError as error:
            found[name] = _missing(error)
    return found


def _estimate(value: Callable[[], float], bounds: Bounds) -> Estimate:
    try:
        found = value()
    except MetricError as error:
        return _missing(error)
    try:
        return Estimate(found, *bounds())
    except MetricError as error:
        return Estimate(found, reason=f"no interval: {error.found}")


def _missing(error: MetricError) -> Estimate:
    return Estimate(None, reason=error.found)


def _bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _slow_bounds(
    measure: Measure, scores: Floats, labels: Floats, identities: Identities | None
) -> tuple[float, float]:
    """A percentile interval of any measure, one resample after the other."""
    owned = _pictures_of(identities, labels.size)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(SLOW_RESAMPLES):
        drawn = rng.integers(0, len(owned), len(owned))
        chosen = np.concatenate([owned[unit] for unit in drawn])
        try:
            values.append(measure(scores[chosen], labels[chosen]))
        except MetricError:
            continue  # all drawn are equal
    if len(values) < SLOW_RESAMPLES / 2:
        raise MetricError("most resamples held scores or labels that are all equal")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def _pictures_of(identities: Identities | None, count: int) -> list[NDArray[np.int64]]:
    """The pictures of each person; each picture alone where people are unknown."""
    if identities is None:
        return list(np.arange(count)[:, None])
    places: dict[Hashable, list[int]] = {}
    for place, person in enumerate(identities):
        places.setdefault(person, []).append(place)
    return [np.array(own) for own in places.values()]

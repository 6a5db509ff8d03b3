"""Latency from raw samples: percentiles, the spread between blocks, the ratio of two models.

Nothing is thrown away as an outlier. What makes a number doubtful is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiqa.errors import MetricError

UNSTABLE_CV = 0.05  # of the blocks' medians: beyond it a difference of 5 % says nothing
UNSTABLE_RATIO = 0.03  # half width of a ratio's interval, as a part of the ratio
THROTTLED = 1.10  # the last third of the blocks over the first third

# Student's t at 97.5 %, by degrees of freedom from 1; beyond the table the normal's 1.96.
T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Latency:
    """Of one model in one setup, in milliseconds. `cv_*`: standard deviation over mean."""

    runs: int
    blocks: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    mean_ms: float
    cv_samples: float
    cv_blocks: float | None  # of the blocks' medians; None with one block


@dataclass(frozen=True)
class Ratio:
    """How many times as long one model takes as another, paired by block; 95 % interval."""

    value: float
    low: float | None  # None with one pair
    high: float | None
    pairs: int

    @property
    def half_width(self) -> float | None:
        """As a part of the ratio."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of all do not exceed: a time that was seen."""
    if not values:
        raise MetricError("no samples", expected="at least one")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(blocks: Sequence[Sequence[float]]) -> Latency:
    """Of all samples (in microseconds) of all blocks."""
    samples = [sample for block in blocks for sample in block]
    medians = [percentile(block, 0.5) for block in blocks]
    return Latency(
        runs=len(samples),
        blocks=len(blocks),
        p50_ms=percentile(samples, 0.5) / 1e3,
        p90_ms=percentile(samples, 0.9) / 1e3,
        p99_ms=percentile(samples, 0.99) / 1e3,
        min_ms=min(samples) / 1e3,
        mean_ms=float(np.mean(samples)) / 1e3,
        cv_samples=_variation(samples) or 0.0,
        cv_blocks=_variation(medians),
    )


def paired_ratio(after: Sequence[float], before: Sequence[float]) -> Ratio:
    """The geometric mean of after / before over rounds, each in the same stretch of time.

    Its interval is Student's, on logarithms: a handful of rounds is too few to resample.
    """
    if len(after) != len(before) or len(after) == 0:
        raise MetricError(f"{len(after)} against {len(before)} blocks", expected="pairs of blocks")
    logs = np.log(np.asarray(after) / np.asarray(before))
    value = math.exp(float(logs.mean()))
    if len(logs) == 1:
        return Ratio(value, None, None, 1)
    half = t_quantile(len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return Ratio(value, value * math.exp(-half), value * math.exp(half), len(logs))


def t_quantile(freedom: int) -> float:
    return T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else 1.96


def drift(medians: Sequence[float]) -> float | None:
    """The last third of the blocks over the first, by their medians; None below 6 blocks."""
    third = len(medians) // 3
    if third < 2:
        return None
    return float(np.median(medians[-third:]) / np.median(medians[:third]))


def doubts(latency: Latency, medians: Sequence[float]) -> list[str]:
    """Why this latency should not be leant on, if anything speaks against it."""
    found = []
    if latency.cv_blocks is None:
        found.append("one block: its stability is unknown")
    elif latency.cv_blocks > UNSTABLE_CV:
        found.append(f"unstable: block medians vary by {100 * latency.cv_blocks:.0f} %")
    moved = drift(medians)
    if moved is not None and moved > THROTTLED:
        found.append(
            f"throttled or disturbed: {100 * (moved - 1):.0f} % slower at the end than at first"
        )
    return found


def ratio_doubts(ratio: Ratio) -> list[str]:
    half = ratio.half_width
    if half is None:
        return ["one pair of blocks: no interval"]
    if half > UNSTABLE_RATIO:
        return [f"unstable: the ratio is known to {100 * half:.0f} % only"]
    return []


def _variation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / np.mean(values))

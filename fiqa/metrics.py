"""How well predicted quality scores agree with labels.

Correlations (SRCC, KRCC, PLCC raw and after the four-parameter logistic) and errors. Everything
takes lists or 1-D arrays. What the numbers do not define (NaN, too few samples, no variation)
raises `MetricError`; no function returns NaN. Intervals live in `fiqa.bootstrap`, thresholds
and what a shift of scores changes in `fiqa.decisions`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiqa.logistic import fit_logistic
from fiqa.vectors import (
    Floats,
    checked_pair,
    pearson,
    require_variation,
)


def midranks(values: Floats) -> Floats:
    """Ranks from 1; tied values share the mean of the ranks they span."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks


def plcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Pearson's linear correlation of the raw values, without any fitted mapping."""
    x, y = checked_pair(scores, labels)
    require_variation(x, "scores")
    require_variation(y, "labels")
    return pearson(x, y)


def srcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's on midranks."""
    x, y = checked_pair(scores, labels)
    require_variation(x, "scores")
    require_variation(y, "labels")
    return pearson(midranks(x), midranks(y))


def krcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Kendall's tau-b (corrected for ties), by Knight's method in O(n log n)."""
    x, y = checked_pair(scores, labels)
    require_variation(x, "scores")
    require_variation(y, "labels")
    order = np.lexsort((y, x))  # by score, tied scores by label: such pairs are no inversion
    x, y = x[order], y[order]
    position = np.empty(y.size, np.int64)
    position[np.argsort(y, kind="stable")] = np.arange(y.size)  # tied labels: no inversion
    new_x = np.diff(x) != 0
    pairs = x.size * (x.size - 1) // 2
    tied_x = _tied_pairs(new_x)
    tied_y = _tied_pairs(np.diff(np.sort(y)) != 0)
    tied_both = _tied_pairs(new_x | (np.diff(y) != 0))
    surplus = pairs - tied_x - tied_y + tied_both - 2 * _inversions(position)
    tau = surplus / math.sqrt(pairs - tied_x) / math.sqrt(pairs - tied_y)
    return min(1.0, max(-1.0, tau))


def rmse(scores: ArrayLike, labels: ArrayLike) -> float:
    """Root mean squared difference, in the units of the labels."""
    x, y = checked_pair(scores, labels, fewest=1)
    return math.sqrt(float(np.mean((x - y) ** 2)))


def challenge_score(scores: ArrayLike, labels: ArrayLike) -> float:
    """(SRCC + PLCC) / 2 with the raw PLCC: what the challenge ranks by."""
    return (srcc(scores, labels) + plcc(scores, labels)) / 2


def _tied_pairs(new_value: NDArray[np.bool_]) -> int:
    """Pairs of equal neighbours' runs; `new_value[i]`: entry i + 1 differs from entry i."""
    edges = np.concatenate(([0], np.flatnonzero(new_value) + 1, [new_value.size + 1]))
    sizes = np.diff(edges)
    return int((sizes * (sizes - 1) // 2).sum())


def _inversions(permutation: NDArray[np.int64]) -> int:
    """Pairs out of order in a permutation of 0..n-1, counted bit by bit from the highest.

    Two entries part at the highest bit in which they differ; splitting stably on each bit keeps
    such entries in one row and in their order, so a cumulative count of ones finds the pairs.
    """
    half = 1 << max(0, int(permutation.size - 1).bit_length() - 1)
    values = np.arange(2 * half)  # the padding lies above and after: no inversion
    values[: permutation.size] = permutation
    total = 0
    while half:
        rows = values.reshape(-1, 2 * half)  # each holds half zeros and half ones of this bit
        high = (rows & half) != 0
        total += int(np.cumsum(high, axis=1)[~high].sum())
        split = (rows[~high].reshape(-1, half), rows[high].reshape(-1, half))
        values = np.concatenate(split, axis=1).ravel()
        half //= 2
    return total


@dataclass(frozen=True)
class Metrics:
    """Agreement of `count` scores with labels; errors are in the units of the labels.

    `score` is (srcc + plcc) / 2. The fitted figures follow the logistic, which may fall: scores
    that run against the labels keep a negative plcc and get a positive plcc_fitted. Scores
    that say nothing get a plcc_fitted of 0 (see `fit_logistic`).
    """

    count: int
    srcc: float
    krcc: float
    plcc: float
    plcc_fitted: float
    rmse: float
    rmse_fitted: float
    score: float


def evaluate_scores(scores: ArrayLike, labels: ArrayLike) -> Metrics:
    """All figures at once, for scores and labels of the same pictures in the same order."""
    x, y = checked_pair(scores, labels)
    rank_correlation, linear_correlation = srcc(x, y), plcc(x, y)
    fitted = fit_logistic(x, y)(x)
    flat = fitted.min() == fitted.max()
    return Metrics(
        count=int(x.size),
        srcc=rank_correlation,
        krcc=krcc(x, y),
        plcc=linear_correlation,
        plcc_fitted=0.0 if flat else pearson(fitted, y),
        rmse=rmse(x, y),
        rmse_fitted=rmse(fitted, y),
        score=(rank_correlation + linear_correlation) / 2,
    )

"""Checked vectors of scores and labels: finite, one-dimensional, long enough, or an error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiqa.errors import MetricError

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 3  # two points always correlate by exactly +1 or -1
LARGEST_VALUE = 1e100  # squares and their sums stay far from overflow


def checked_vector(values: ArrayLike, name: str, *, fewest: int = 1) -> Floats:
    """`values` as finite float64 of one dimension and at least `fewest` entries, or an error."""
    array = finite_numbers(values, name)
    if array.ndim != 1:
        raise MetricError(
            f"{name} of shape {array.shape}",
            expected="one dimension, one number per picture",
            fix=f"pass {name}.ravel() if each entry is one picture",
        )
    if array.size < fewest:
        raise MetricError(
            f"{array.size} {name}", expected=f"at least {fewest}", fix="measure on more pictures"
        )
    return array


def checked_pair(
    first: ArrayLike,
    second: ArrayLike,
    names: tuple[str, str] = ("scores", "labels"),
    *,
    fewest: int = FEWEST_SAMPLES,
) -> tuple[Floats, Floats]:
    """Two checked vectors that describe the same pictures in the same order."""
    a = checked_vector(first, names[0])
    b = checked_vector(second, names[1])
    if a.size != b.size:
        raise MetricError(
            f"{a.size} {names[0]} and {b.size} {names[1]}",
            expected="one of each for every picture",
            fix="join the two by picture before comparing",
        )
    return checked_vector(a, names[0], fewest=fewest), b


def require_variation(values: Floats, name: str) -> None:
    """Refuse a constant vector: no correlation with it is defined."""
    if values.min() == values.max():
        raise MetricError(
            f"all {values.size} {name} equal {float(values[0]):g}",
            expected=f"{name} that vary",
            fix="check for a collapsed model, saturated quantisation or a one-valued column",
        )


def finite_numbers(values: ArrayLike, name: str) -> Floats:
    try:
        array = np.asarray(values)
    except ValueError as cause:
        raise MetricError(f"{name} of uneven rows", expected="a flat list of numbers") from cause
    if array.dtype.kind not in "biuf" and array.size:
        raise MetricError(
            f"{name} of type {array.dtype}",
            expected="real numbers",
            fix="convert to float and drop rows without a value",
        )
    array = array.astype(np.float64)
    bad = ~(np.abs(array) <= LARGEST_VALUE)  # also true for NaN
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        raise MetricError(
            f"{int(bad.sum())} of {array.size} {name} not usable, "
            f"the first at position {position}: {array.ravel()[position]}",
            expected=f"finite numbers of magnitude up to {LARGEST_VALUE:g}",
            fix="find the pictures or the model that gave them",
        )
    return array


def centred_unit(values: Floats) -> Floats:
    """`values` about their mean, the largest deviation scaled to 1 (correlations ignore both)."""
    deviation = values - values[0]  # exact for nearly equal values, so the mean loses nothing
    deviation = deviation - deviation.mean()
    return np.asarray(deviation / np.abs(deviation).max(), np.float64)


def pearson(x: Floats, y: Floats) -> float:
    dx, dy = centred_unit(x), centred_unit(y)
    value = float(dx @ dy) / math.sqrt(float(dx @ dx) * float(dy @ dy))
    return min(1.0, max(-1.0, value))

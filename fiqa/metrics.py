"""How well predicted quality scores agree with labels, and with each other.

Correlations (SRCC, KRCC, PLCC raw and after the four-parameter logistic), errors, the shift
between two models' scores, the error-versus-discard curve and rejection thresholds. Everything
takes lists or 1-D arrays. What the numbers do not define (NaN, too few samples, no variation)
raises `MetricError`; no function returns NaN. Intervals live in `fiqa.bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fiqa.errors import MetricError

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 3  # two points always correlate by exactly +1 or -1
LARGEST_VALUE = 1e100  # squares and their sums stay far from overflow

# ---------------------------------------------------------------- checked input


def checked_vector(values: ArrayLike, name: str, *, fewest: int = 1) -> Floats:
    """`values` as finite float64 of one dimension and at least `fewest` entries, or an error."""
    array = _finite_numbers(values, name)
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


def _finite_numbers(values: ArrayLike, name: str) -> Floats:
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


# ---------------------------------------------------------------- correlations and errors


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
    return _pearson(x, y)


def srcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's on midranks."""
    x, y = checked_pair(scores, labels)
    require_variation(x, "scores")
    require_variation(y, "labels")
    return _pearson(midranks(x), midranks(y))


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


def centred_unit(values: Floats) -> Floats:
    """`values` about their mean, the largest deviation scaled to 1 (correlations ignore both)."""
    deviation = values - values[0]  # exact for nearly equal values, so the mean loses nothing
    deviation = deviation - deviation.mean()
    return np.asarray(deviation / np.abs(deviation).max(), np.float64)


def _pearson(x: Floats, y: Floats) -> float:
    dx, dy = centred_unit(x), centred_unit(y)
    value = float(dx @ dy) / math.sqrt(float(dx @ dx) * float(dy @ dy))
    return min(1.0, max(-1.0, value))


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


# ---------------------------------------------------------------- four-parameter logistic


@dataclass(frozen=True)
class LogisticFit:
    """y = (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2.

    b2 and b1 are the limits for low and high x, b3 the midpoint and |b4| the width, in units
    of x. b1 == b2 is the flat fit: x says nothing about y.
    """

    b1: float
    b2: float
    b3: float
    b4: float

    def __post_init__(self) -> None:
        parameters = (self.b1, self.b2, self.b3, self.b4)
        if not all(math.isfinite(b) for b in parameters) or self.b4 == 0:
            raise MetricError(f"logistic parameters {parameters}", expected="finite, b4 not zero")

    def __call__(self, x: ArrayLike) -> Floats:
        """Mapped values, float64, in the shape of `x`."""
        with np.errstate(over="ignore"):  # an infinite exponent is clipped to a limit
            z = (_finite_numbers(x, "values to map") - self.b3) / abs(self.b4)
        return np.asarray((self.b1 - self.b2) * _sigmoid(z) + self.b2, np.float64)

    @property
    def increasing(self) -> bool:
        """Whether a higher x maps to a higher y."""
        return self.b1 > self.b2


def fit_logistic(x: ArrayLike, y: ArrayLike) -> LogisticFit:
    """Least-squares logistic from x to y, rising where x and y correlate positively, else falling.

    Levenberg-Marquardt on offset and slope; the two limits follow by linear regression at
    every step. The search starts no worse than a practically straight line and only improves,
    so the fit never loses to the best line. Bounds on both let it end at a line,
    a step or an exponential, where the parameters themselves would run away. If no rising or
    falling curve beats the mean of y, the flat fit is returned. A search that does not settle
    raises `MetricError`.
    """
    xs, ys = checked_pair(x, y, ("x values", "y values"))
    require_variation(xs, "x values")
    require_variation(ys, "y values")
    correlation = _pearson(xs, ys)
    signs = (1,) if correlation > 1e-12 else (-1,) if correlation < -1e-12 else (1, -1)
    for sign in signs:
        search = _LogisticSearch(xs, ys, sign)
        start = search.best_start()
        if math.isfinite(start.error):
            return search.as_fit(search.descend(start))
    middle = float(ys.mean())
    return LogisticFit(middle, middle, float(xs.mean()), float(np.ptp(xs)))


@dataclass(frozen=True)
class _Trial:
    """One curve, sigmoid(offset + slope * x), with the best limits for it."""

    point: Floats  # (2,) offset, slope
    curve: Floats  # (n,) sigmoid values
    rise: float  # upper minus lower limit
    error: float  # sum of squares; infinite where the curve is flat or runs the wrong way


class _LogisticSearch:
    """The fit in scaled units: x and y about their means, over their largest deviations.

    Offset and slope, not midpoint and width: towards a line or an exponential the best points
    then lie along a straight valley, which takes few steps to follow.
    """

    MOST_STEPS = 500
    STARTING_SAMPLE = 4096  # enough to choose a starting point; the descent uses everything

    def __init__(self, x: Floats, y: Floats, sign: int) -> None:
        self.x_mean, self.y_mean = float(x.mean()), float(y.mean())
        self.x_unit = float(np.abs(x - self.x_mean).max())
        self.y_unit = float(np.abs(y - self.y_mean).max())
        self.x, self.y = centred_unit(x), centred_unit(y)
        self.sign = sign
        self.low, self.high = float(self.x.min()), float(self.x.max())
        inner = np.quantile(self.x, (0.1, 0.9))
        self.spread = float(inner[1] - inner[0]) or float(self.x.std())
        # Below the first the curve is a straight line, above the second a step.
        self.slopes = (0.01 / (self.high - self.low), 1e4 / self.spread)

    def best_start(self) -> _Trial:
        """The best of a grid, judged on a sample, or the straight line where that is better."""
        stride = -(-self.x.size // self.STARTING_SAMPLE)
        x, y = self.x[::stride], self.y[::stride]
        y = y - y.mean()
        centres = np.quantile(self.x, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98))
        slopes = np.array((0.5, 1, 2.5, 5, 10, 20, 50)) / self.spread
        grid = [np.array((-slope * centre, slope)) for centre in centres for slope in slopes]
        chosen = min(grid, key=lambda point: self._trial(point, x, y).error)
        line = np.array((0.0, self.slopes[0]))
        return min((self._trial(p, self.x, self.y) for p in (chosen, line)), key=lambda t: t.error)

    def descend(self, best: _Trial) -> _Trial:
        """Levenberg-Marquardt until a step lowers the error by less than a part in 1e10.

        Also settled: 50 steps that together gain under 1e-6 of the labels' power. Few or very
        noisy points can leave a long flat valley, where the parameters drift and the curve stays.
        """
        damping, power = 1e-2, float(self.y @ self.y)
        history = [best.error]
        for _ in range(self.MOST_STEPS):
            trial = self._trial(self._next_point(best, damping), self.x, self.y)
            if trial.error < best.error:
                gain = best.error - trial.error
                settled = damping < 1 and gain < max(1e-10 * best.error, 1e-18 * power)
                best, damping = trial, max(damping / 5, 1e-12)
            else:
                damping *= 4
                settled = damping > 1e10
            history.append(best.error)
            flat = len(history) > 50 and history[-51] - best.error < 1e-6 * power
            if settled or flat or best.error <= 1e-28 * power:
                return best
        raise MetricError(
            f"the logistic fit did not settle in {self.MOST_STEPS} steps on {self.x.size} points",
            expected="scores whose relation to the labels is roughly monotone",
            fix="plot scores against labels; use the raw PLCC",
        )

    def as_fit(self, trial: _Trial) -> LogisticFit:
        """The trial in the units of the caller's x and y."""
        offset, slope = trial.point.tolist()
        low = self.y_mean - self.y_unit * trial.rise * float(trial.curve.mean())
        return LogisticFit(
            b1=low + self.y_unit * trial.rise,
            b2=low,
            b3=self.x_mean - self.x_unit * offset / slope,
            b4=self.x_unit / slope,
        )

    def _trial(self, point: Floats, x: Floats, y: Floats) -> _Trial:
        curve = _sigmoid(point[0] + point[1] * x)
        shape = curve - curve.mean()
        power = float(shape @ shape)
        rise = float(shape @ y) / power if power > 1e-20 else 0.0
        if rise * self.sign <= 0 or rise * rise * power <= 1e-24 * float(y @ y):
            return _Trial(point, curve, 0.0, math.inf)
        residual = y - rise * shape
        return _Trial(point, curve, rise, float(residual @ residual))

    def _next_point(self, at: _Trial, damping: float) -> Floats:
        """One damped step, kept within bounds."""
        pull, normal = self._model(at)
        # Damped about the midpoint, where shifting and steepening the curve hardly interact.
        middle = min(self.high, max(self.low, -at.point[0] / at.point[1]))
        about, back = np.array(((1, -middle), (0, 1))), np.array(((1, middle), (0, 1)))
        scale = np.diag(np.diag(about.T @ normal @ about))
        normal = normal + damping * (back.T @ scale @ back)
        step = np.linalg.lstsq(normal, pull, rcond=None)[0]
        slope = min(at.point[1] * 3, max(at.point[1] / 3, at.point[1] + step[1]))
        slope = float(np.clip(slope, *self.slopes))
        return np.array((np.clip(at.point[0] + step[0], *self._offsets(slope)), slope))

    def _model(self, at: _Trial) -> tuple[Floats, Floats]:
        """Downhill direction (2,) and curvature (2, 2) of the error, the limits following along.

        The curvature is exact where that is positive definite, which noisy labels need to settle
        quickly; elsewhere it is Gauss and Newton's, without the second derivatives.
        """
        shape = at.curve - at.curve.mean()
        residual = self.y - at.rise * shape
        residual -= residual.mean()
        steepness = at.curve * (1 - at.curve)
        slopes = np.stack((steepness, steepness * self.x))  # (2, n) of the curve by the point
        slopes -= slopes.mean(axis=1, keepdims=True)
        pull, overlap, power = slopes @ residual, slopes @ shape, shape @ shape
        bend = residual * steepness * (1 - 2 * at.curve)
        cross = bend @ self.x
        second = np.array(((bend.sum(), cross), (cross, (bend * self.x) @ self.x)))
        square = at.rise**2 * (slopes @ slopes.T)
        coupling = at.rise * overlap - pull
        exact = square - at.rise * second - np.outer(coupling, coupling) / power
        plain = square - at.rise**2 * np.outer(overlap, overlap) / power
        smallest, largest = np.linalg.eigvalsh(exact)
        return at.rise * pull, exact if smallest > 1e-12 * largest else plain

    def _offsets(self, slope: float) -> tuple[float, float]:
        """Offsets up to 15 widths beyond the data, where only an exponential tail is left."""
        return -slope * self.high - 15, -slope * self.low + 15


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -700, 700))), np.float64)


# ---------------------------------------------------------------- the usual set of figures


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
        plcc_fitted=0.0 if flat else _pearson(fitted, y),
        rmse=rmse(x, y),
        rmse_fitted=rmse(fitted, y),
        score=(rank_correlation + linear_correlation) / 2,
    )


# ---------------------------------------------------------------- shift between two models


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


# ---------------------------------------------------------------- error versus discard


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

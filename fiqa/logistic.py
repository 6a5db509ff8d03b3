"""The four-parameter logistic that maps scores to labels, fitted without scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fiqa.errors import MetricError
from fiqa.vectors import (
    Floats,
    centred_unit,
    checked_pair,
    finite_numbers,
    pearson,
    require_variation,
)


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
            raise MetricError(
                f"logistic parameters {parameters}",
                expected="finite, b4 not zero",
                fix="fit it again, on scores that vary",
            )

    def __call__(self, x: ArrayLike) -> Floats:
        """Mapped values, float64, in the shape of `x`."""
        with np.errstate(over="ignore"):  # an infinite exponent is clipped to a limit
            z = (finite_numbers(x, "values to map") - self.b3) / abs(self.b4)
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
    correlation = pearson(xs, ys)
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

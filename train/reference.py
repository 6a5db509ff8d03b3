"""How much of a clean picture a degraded one still shows: measures and one score from them.

All measures compare with the clean source, weigh the face most, and give 1 for an identical
picture and about 0 for a destroyed one. SSIM, MS-SSIM and VIF share one pyramid of local means
and variances: that is what makes a label cost about one millisecond.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]  # (H, W, 3) uint8 RGB; OpenCV's stubs cannot say so
Plane = NDArray[Any]  # (H, W) float32

WINDOW, SIGMA = 11, 1.5  # the window of the SSIM paper (Wang et al. 2004)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # its constants
# The MS-SSIM paper's weights without the fifth scale: at 160 px that is a 10 px picture,
# smaller than the window.
SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363]) / 0.8668
# Variance of the viewer's own noise in VIF. With the paper's 2 (Sheikh and Bovik 2006) changes
# of one or two bytes on smooth skin, which nobody sees, count as information lost.
EYE_NOISE = 5.0
GRADIENT_C = 170.0  # stabiliser of the GMSD paper (Xue et al. 2014) for 0..255
COLOUR_SCALE = 30.0  # Cr/Cb distance that leaves 1/e: about that of skin and grey
BACKGROUND = 0.1  # weight of a pixel off the face; a face in front of nothing is still good
# A flat cheek or wall says little, eyes and hair say much: similarities are weighted by this
# plus the information (in nats) of the clean picture there. Without it a face whose features
# are wiped out stays good, and faint noise on bare skin counts like a lost eye.
FLAT = 0.5
MEASURED_SIZE = 160  # larger pictures are measured at about this size, as a viewer sees them

# The score: the product of the measures, each to its power, so that one that fails fails the
# picture. Fitted once to wanted scores of 20 kinds at 7 severities on real portraits (rms error
# 0.07), rounded; scores of trained chains then spread evenly over 0..1. See docs/data.md.
POWERS = {"ssim": 0.5, "ms_ssim": 0.25, "vif": 0.75, "gradient": 0.5, "colour": 0.4}


@dataclass(frozen=True)
class Measures:
    """Each 0..1, higher is better, 1 for an identical picture. gmsd alone: 0 is identical."""

    ssim: float
    ms_ssim: float
    vif: float
    gradient: float
    colour: float
    gmsd: float

    @property
    def score(self) -> float:
        values = asdict(self)
        return math.prod(values[name] ** power for name, power in POWERS.items())


@dataclass(frozen=True)
class _Statistics:
    """Local means, variances and covariance of a pair of planes at one scale."""

    mean_x: Plane
    mean_y: Plane
    var_x: Plane
    var_y: Plane
    cov: Plane


def compare(clean: Image, degraded: Image, face: Plane) -> Measures:
    """Measure `degraded` against `clean`, both (H, W, 3) RGB; `face` (H, W) is 1 on the face."""
    assert clean.shape == degraded.shape
    assert clean.shape[:2] == face.shape
    clean, degraded, face = (_at_measured_size(part) for part in (clean, degraded, face))
    x, y = _to_ycc(clean), _to_ycc(degraded)
    faces = _pyramid(BACKGROUND + (1 - BACKGROUND) * face)
    planes = list(zip(_pyramid(x[..., 0].copy()), _pyramid(y[..., 0].copy()), strict=True))
    statistics = [_statistics(*pair) for pair in planes]
    information = [cv2.log(1 + s.var_x / EYE_NOISE) for s in statistics]
    weights = [w * (FLAT + known) for w, known in zip(faces, information, strict=True)]
    gradient, gmsd = _gradient(*planes[1], weights[1])
    return Measures(
        ssim=_clip(_mean(_luminance(statistics[0]) * _structure(statistics[0]), weights[0])),
        ms_ssim=_ms_ssim(statistics, weights),
        vif=_vif(statistics, information, faces),
        gradient=gradient,
        colour=_colour(x, y, faces[1]),
        gmsd=gmsd,
    )


def _at_measured_size(part: NDArray) -> NDArray:
    shrink = max(1, round(min(part.shape[:2]) / MEASURED_SIZE))
    if shrink == 1:
        return part
    size = (part.shape[1] // shrink, part.shape[0] // shrink)
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA)


def _to_ycc(image: Image) -> Plane:
    return cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)


def _pyramid(plane: Plane) -> list[Plane]:
    planes = [plane]
    for _ in SCALE_WEIGHTS[1:]:
        height, width = planes[-1].shape
        size = (max(1, width // 2), max(1, height // 2))
        planes.append(cv2.resize(planes[-1], size, interpolation=cv2.INTER_AREA))
    return planes


def _statistics(x: Plane, y: Plane) -> _Statistics:
    mean_x, mean_y = _blur(x), _blur(y)
    return _Statistics(
        mean_x,
        mean_y,
        np.maximum(_blur(x * x) - mean_x * mean_x, 0),
        np.maximum(_blur(y * y) - mean_y * mean_y, 0),
        _blur(x * y) - mean_x * mean_y,
    )


def _blur(plane: Plane) -> Plane:
    return cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT_101)


def _luminance(s: _Statistics) -> Plane:
    return (2 * s.mean_x * s.mean_y + C1) / (s.mean_x**2 + s.mean_y**2 + C1)


def _structure(s: _Statistics) -> Plane:
    return (2 * s.cov + C2) / (s.var_x + s.var_y + C2)


def _mean(plane: Plane, weight: Plane) -> float:
    return _sum(plane, weight) / float(weight.sum())


def _sum(plane: Plane, weight: Plane) -> float:
    return float((plane * weight).sum())  # not np.vdot: BLAS would start threads for it


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))


def _ms_ssim(statistics: list[_Statistics], weights: list[Plane]) -> float:
    product = _clip(_mean(_luminance(statistics[-1]), weights[-1])) ** SCALE_WEIGHTS[-1]
    for s, weight, power in zip(statistics, weights, SCALE_WEIGHTS, strict=True):
        product *= _clip(_mean(_structure(s), weight)) ** power
    return float(product)


def _vif(statistics: list[_Statistics], information: list[Plane], faces: list[Plane]) -> float:
    """Information that the degraded picture keeps of the clean one, in the pixel domain.

    Contrast raised artificially could exceed 1; here it counts as 1.
    """
    kept = there = 1e-6
    for s, known, face in zip(statistics, information, faces, strict=True):
        gain = np.maximum(s.cov, 0) / (s.var_x + 1e-6)
        noise = np.maximum(s.var_y - gain * s.cov, 0)
        kept += _sum(cv2.log(1 + gain * gain * s.var_x / (noise + EYE_NOISE)), face)
        there += _sum(known, face)
    return _clip(kept / there)


def _gradient(x: Plane, y: Plane, weight: Plane) -> tuple[float, float]:
    """Similarity of edges at half size: 1 - rms distance from 1, and GMSD.

    GMSD is the deviation from the mean similarity, so a picture whose edges are all gone looks
    even and passes; the rms distance from 1 does not forgive that, and enters the score.
    """
    edges_x, edges_y = _edges(x), _edges(y)
    similarity = (2 * edges_x * edges_y + GRADIENT_C) / (edges_x**2 + edges_y**2 + GRADIENT_C)
    mean = _mean(similarity, weight)
    variance = max(_mean(similarity * similarity, weight) - mean * mean, 0.0)
    return _clip(1 - math.hypot(math.sqrt(variance), 1 - mean)), math.sqrt(variance)


def _edges(plane: Plane) -> Plane:
    """Prewitt gradient magnitude."""
    across = np.array([[1, 0, -1]] * 3, np.float32) / 3
    return cv2.magnitude(cv2.filter2D(plane, -1, across), cv2.filter2D(plane, -1, across.T))


def _colour(x: Plane, y: Plane, weight: Plane) -> float:
    """Distance of the colours (Cr, Cb) at half size, as the eye sees colour more coarsely."""
    size = (weight.shape[1], weight.shape[0])
    difference = cv2.resize(x - y, size, interpolation=cv2.INTER_AREA)
    distance = np.hypot(difference[..., 1], difference[..., 2])
    return math.exp(-_mean(distance, weight) / COLOUR_SCALE)

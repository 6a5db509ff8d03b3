"""Trivial quality scores that need no training: what any network has to beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Bytes, PreprocessSpec, load_picture
from fiqa.labels import LabelSet
from fiqa.progress import track

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in JPEG


def sharpness(picture: Bytes) -> float:
    """Logarithm of the variance of the Laplacian: what many camera apps call sharpness."""
    luma = picture @ LUMA
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    return float(np.log(laplacian.var() + 1.0))


def contrast(picture: Bytes) -> float:
    """Standard deviation of the luma, in bytes."""
    return float((picture @ LUMA).std())


def exposure(picture: Bytes) -> float:
    """Minus the distance of the mean luma from mid-grey, in bytes."""
    return -abs(float((picture @ LUMA).mean()) - 128.0)


BASELINES: dict[str, Callable[[Bytes], float]] = {
    measure.__name__: measure for measure in (sharpness, contrast, exposure)
}


def baseline_scores(labels: LabelSet, spec: PreprocessSpec) -> dict[str, NDArray[np.float64]]:
    """Each baseline's score of each picture, in the order of the label set."""
    found: dict[str, list[float]] = {name: [] for name in BASELINES}
    for row in track(labels.rows, "baselines", len(labels)):
        picture = spec.to_bytes(load_picture(labels.root / row.image), row.box, row.crop)
        for name, measure in BASELINES.items():
            found[name].append(measure(picture))
    return {name: np.array(values) for name, values in found.items()}

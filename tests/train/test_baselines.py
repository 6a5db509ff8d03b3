"""Trivial baselines: each rises with what it is named after."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from train.baselines import contrast, exposure, sharpness

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def test_sharpness_falls_with_blur() -> None:
    picture = Image.fromarray(NOISE)
    values = [
        sharpness(np.array(picture.filter(ImageFilter.GaussianBlur(radius))))
        for radius in (0, 1, 2, 4)
    ]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((8, 8, 3), 90, np.uint8)) == pytest.approx(0, abs=1e-3)


def test_contrast_is_the_deviation_of_the_luma() -> None:
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:2] = 200
    assert contrast(halves) == pytest.approx(100, abs=1e-3)


def test_exposure_is_best_at_mid_grey() -> None:
    values = [exposure(np.full((4, 4, 3), light, np.uint8)) for light in (128, 90, 250)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(0, abs=1e-3)

"""Whole photos with drawn faces in them, at known places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from train.portraits import draw_portrait

DRAWN_SIDE = 160
# Where the face lies in a drawn portrait, as shares of its side: x, y, width, height.
FACE = (0.25, 0.155, 0.5, 0.69)


def portrait(number: int = 0, side: int = DRAWN_SIDE) -> np.ndarray:
    """(side, side, 3): one drawn face with a margin around it."""
    return draw_portrait(number, 0, 0, side).image


def photo(
    width: int, height: int, places: Sequence[tuple[int, int]], side: int = DRAWN_SIDE
) -> np.ndarray:
    """Grey ground with a portrait's corner at each of the places (x, y)."""
    picture = np.full((height, width, 3), 120, np.uint8)
    for number, (x, y) in enumerate(places):
        picture[y : y + side, x : x + side] = portrait(number, side)
    return picture


def middle(place: tuple[int, int], side: int = DRAWN_SIDE) -> tuple[float, float]:
    """The middle of the face of the portrait whose corner lies at the place."""
    return place[0] + side * (FACE[0] + FACE[2] / 2), place[1] + side * (FACE[1] + FACE[3] / 2)

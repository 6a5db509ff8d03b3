"""Camera frames: golden bytes, the docs' arithmetic as plain loops, and planes that cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa.contract import Box, PreprocessSpec, Square
from fiqa.errors import PictureError
from fiqa.frames import Frame, Plane, Turn

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    case for case in json.loads((GOLDEN / "cases.json").read_text()) if case["kind"] == "frame"
]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def golden_frame(case: dict[str, Any]) -> Frame:
    data = np.frombuffer((GOLDEN / case["data"]).read_bytes(), np.uint8)
    planes = [
        Plane(data[at["offset"] :][: at["length"]], at["row_stride"], at["pixel_stride"])
        for at in case["planes"]
    ]
    return Frame(case["width"], case["height"], *planes, case["turn"], case["mirrored"])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_frames_become_the_golden_bytes(case: dict[str, Any]) -> None:
    spec = PreprocessSpec(**case["spec"])
    expected = np.frombuffer((GOLDEN / case["expected"]).read_bytes(), np.uint8)
    box = Box(*case["box"]) if case["box"] else None
    crop = Square(*case["crop"]) if case["crop"] else None
    made = golden_frame(case).to_bytes(spec, box, crop)
    np.testing.assert_array_equal(made, expected.reshape(spec.size, spec.size, 3))


def test_golden_frames_cover_what_cameras_deliver() -> None:
    assert {case["turn"] for case in CASES} == {0, 90, 180, 270}
    assert {case["mirrored"] for case in CASES} == {False, True}
    chroma = [case["planes"][1] for case in CASES]
    assert {plane["pixel_stride"] for plane in chroma} == {1, 2}
    assert any(case["planes"][0]["pixel_stride"] == 2 for case in CASES)
    assert any(case["planes"][0]["row_stride"] > case["width"] for case in CASES)
    assert any(case["width"] % 2 and case["height"] % 2 for case in CASES)
    assert any(case["planes"][2]["offset"] < case["planes"][1]["offset"] for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_docs_arithmetic_gives_the_golden_pictures(case: dict[str, Any]) -> None:
    """docs/contract.md as plain loops over single pixels."""
    np.testing.assert_array_equal(golden_frame(case).picture(), upright(case))


def upright(case: dict[str, Any]) -> np.ndarray:
    data = (GOLDEN / case["data"]).read_bytes()
    lying = Image.new("RGB", (case["width"], case["height"]))
    for row in range(case["height"]):
        for column in range(case["width"]):
            lying.putpixel((column, row), colour(*samples(case, data, row, column)))
    turned = lying.rotate(-case["turn"], expand=True)
    if case["mirrored"]:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(turned)


def samples(case: dict[str, Any], data: bytes, row: int, column: int) -> Iterator[int]:
    for plane, step in zip(case["planes"], (1, 2, 2), strict=True):
        at = row // step * plane["row_stride"] + column // step * plane["pixel_stride"]
        assert at < plane["length"]
        yield data[plane["offset"] + at]


def colour(y: int, u: int, v: int) -> tuple[int, int, int]:
    u, v = u - 128, v - 128
    values = (
        y + ((91881 * v + 32768) >> 16),
        y - ((22554 * u + 46802 * v + 32768) >> 16),
        y + ((116130 * u + 32768) >> 16),
    )
    red, green, blue = (min(max(value, 0), 255) for value in values)
    return red, green, blue


def test_integers_stay_within_half_a_step_of_bt601() -> None:
    y, u, v = (grid.ravel() for grid in np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij"))
    luma, *chroma = (plane.astype(np.uint8) for plane in (np.repeat(y, 2), u, v))
    frame = Frame(2 * y.size, 1, Plane(luma, 1), *(Plane(plane, 1) for plane in chroma))
    made = frame.picture()[0, ::2].astype(float)  # two pixels share their chroma
    u, v = u - 128, v - 128
    real = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=1)
    assert np.abs(made - np.clip(real, 0, 255)).max() <= 0.51


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_crop_converts_what_the_whole_picture_would_show(turn: Turn, mirrored: bool) -> None:
    rng = np.random.default_rng(turn)
    y, u, v = (rng.integers(0, 256, n).astype(np.uint8) for n in (45 * 33, 23 * 17, 23 * 17))
    frame = Frame(45, 33, Plane(y, 45), Plane(u, 23), Plane(v, 23), turn, mirrored)
    spec = PreprocessSpec(size=16)
    box = Box(6, 7, 12, 15)
    np.testing.assert_array_equal(frame.to_bytes(spec, box), spec.to_bytes(frame.picture(), box))


def test_planes_too_short_for_their_strides_are_refused() -> None:
    plane = Plane(np.zeros(12, np.uint8), 4)
    with pytest.raises(PictureError, match="plane Y: 12 bytes"):
        Frame(4, 4, plane, plane, plane)
    Frame(4, 3, plane, plane, plane)
    with pytest.raises(PictureError, match="plane V"):
        Frame(4, 3, plane, plane, Plane(np.zeros(6, np.uint8), 4, 0))


@pytest.mark.parametrize(("width", "turn"), [(0, 0), (4, 45)])
def test_senseless_frames_are_refused(width: int, turn: Any) -> None:
    plane = Plane(np.zeros(16, np.uint8), 4)
    with pytest.raises(PictureError, match="a frame of"):
        Frame(width, 4, plane, plane, plane, turn)

"""The contract: golden bytes, an independent resampler, and pictures of every sort."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from fiqa.contract import (
    MAX_PIXELS,
    Box,
    PreprocessSpec,
    Square,
    check_picture,
    load_picture,
)
from fiqa.errors import PictureError

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
DECODE = [case for case in CASES if case["kind"] == "decode"]
BYTES = [case for case in CASES if case["kind"] == "bytes"]


def raw(case: dict[str, Any]) -> np.ndarray:
    shape = (case["height"], case["width"], 3)
    return np.frombuffer((GOLDEN / case["rgb"]).read_bytes(), np.uint8).reshape(shape)


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def place(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "box": Box(*case["box"]) if case["box"] else None,
        "crop": Square(*case["crop"]) if case["crop"] else None,
    }


@pytest.mark.parametrize("case", DECODE, ids=named)
def test_pictures_decode_to_the_golden_bytes(case: dict[str, Any]) -> None:
    np.testing.assert_array_equal(load_picture(GOLDEN / case["file"]), raw(case))


@pytest.mark.parametrize("case", BYTES, ids=named)
def test_pictures_become_the_golden_bytes(case: dict[str, Any]) -> None:
    spec = PreprocessSpec(**case["spec"])
    expected = np.frombuffer((GOLDEN / case["expected"]).read_bytes(), np.uint8)
    made = spec.to_bytes(raw(case), **place(case))
    np.testing.assert_array_equal(made, expected.reshape(spec.size, spec.size, 3))


def test_golden_set_covers_both_stages() -> None:
    assert len(DECODE) >= 17
    assert len(BYTES) >= 20


@pytest.mark.parametrize(
    "case", [case for case in BYTES if case["spec"].get("filter") is None], ids=named
)
def test_docs_arithmetic_gives_the_golden_bytes(case: dict[str, Any]) -> None:
    """docs/contract.md tells the resampling in integers; this is that text as plain loops."""
    spec = PreprocessSpec(**case["spec"])
    x, y, side = spec.square(raw(case), **place(case))
    cut = raw(case)[y : y + side, x : x + side]
    made = integer_bilinear(integer_bilinear(cut, spec.size).transpose(1, 0, 2), spec.size)
    made = made.transpose(1, 0, 2)
    if spec.color_order == "BGR":
        made = made[..., ::-1]
    np.testing.assert_array_equal(made, spec.to_bytes(raw(case), **place(case)))


def integer_bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """One horizontal pass: (H, n, 3) bytes to (H, size, 3) bytes."""
    n = image.shape[1]
    if n == size:
        return image
    scale = n / size
    support = max(scale, 1.0)
    out = np.zeros((image.shape[0], size, 3), np.uint8)
    for i in range(size):
        center = (i + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), n)
        weights = [max(1.0 - abs((j - center + 0.5) / support), 0.0) for j in range(first, last)]
        total = sum(weights)
        fixed = [int(0.5 + weight / total * (1 << 22)) for weight in weights]
        sums = np.full((image.shape[0], 3), 1 << 21, np.int64)
        for weight, j in zip(fixed, range(first, last), strict=True):
            sums += weight * image[:, j].astype(np.int64)
        out[:, i] = np.clip(sums >> 22, 0, 255)
    return out


def test_square_is_margin_times_longer_side_kept_inside() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    spec = PreprocessSpec()
    assert spec.square(picture, Box(150, 100, 80, 100)) == (118, 78, 145)
    assert spec.square(picture, Box(0, 0, 80, 100)) == (0, 0, 145)
    assert spec.square(picture, Box(0, 0, 400, 300)) == (50, 0, 300)


def test_crop_with_margin_is_never_margined_again() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    assert PreprocessSpec().square(picture, crop=Square(20, 30, 100)) == (20, 30, 100)


def test_picture_without_box_is_its_central_square() -> None:
    assert PreprocessSpec().square(np.zeros((300, 401, 3), np.uint8)) == (50, 0, 300)


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 0, 5), Box(math.nan, 0, 5, 5), Box(500, 0, 9, 9), Box(0, 0, -4, 4)],
)
def test_senseless_boxes_are_refused(box: Box) -> None:
    with pytest.raises(PictureError, match="box"):
        PreprocessSpec().square(np.zeros((50, 50, 3), np.uint8), box)


def test_normalise_is_byte_minus_128_over_128_by_default() -> None:
    data = np.array([[[0, 128, 255]]], np.uint8)
    assert PreprocessSpec().normalise(data).ravel().tolist() == [-1.0, 0.0, 127 / 128]


def test_spec_carries_any_mean_and_std() -> None:
    spec = PreprocessSpec(mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 5.0))
    assert spec.normalise(np.full((1, 1, 3), 40, np.uint8)).ravel().tolist() == [30, 10, 2]


@pytest.mark.parametrize("fields", [{"size": 4}, {"margin": 0.5}, {"std": (1.0, 0.0, 1.0)}])
def test_senseless_specs_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="size|margin|std"):
        PreprocessSpec(**fields)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "WEBP", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_in_every_format(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.new("RGB", (30, 20), (200, 10, 10)), file_format, exif=exif)
    shape = (20, 30, 3) if orientation < 5 else (30, 20, 3)
    assert load_picture(data).shape == shape
    assert check_picture(data, "x") == (shape[1], shape[0])


def test_damaged_exif_counts_as_upright() -> None:
    data = saved(Image.new("RGB", (30, 20)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert load_picture(data).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("home", "step"), [(Image, "open"), (Image.Image, "getexif"), (Image.Image, "load")]
)
def test_a_picture_is_read_under_the_warning_filters_of_the_process(
    home: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are one for all threads: a thread that changes them for a while changes others'."""
    data = saved(Image.new("RGB", (30, 20)), "JPEG")
    before, real, seen = list(warnings.filters), getattr(home, step), []

    def look(*arguments: Any, **named: Any) -> Any:
        seen.append(list(warnings.filters))
        return real(*arguments, **named)

    monkeypatch.setattr(home, step, look)
    load_picture(data)
    assert seen
    assert all(filters == before for filters in seen)


def test_odd_metadata_is_not_told_but_all_else_is(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    path.write_bytes(saved(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    code = (
        "import sys, warnings; from PIL import Image; from fiqa import load_picture;"
        "load_picture(sys.argv[1]); Image.MAX_IMAGE_PIXELS = 400; Image.open(sys.argv[1]);"
        "warnings.warn('of the application')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60
    )
    assert "EXIF" not in done.stderr
    assert "DecompressionBombWarning" in done.stderr
    assert "of the application" in done.stderr


def test_cmyk_jpeg_becomes_rgb() -> None:
    data = saved(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG")
    assert load_picture(data)[10, 10, 0] > 200 > 60 > load_picture(data)[10, 10, 2]


def test_cut_pictures_are_refused_not_filled_with_grey() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    for file_format in ("JPEG", "PNG", "WEBP"):
        data = saved(Image.fromarray(noise), file_format)
        for check in (load_picture, lambda cut: check_picture(cut, "cut")):
            with pytest.raises(PictureError, match="cannot be decoded"):
                check(data[: len(data) // 2])


def test_the_switch_that_fills_cut_pictures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(PictureError, match="LOAD_TRUNCATED_IMAGES = False"):
        load_picture(saved(Image.new("RGB", (8, 8)), "PNG"))


def test_header_of_fifty_thousand_pixels_square_is_refused() -> None:
    data = bytearray(saved(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert 50_000**2 > MAX_PIXELS
    with pytest.raises(PictureError, match="2500000000 pixels|50000 x 50000"):
        load_picture(bytes(data))


def test_floats_of_unknown_range_are_refused() -> None:
    data = saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(PictureError, match="floating-point"):
        load_picture(data)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"]
)
def test_files_that_are_no_pictures_are_refused(content: bytes) -> None:
    with pytest.raises(PictureError, match="cannot be decoded"):
        load_picture(content)


def test_missing_picture_says_so(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="does not exist"):
        load_picture(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_arrays_of_another_shape_or_type_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PictureError, match="array"):
        load_picture(array)

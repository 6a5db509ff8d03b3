"""The contract: everything between a face picture and the bytes a model reads.

Three steps, each exactly specified so that a phone gives the same bytes:
decode (`load_picture`), cut a square (`PreprocessSpec.square`), resample (`to_bytes`).
`normalise` then turns bytes into the real numbers the model's input tensor stands for.
docs/contract.md tells the arithmetic; tests/golden/ holds pictures and their bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fiqa.errors import PictureError

Bytes = NDArray[np.uint8]
Reals = NDArray[np.float32]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")  # no EPS: code
MAX_PIXELS = 100_000_000  # a 100 MP camera; beyond it a header is an attack or a mistake
MAX_FILE_BYTES = 512 * 1024 * 1024
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

FilterName = Literal["bilinear", "box", "bicubic", "lanczos", "nearest"]
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
# Pillow tells of odd metadata, from many threads; catch_warnings is not for threads. Behind all
# other filters, so that an application's own stay in force.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.", append=True)


class Box(NamedTuple):
    """A detected face in the oriented picture, in pixels, without margin."""

    x: float
    y: float
    width: float
    height: float


class Square(NamedTuple):
    """A square cut out of the oriented picture, in pixels, its margin already in it."""

    x: float
    y: float
    side: float


@dataclass(frozen=True)
class PreprocessSpec:
    """How a picture becomes a model's input. Travels with every checkpoint and artifact.

    The single-valued fields are written down so that a reader of the JSON needs no source.
    `mean` and `std` are in bytes (0..255), in the order of `color_order`.
    """

    size: int = 224
    margin: float = 1.45  # square side / longer side of the detected face
    filter: FilterName = "bilinear"  # antialiased, in fixed point: see docs/contract.md
    color_order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (128.0, 128.0, 128.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    orientation: Literal["exif"] = "exif"
    gray: Literal["replicated"] = "replicated"
    alpha: Literal["over_black"] = "over_black"  # what Android's premultiplied bitmaps hold
    sixteen_bit: Literal["high_byte"] = "high_byte"
    crop: Literal["square_inside"] = "square_inside"
    camera: Literal["bt601_full_nearest"] = "bt601_full_nearest"  # YUV frames: fiqa.frames

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise ValueError(f"size {self.size} lies outside 8..4096 pixels")
        if not 1.0 <= self.margin <= 4.0:
            raise ValueError(f"margin {self.margin} lies outside 1..4")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise ValueError(f"std {self.std} must be above zero")

    def square(
        self, picture: Bytes, box: Box | None = None, crop: Square | None = None
    ) -> tuple[int, int, int]:
        """The (x, y, side) to cut, in whole pixels inside the picture.

        A crop carries its margin and never gets another; a box gets the margin;
        a picture with neither is taken as a crop: its central square.
        """
        height, width = picture.shape[:2]
        return self.square_in(width, height, box, crop)

    def square_in(
        self, width: int, height: int, box: Box | None = None, crop: Square | None = None
    ) -> tuple[int, int, int]:
        """The same, for an upright picture of which only the size is known."""
        if crop is not None:
            x, y, side = crop
            box, margin = Box(x, y, side, side), 1.0
        elif box is not None:
            margin = self.margin
        else:
            side = min(width, height)
            return (width - side) // 2, (height - side) // 2, side
        check_box(box, width, height)
        side = min(max(_round(margin * max(box.width, box.height)), 1), width, height)
        x0 = _round(box.x + box.width / 2 - side / 2)
        y0 = _round(box.y + box.height / 2 - side / 2)
        return min(max(x0, 0), width - side), min(max(y0, 0), height - side), side

    def to_bytes(self, picture: Bytes, box: Box | None = None, crop: Square | None = None) -> Bytes:
        """(H, W, 3) RGB picture to the (size, size, 3) bytes the model reads."""
        x, y, side = self.square(picture, box, crop)
        return self.resample(picture[y : y + side, x : x + side])

    def resample(self, cut: Bytes) -> Bytes:
        """The (S, S, 3) RGB square that was cut, as the model reads it."""
        cut = np.ascontiguousarray(cut)
        resized = Image.fromarray(cut).resize((self.size, self.size), FILTERS[self.filter])
        out = np.array(resized)
        return out if self.color_order == "RGB" else np.ascontiguousarray(out[..., ::-1])

    def normalise(self, data: Bytes) -> Reals:
        """(..., 3) bytes to the real numbers the input tensor stands for: (byte - mean) / std."""
        mean, std = np.array([self.mean, self.std], np.float32)
        reals: Reals = (data.astype(np.float32) - mean) / std
        return reals


def load_picture(source: Path | str | bytes | Image.Image | Bytes) -> Bytes:
    """Any picture as (H, W, 3) RGB bytes, upright; PictureError says why it cannot be."""
    if isinstance(source, np.ndarray):
        return _check_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, "picture in memory")
    if isinstance(source, bytes):
        name = "picture in memory"
    else:
        name, source = str(source), read_picture_file(Path(source))
    with open_picture(source, name) as image:
        return _decode(image, name)


def check_picture(data: bytes, name: str) -> tuple[int, int]:
    """The upright (width, height) of a picture that decodes whole, or PictureError.

    JPEGs are decoded at an eighth of their size: every byte is read, at a fraction of the time.
    """
    with open_picture(data, name) as image:
        width, height = image.size
        image.draft("RGB", (1, 1))
        _load(image, name)
        if image.mode not in ("L", "RGB"):
            _to_rgb(image, name)
        upright = _orientation(image) < 5
    return (width, height) if upright else (height, width)


def read_picture_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PictureError(f"{path} is larger than 512 MB", expected="a picture file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        found = "does not exist" if isinstance(error, FileNotFoundError) else f"fails: {reason}"
        raise PictureError(f"{path} {found}", expected="a readable picture file") from error


def open_picture(data: bytes, name: str) -> Image.Image:
    """The picture's header only, with known formats and a sane size."""
    try:
        image = Image.open(io.BytesIO(data), formats=_known_formats())
    except Image.DecompressionBombError as error:
        raise _too_large(name, "".join(re.findall(r"\d+", str(error))[:1])) from error
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise _unreadable(name, error) from error
    width, height = image.size
    if not 1 <= width * height <= MAX_PIXELS:
        image.close()
        raise _too_large(name, f"{width} x {height}")
    return image


@cache
def _known_formats() -> tuple[str, ...]:
    """FORMATS without those that this Pillow was built without."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decode(image: Image.Image, name: str) -> Bytes:
    image = _load(image, name)
    turn = TURNS.get(_orientation(image))
    rgb = _to_rgb(image, name)
    if turn is None:
        return rgb
    return np.array(Image.fromarray(rgb).transpose(turn))


def _load(image: Image.Image, name: str) -> Image.Image:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise PictureError(
            f"{name}: Pillow's LOAD_TRUNCATED_IMAGES is on, which fills cut pictures with grey",
            expected="the switch off, as Pillow has it",
            fix="PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False",
        )
    try:
        image.load()
    except Exception as error:
        raise _unreadable(name, error) from error
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; a damaged EXIF block counts as upright, as it does on Android."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image, name: str) -> Bytes:
    if image.mode.startswith("I"):
        return _from_deep_gray(np.asarray(image), name)
    if image.mode == "F":
        raise PictureError(
            f"{name} holds floating-point values of unknown range",
            expected="8- or 16-bit pictures",
            fix="save it as PNG or JPEG",
        )
    try:
        if image.has_transparency_data:
            return _over_black(np.array(image.convert("RGBA")))
        return np.array(image.convert("RGB"))
    except Exception as error:
        raise _unreadable(name, error) from error


def _from_deep_gray(values: NDArray[Any], name: str) -> Bytes:
    if values.min() < 0 or values.max() > 65535:
        raise PictureError(
            f"{name} holds integers from {values.min()} to {values.max()}",
            expected="8- or 16-bit pictures",
            fix="save it as PNG or JPEG",
        )
    high_byte = (values >> 8).astype(np.uint8)
    return np.repeat(high_byte[..., None], 3, axis=2)


def _over_black(rgba: Bytes) -> Bytes:
    """Alpha composited over black in integers: (c * a + 127) // 255."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _check_array(picture: NDArray[Any]) -> Bytes:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(
            f"an array of shape {picture.shape} and type {picture.dtype}",
            expected="(height, width, 3) uint8, RGB",
            fix="convert it, or pass the file's path",
        )
    if 0 in picture.shape:
        raise PictureError("an array without pixels", expected="at least 1 x 1 pixel")
    return picture


def check_box(box: Box, width: int, height: int) -> None:
    x, y, w, h = box
    sane = all(map(math.isfinite, box)) and 0 < w < 1e6 and 0 < h < 1e6
    if not sane or not (0 <= x + w / 2 <= width and 0 <= y + h / 2 <= height):
        raise PictureError(
            f"box x={x:g} y={y:g} width={w:g} height={h:g}",
            expected=f"a box with its centre inside the {width} x {height} picture",
            fix="give boxes in pixels of the upright picture",
        )


def _round(value: float) -> int:
    """Half up, the same in every language (Python's round goes to even)."""
    return math.floor(value + 0.5)


def _too_large(name: str, size: str) -> PictureError:
    return PictureError(
        f"{name}: its header claims {size} pixels",
        expected=f"1 pixel to {MAX_PIXELS // 1_000_000} megapixels",
        fix="resize the picture, or leave it out",
    )


def _unreadable(name: str, error: Exception) -> PictureError:
    reason = str(error).split("\n")[0] or type(error).__name__
    if "cannot identify image file" in reason:
        reason = "not a picture in a known format"
    return PictureError(
        f"{name} cannot be decoded: {reason}",
        expected="a whole " + ", ".join(FORMATS[:6]) + " or similar file",
        fix="replace or leave out the file",
    )

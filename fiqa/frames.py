"""Camera frames by the contract: YUV_420_888 planes to the bytes a model reads.

A phone converts only what the crop needs, in integers, from planes with any row and pixel
stride; this is the same in numpy, for golden vectors and for hosts that are given raw frames.
docs/contract.md tells the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Box, Bytes, PreprocessSpec, Square
from fiqa.errors import PictureError

Turn = Literal[0, 90, 180, 270]

# BT.601 full range, times 2^16 and rounded: 1.402, 0.344136, 0.714136, 1.772
RED_CR, GREEN_CB, GREEN_CR, BLUE_CB = 91881, 22554, 46802, 116130
HALF, SHIFT = 1 << 15, 16


@dataclass(frozen=True)
class Plane:
    """Samples of one kind: that of (row, column) is data[row * row_stride + column * pixel_stride].

    What lies between and behind them does not count; the last row may end with its last sample.
    """

    data: NDArray[np.uint8]  # (N,)
    row_stride: int
    pixel_stride: int = 1

    def at(self, rows: slice, columns: slice, step: int) -> NDArray[np.int32]:
        """Samples for frame pixels; each stands for `step` pixels along both axes."""
        down = np.arange(rows.start, rows.stop) // step * self.row_stride
        across = np.arange(columns.start, columns.stop) // step * self.pixel_stride
        samples: NDArray[np.int32] = self.data[down[:, None] + across].astype(np.int32)
        return samples


@dataclass(frozen=True)
class Frame:
    """A frame as the camera gives it, and what makes it upright.

    turn: degrees clockwise. mirrored: the turned frame shows left as right, and is turned back,
    for a face is scored as others see it. Chroma planes are half the size, rounded up.
    """

    width: int
    height: int
    y: Plane
    u: Plane
    v: Plane
    turn: Turn = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.turn not in (0, 90, 180, 270):
            raise PictureError(
                f"a frame of {self.width} x {self.height}, turned by {self.turn}",
                expected="at least one pixel, and 0, 90, 180 or 270 degrees",
            )
        for name, plane, step in (("Y", self.y, 1), ("U", self.u, 2), ("V", self.v, 2)):
            _check_plane(name, plane, -(-self.width // step), -(-self.height // step))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        lies = self.turn in (90, 270)
        return (self.height, self.width) if lies else (self.width, self.height)

    def picture(self) -> Bytes:
        """The whole upright picture, (H, W, 3) RGB."""
        return self._cut(0, 0, *self.size)

    def to_bytes(
        self, spec: PreprocessSpec, box: Box | None = None, crop: Square | None = None
    ) -> Bytes:
        """The bytes the model reads; box and crop are in pixels of the upright picture."""
        x, y, side = spec.square_in(*self.size, box, crop)
        return spec.resample(self._cut(x, y, side, side))

    def _cut(self, x: int, y: int, width: int, height: int) -> Bytes:
        """A part of the upright picture; nothing else is converted."""
        if self.mirrored:
            x = self.size[0] - x - width
        match self.turn:
            case 0:
                left, top = x, y
            case 90:
                left, top = y, self.height - x - width
            case 180:
                left, top = self.width - x - width, self.height - y - height
            case 270:
                left, top = self.width - y - height, x
        if self.turn in (90, 270):
            width, height = height, width
        cut = np.rot90(self._convert(left, top, width, height), -self.turn // 90)
        return np.ascontiguousarray(cut[:, ::-1] if self.mirrored else cut)

    def _convert(self, left: int, top: int, width: int, height: int) -> Bytes:
        """A rectangle of the frame as it lies, in RGB."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        y = self.y.at(rows, columns, 1)
        u = self.u.at(rows, columns, 2) - 128
        v = self.v.at(rows, columns, 2) - 128
        red = y + (RED_CR * v + HALF >> SHIFT)
        green = y - (GREEN_CB * u + GREEN_CR * v + HALF >> SHIFT)
        blue = y + (BLUE_CB * u + HALF >> SHIFT)
        rgb: Bytes = np.clip(np.stack([red, green, blue], axis=2), 0, 255).astype(np.uint8)
        return rgb


def _check_plane(name: str, plane: Plane, width: int, height: int) -> None:
    needed = (height - 1) * plane.row_stride + (width - 1) * plane.pixel_stride + 1
    positive = plane.pixel_stride > 0 and (plane.row_stride > 0 or height == 1)
    if plane.data.ndim != 1 or not positive or plane.data.size < needed:
        raise PictureError(
            f"plane {name}: {plane.data.size} bytes, row stride {plane.row_stride}, "
            f"pixel stride {plane.pixel_stride}",
            expected=f"at least {needed} bytes for {width} x {height} samples",
            fix="hand over the planes of one whole frame with their own strides",
        )

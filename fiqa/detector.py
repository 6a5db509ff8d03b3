"""Where faces are in a picture: YuNet through any TFLite runtime, decoded in numpy.

The model looks at a square of SIZE pixels and gives one row a prior. A picture is looked at
whole, shrunk to fit; one with more pixels also in overlapping tiles at twice and four times that
resolution, for faces too small to be seen in the whole. docs/contract.md tells the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fiqa.contract import FILTERS, Box, Bytes, load_picture
from fiqa.engines import open_engine
from fiqa.errors import ArtifactError, InputError
from fiqa.manifest import artifact_kind, manifest_in, read_artifact
from fiqa.runtime import Picture, from_tensor, to_tensor

Floats = NDArray[np.float64]

MODEL = "yunet.tflite"
SIZE = 320  # pixels, side of the model's input
STRIDES = (8, 16, 32)  # pixels between priors, in the order of the model's rows
VALUES = 6  # a row: class, objectness, and the box: x, y, log width, log height, in strides
PRIORS = sum((SIZE // stride) ** 2 for stride in STRIDES)
CONFIDENCE = 0.7
SAME_FACE = 0.3  # intersection / union from which two boxes of one look are one face
INSIDE = 0.6  # intersection / smaller box from which boxes of different looks are one face
ZOOMS = (2, 4)  # times SIZE: the longer side of a picture that is looked at in tiles
STEP = SIZE // 2  # pixels between tiles, at most
RIM = 4  # pixels of a tile; what comes so near its edge lies whole in another tile


class Detection(NamedTuple):
    """A face: its box in pixels of the upright picture, and how sure the detector is, 0 to 1."""

    box: Box
    confidence: float


class Detector:
    """Finds faces in whole pictures.

    >>> Detector().find("group.jpg")

    model: another .tflite made by export.detector; the packaged one if not given.
    """

    def __init__(
        self,
        model: Path | str | None = None,
        *,
        runtime: str = "auto",
        threads: int = 1,
        confidence: float = CONFIDENCE,
    ) -> None:
        if not 0 < confidence <= 1:
            raise InputError(f"confidence {confidence}", expected="above 0, at most 1")
        self.confidence = confidence
        path = packaged_model() if model is None else Path(model)
        data = read_artifact(path)
        self.manifest = manifest_in(data, path)  # the hash is checked before a runtime sees it
        kind = artifact_kind(data, path.name)
        self._engine = open_engine(data, kind, runtime, threads, str(path))
        self.runtime, self.kernels = self._engine.runtime, self._engine.kernels
        shapes = self._engine.input.shape, self._engine.output.shape
        if shapes != ((1, SIZE, SIZE, 3), (1, PRIORS, VALUES)):
            raise ArtifactError(
                f"{path} takes {list(shapes[0])} and gives {list(shapes[1])}",
                expected=f"a detector: {[1, SIZE, SIZE, 3]} in, {[1, PRIORS, VALUES]} out",
                fix="make one: python -m export.detector --help",
            )

    def find(self, picture: Picture) -> list[Detection]:
        """The faces of a picture, largest first; PictureError if it cannot be read."""
        pixels = load_picture(picture)
        height, width = pixels.shape[:2]
        # Each face once, from the look that is most sure of it.
        found = (face for look in looks(pixels) for face in self._faces_in(look))
        inside = [face for face in found if _is_centred_in(face.box, width, height)]
        return sorted(
            _suppressed(inside, _is_inside), key=lambda face: -face.box.width * face.box.height
        )

    def rows(self, pixels: Bytes) -> Floats:
        """(SIZE, SIZE, 3) bytes to the model's (PRIORS, VALUES) rows."""
        engine = self._engine
        batch = to_tensor(pixels[None], self.manifest.preprocess, engine.input)
        rows: Floats = from_tensor(engine.run(batch), engine.output)[0]
        return rows

    def _faces_in(self, look: Look) -> Iterator[Detection]:
        for face in decode(self.rows(look.pixels), self.confidence):
            if look.takes(face.box):
                yield Detection(look.to_picture(face.box), face.confidence)


def packaged_model() -> Path:
    """The detector that comes with fiqa: beside its modules where installed, else in models/."""
    here = Path(__file__).parent
    installed = here / "models" / MODEL
    return installed if installed.is_file() else here.parent / "models" / MODEL


# ---------------------------------------------------------------- looks


class Look(NamedTuple):
    """A part of the picture as the model sees it."""

    pixels: Bytes  # (SIZE, SIZE, 3), black where the picture ends
    across: float  # pixels of the look a pixel of the picture, along x
    down: float  # along y
    x: int = 0  # the part's corner in the shrunk picture
    y: int = 0
    inner: tuple[bool, bool, bool, bool] = (False,) * 4  # left, top, right, bottom: not the end

    def takes(self, box: Box) -> bool:
        """Whether the box belongs to this look; one cut by a tile's edge is another tile's."""
        if not any(self.inner):
            return True
        right, bottom = SIZE - box.x - box.width, SIZE - box.y - box.height
        gaps = zip(self.inner, (box.x, box.y, right, bottom), strict=True)
        whole = all(gap >= RIM for is_inner, gap in gaps if is_inner)
        return whole and max(box.width, box.height) <= STEP

    def to_picture(self, box: Box) -> Box:
        """In pixels of the picture, to a hundredth: as a CSV holds it."""
        x, y = (box.x + self.x) / self.across, (box.y + self.y) / self.down
        values = x, y, box.width / self.across, box.height / self.down
        return Box(*(round(float(value), 2) for value in values))


def looks(picture: Bytes) -> Iterator[Look]:
    """The whole picture; then tiles, as far as its own pixels go."""
    longest = max(picture.shape[:2])
    yield from _tiles(picture, min(longest, SIZE))
    for zoom in ZOOMS:
        if longest >= zoom * SIZE:
            yield from _tiles(picture, zoom * SIZE)


def _tiles(picture: Bytes, longest: int) -> Iterator[Look]:
    """Looks that cover the picture, shrunk so that its longer side is `longest`."""
    height, width = picture.shape[:2]
    shrunk = shrink(picture, longest)
    rows, columns = shrunk.shape[:2]
    for y in _starts(rows):
        for x in _starts(columns):
            pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
            part = shrunk[y : y + SIZE, x : x + SIZE]
            pixels[: part.shape[0], : part.shape[1]] = part
            inner = (x > 0, y > 0, x + SIZE < columns, y + SIZE < rows)
            yield Look(pixels, columns / width, rows / height, x, y, inner)


def shrink(picture: Bytes, longest: int) -> Bytes:
    """The picture with `longest` as its longer side, resampled as the contract says."""
    height, width = picture.shape[:2]
    scale = longest / max(width, height)
    columns, rows = (max(int(side * scale + 0.5), 1) for side in (width, height))
    if (columns, rows) == (width, height):
        return picture
    whole = Image.fromarray(np.ascontiguousarray(picture))
    return np.array(whole.resize((columns, rows), FILTERS["bilinear"]))


def _starts(length: int) -> list[int]:
    """Where tiles begin, evenly, so that they cover `length` pixels in steps of at most STEP."""
    gaps = -(-max(length - SIZE, 0) // STEP)
    return [(length - SIZE) * place // gaps for place in range(gaps + 1)] if gaps else [0]


def _is_centred_in(box: Box, width: int, height: int) -> bool:
    return 0 <= box.x + box.width / 2 <= width and 0 <= box.y + box.height / 2 <= height


# ---------------------------------------------------------------- decoding


def decode(rows: Floats, confidence: float) -> list[Detection]:
    """The model's rows to the faces of one look, most confident first."""
    values = rows.astype(np.float64)
    certainty = np.sqrt(np.clip(values[:, 0], 0, 1) * np.clip(values[:, 1], 0, 1))
    chosen = np.flatnonzero(certainty >= confidence)
    stride, column, row = _PRIORS[chosen].T
    x, y, log_width, log_height = values[chosen, 2:].T
    width, height = np.exp(log_width) * stride, np.exp(log_height) * stride
    left = (column + x) * stride - width / 2
    top = (row + y) * stride - height / 2
    boxes = map(Box, *(side.tolist() for side in (left, top, width, height)))
    faces = map(Detection, boxes, certainty[chosen].tolist())
    return _suppressed(faces, lambda one, kept: intersection_over_union(one, kept) > SAME_FACE)


def intersection_over_union(first: Box, second: Box) -> float:
    both = _intersection(first, second)
    return both / (first.width * first.height + second.width * second.height - both)


def _is_inside(first: Box, second: Box) -> bool:
    smaller = min(first.width * first.height, second.width * second.height)
    return _intersection(first, second) > INSIDE * smaller


def _intersection(first: Box, second: Box) -> float:
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    return max(width, 0.0) * max(height, 0.0)


def _suppressed(faces: Iterable[Detection], is_same: Callable[[Box, Box], bool]) -> list[Detection]:
    """Most confident first, without those that are the same face as one before them."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if not any(is_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _priors() -> Floats:
    """(PRIORS, 3): stride, column and row of each row of the model."""
    grids = []
    for stride in STRIDES:
        row, column = np.indices((SIZE // stride, SIZE // stride)).reshape(2, -1)
        grids.append(np.stack([np.full(row.shape, stride), column, row], axis=1))
    return np.concatenate(grids).astype(np.float64)


_PRIORS = _priors()

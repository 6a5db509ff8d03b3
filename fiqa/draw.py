"""Pictures with what was found in them: each face's box, the square that was cut, a caption."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from fiqa.contract import Box, Bytes
from fiqa.errors import InputError
from fiqa.files import refuse_existing, require_writable, write_bytes
from fiqa.label_files import PICTURE_ENDINGS
from fiqa.sources import Source

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
COLOURS = {True: (60, 210, 100), False: (255, 90, 80), None: (255, 200, 40)}
INK = (0, 0, 0)
LEAST_TEXT = 11  # pixels
TEXT_SHARE = 0.022  # of the picture's longer side
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Mark:
    """One face: its box, the square cut for the model, a caption, and whether it is accepted."""

    caption: str
    box: Box | None = None
    square: tuple[int, int, int] | None = None
    accepted: bool | None = None


def drawing_paths(out: Path, sources: Sequence[Source], overwrite: bool) -> dict[Path, Path]:
    """Where each picture's drawing goes; all is checked before any work starts.

    One picture goes to `out` itself where that ends as pictures do; else `out` is a folder.
    """
    pictures = {source.path: source.row.image for source in sources}
    if out.suffix.lower() in PICTURE_ENDINGS:
        if len(pictures) != 1 or out.suffix.lower() not in FORMATS:
            raise InputError(
                f"--draw {out} for {len(pictures)} pictures",
                expected="a folder for several, or a name ending in " + ", ".join(FORMATS),
                fix=f"--draw {out.with_suffix('')}",
            )
        places = dict.fromkeys(pictures, out)
    else:
        places = {path: out / _drawn_name(name) for path, name in pictures.items()}
    if len(set(places.values())) < len(places):
        raise InputError(
            f"two pictures would both be drawn under one name in {out}",
            expected="pictures with names of their own",
            fix="draw each folder into a folder of its own",
        )
    for place in places.values():
        refuse_existing(place, overwrite)
    for folder in {place.parent for place in places.values()}:
        require_writable(folder / "any")
    return places


def _drawn_name(name: str) -> str:
    return name if Path(name).suffix.lower() in FORMATS else f"{name}.png"


def draw_to(path: Path, picture: Bytes, marks: Sequence[Mark]) -> None:
    """The upright picture with its marks, written whole or not at all."""
    image = draw(picture, marks)
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[path.suffix.lower()], quality=JPEG_QUALITY)
    write_bytes(path, buffer.getvalue())


def draw(picture: Bytes, marks: Sequence[Mark]) -> Image.Image:
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    font_size = max(LEAST_TEXT, round(TEXT_SHARE * max(image.size)))
    font = ImageFont.load_default(font_size)
    line = max(1, font_size // 7)
    for mark in marks:
        colour = COLOURS[mark.accepted]
        if mark.square:
            x, y, side = mark.square
            _frame(pen, (x, y, x + side - 1, y + side - 1), colour, 1)
        if mark.box:
            x0, y0, width, height = mark.box
            _frame(pen, (x0, y0, x0 + width, y0 + height), colour, line)
    for mark in marks:  # over all frames
        _write(pen, mark, image.size, font)
    return image


def _frame(
    pen: ImageDraw.ImageDraw,
    corners: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    line: int,
) -> None:
    """A frame with a dark one around it, to be seen on any ground."""
    x0, y0, x1, y1 = (round(corner) for corner in corners)
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=INK, width=line + 2)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=line)


def _write(pen: ImageDraw.ImageDraw, mark: Mark, size: tuple[int, int], font: Any) -> None:
    """The caption on a plate above the box, moved inside the picture."""
    place = mark.box or mark.square or (0, 0)
    left, top, right, bottom = pen.textbbox((0, 0), mark.caption, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = min(max(round(place[0]), 0), max(size[0] - width, 0))
    y = min(max(round(place[1]) - height, 0), max(size[1] - height, 0))
    pen.rectangle((x, y, x + width, y + height), fill=COLOURS[mark.accepted])
    pen.text((x + 3 - left, y + 3 - top), mark.caption, fill=INK, font=font)

"""Contact sheets: many pictures on one, each with a line of text, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fiqa.errors import OutputError

THUMB_PX = 112
CAPTION_PX = 14
COLUMNS = 12


def write_contact_sheet(
    path: Path, pictures: Sequence[tuple[Path, str]], columns: int = COLUMNS
) -> None:
    """Pictures with captions, in the order given, left to right and top to bottom."""
    cells = [_cell(picture, caption) for picture, caption in pictures]
    blank = np.zeros_like(cells[0])
    columns = min(columns, len(cells))
    cells += [blank] * (-len(cells) % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise OutputError(f"{path} could not be written", expected="a folder with room")


def _cell(path: Path, caption: str) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture is not None, path
    thumb = cv2.resize(picture, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    cell = cv2.copyMakeBorder(thumb, CAPTION_PX, 0, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    place, white = (2, CAPTION_PX - 4), (255, 255, 255)
    cv2.putText(cell, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, white, 1, cv2.LINE_AA)
    return cell

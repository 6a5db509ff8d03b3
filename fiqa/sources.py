"""The pictures that a command is given: pictures, folders, lists, as checked rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fiqa.errors import InputError
from fiqa.label_files import read_table
from fiqa.labels import Row, parse_row

LISTS = (".csv", ".parquet")


class Source(NamedTuple):
    """A picture to open, and the row that names it, relative to its folder or root."""

    path: Path
    row: Row


def read_sources(given: Path, root: Path | None) -> Iterator[Source]:
    """What one argument names. No picture is opened here: each failure is told while working.

    root: where the pictures of a list lie, if not beside it.
    """
    if not given.is_dir() and given.suffix.lower() not in LISTS:
        yield Source(given, Row(1, given.name))
        return
    table = read_table(given)
    base = root if root and not given.is_dir() else table.root
    for line, cells in table.lines:
        try:
            row = parse_row(line, cells, base)
        except ValueError as error:
            raise InputError(
                f"{given} row {line}: {error}",
                expected="a list whose every row names a picture",
                fix="mend the row, or take it out",
            ) from error
        yield Source(base / row.image, row)


def box_text(box: Sequence[float]) -> str:
    """A box as a list's cell holds it: x y w h, to a hundredth of a pixel."""
    return " ".join(str(round(value, 2)) for value in box)

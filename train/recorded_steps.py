"""How each picture of a label set was degraded, where its table has a column `steps`.

A cell such as "jpeg:0.62 resample:0.31", as train.synth writes it, names the kinds in order,
each with its severity; commas and semicolons part them as well as spaces do.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

COLUMN = "steps"
LABELS = "labels.csv"  # in a folder that we wrote

Kinds = tuple[str, ...]  # of one picture, in order; empty: left clean


def read_kinds(source: Path) -> dict[int, Kinds] | None:
    """Kinds by the line of the table, as in `Row.line`; None where nothing is recorded.

    For a table that `fiqa.labels.read_labels` has accepted already.
    """
    if (source / LABELS).is_file():
        source = source / LABELS
    lines = dict(_parquet_cells(source) if _is_parquet(source) else _csv_cells(source))
    return {line: parse_kinds(cell) for line, cell in lines.items()} or None


def parse_kinds(cell: str) -> Kinds:
    """The kinds of one cell, without their severities."""
    return tuple(step.split(":")[0] for step in re.split(r"[\s,;]+", cell) if step)


def _is_parquet(source: Path) -> bool:
    return source.suffix.lower() == ".parquet" or (source.is_dir() and bool(_shards(source)))


def _shards(source: Path) -> list[Path]:
    return sorted(source.glob("*.parquet")) if source.is_dir() else [source]


def _csv_cells(source: Path) -> Iterator[tuple[int, str]]:
    if source.is_dir():
        return  # GFIQA-20k and folders of pictures record no steps
    text = source.read_text("utf-8-sig")
    first = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    lines = [(line, row) for line, row in enumerate(rows, 1) if any(map(str.strip, row))]
    header = [cell.strip().lower() for cell in lines[0][1]]
    if COLUMN in header:
        place = header.index(COLUMN)
        for line, row in lines[1:]:
            yield line, row[place] if place < len(row) else ""


def _parquet_cells(source: Path) -> Iterable[tuple[int, str]]:
    from pyarrow import parquet

    cells: list[str] = []
    found = False
    for path in _shards(source):
        table = parquet.read_table(path)
        names = {str(name).lower(): name for name in table.column_names}
        found = found or COLUMN in names
        values = table[names[COLUMN]].to_pylist() if COLUMN in names else [""] * table.num_rows
        cells += [str(value or "") for value in values]
    return enumerate(cells, 1) if found else ()

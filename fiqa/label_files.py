"""The layouts a label set may come in, read into one table of named cells."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiqa.errors import InputError, LabelError, MissingDependencyError
from fiqa.records import check_schema, read_json

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
DATASET, DATASET_SCHEMA = "dataset.json", 1  # beside the labels in a folder that we wrote
NO_ROWS = "write it again, or name the folder of the pictures"
RUN = "run.json"  # a command that can go on leaves it where it works
# Names in use elsewhere: GFIQA-20k (img_name, mos), Efficient-FIQA (mapped_score), portrait
# collections of the US Congress (bioguide), and plain English.
ALIASES = {
    "image": ("image", "image_name", "img_name", "img", "filename", "file_name", "file", "path",
              "image_path", "bioguide"),
    "score": ("score", "mos", "quality", "mapped_score", "label"),
    "identity": ("identity", "identity_id", "person", "subject", "bioguide"),
    "split": ("split", "subset"),
    "box": ("box", "bbox"),
    "crop": ("crop",),
    "weight": ("weight",),
}  # fmt: skip
JOINED = {
    "box": (("x", "y", "w", "h"), ("x", "y", "width", "height")),
    "crop": (("crop_x0", "crop_y0", "crop_side"), ("crop_x", "crop_y", "crop_side")),
}


@dataclass(frozen=True)
class Table:
    """Cells by our names, one dict a row, with the line each row came from."""

    name: str
    root: Path
    lines: list[tuple[int, dict[str, Any]]]
    columns: frozenset[str]

    @property
    def count(self) -> int:
        return len(self.lines)

    def has(self, column: str) -> bool:
        return column in self.columns


def text_of(cell: object) -> str:
    """Empty for no cell only: Parquet's number 0 is a coordinate or a person like any other."""
    return "" if cell is None else str(cell)


def read_table(source: Path) -> Table:
    """Any known layout; InputError or LabelError where it is none."""
    if source.is_dir():
        return _read_folder(source)
    if not source.exists():
        raise InputError(
            f"{source} does not exist",
            expected="a CSV, Parquet file or folder",
            fix="check the path",
        )
    if source.suffix.lower() == ".parquet":
        return _read_parquet([source], source.stem, source.parent)
    return _read_csv(source, source.parent)


def _read_folder(folder: Path) -> Table:
    labels, shards = folder / "labels.csv", sorted(folder.glob("*.parquet"))
    if labels.is_file() or shards:
        root = _declared_root(folder)
        if labels.is_file():
            return dataclasses.replace(_read_csv(labels, root), name=folder.resolve().name)
        return _read_parquet(shards, folder.resolve().name, root)
    ratings = sorted(folder.glob("mos*rating*.csv"))
    if ratings and (folder / "image").is_dir():
        return _read_gfiqa(folder, ratings)
    pictures = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".")
    )
    if not pictures:
        raise InputError(
            f"{folder} holds no pictures",
            expected="pictures, Parquet shards or GFIQA-20k",
            fix="name the folder that holds them, or a CSV",
        )
    lines = [(number, {"image": name}) for number, name in enumerate(pictures, 1)]
    return Table(folder.name or "pictures", folder, lines, frozenset({"image"}))


def _declared_root(folder: Path) -> Path:
    """Where the pictures of a data set's folder lie: in it, unless dataset.json says otherwise."""
    record = folder / DATASET
    if not record.is_file():
        if (folder / RUN).is_file():
            raise LabelError(
                f"{folder} is not finished: it has no {DATASET}",
                expected="a data set whose command came to its end",
                fix="start the command that writes it again; it goes on where it stopped",
            )
        return folder
    document = read_json(record)
    if not isinstance(document, dict) or "schema" not in document:
        return folder  # somebody else's file of the same name
    check_schema(document, DATASET_SCHEMA, str(record))
    root = document.get("root", "")
    if not isinstance(root, str):
        raise LabelError(
            f"{record}: root is {root!r}", expected="a folder's path", fix="mend its root"
        )
    return (folder / root).resolve() if root else folder


def _read_gfiqa(folder: Path, ratings: Sequence[Path]) -> Table:
    """GFIQA-20k: image/ beside mos_rating.csv, or one file a split (mos_val_rating.csv)."""
    lines: list[tuple[int, dict[str, Any]]] = []
    for path in ratings:
        split = path.stem.removeprefix("mos").removesuffix("rating").strip("_")
        for _, cells in _read_csv(path, folder / "image").lines:
            lines.append((len(lines) + 1, {"split": split} | cells))
    return Table(folder.name, folder / "image", lines, frozenset({"image", "score", "split"}))


def _read_csv(path: Path, root: Path) -> Table:
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise LabelError(
            f"{path} cannot be read: {error}",
            expected="a CSV in UTF-8",
            fix="save it anew as CSV in UTF-8",
        ) from error
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise LabelError(
            f"{path} is not a CSV: {error}",
            expected="a CSV in UTF-8",
            fix="save it anew as CSV in UTF-8",
        ) from error
    rows_by_line = [(line, row) for line, row in enumerate(rows, 1) if any(map(str.strip, row))]
    if not rows_by_line:
        raise LabelError(f"{path} is empty", expected="one row a picture", fix=NO_ROWS)
    header = [cell.strip().lower() for cell in rows_by_line[0][1]]
    if _is_headerless(header):
        header = ["image", "score"]
    else:
        rows_by_line = rows_by_line[1:]
    if not rows_by_line:
        raise LabelError(
            f"{path} has a header and no rows", expected="one row a picture", fix=NO_ROWS
        )
    records = ((line, dict(zip(header, row, strict=False))) for line, row in rows_by_line)
    return _table(path.stem, root, header, records, path)


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _is_headerless(first: Sequence[str]) -> bool:
    """VQualA's train.csv: a file name and a number, from the first line on."""
    if len(first) != 2 or first[0] in ALIASES["image"]:
        return False
    try:
        float(first[1])
    except ValueError:
        return False
    return True


def _read_parquet(paths: Sequence[Path], name: str, root: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {paths[0].name} needs pyarrow",
            expected="pyarrow",
            fix="pip install 'fiqa-edge[scale]'",
        ) from error
    records: list[dict[str, Any]] = []
    columns: list[str] = []
    for path in paths:
        try:
            table = parquet.read_table(path)
            names = [str(column).lower() for column in table.column_names]
            rows = table.rename_columns(names).to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise LabelError(
                f"{path} cannot be read: {error}",
                expected="a whole Parquet file",
                fix="write or fetch it again",
            ) from error
        columns += names
        records += rows
    return _table(name, root, columns, enumerate(records, 1), paths[0])


def _table(
    name: str,
    root: Path,
    header: Iterable[str],
    records: Iterable[tuple[int, dict[str, Any]]],
    path: Path,
) -> Table:
    found = list(dict.fromkeys(header))
    singles = {
        ours: next(alias for alias in aliases if alias in found)
        for ours, aliases in ALIASES.items()
        if any(alias in found for alias in aliases)
    }
    joined = {
        ours: parts
        for ours, choices in JOINED.items()
        for parts in choices
        if ours not in singles and all(part in found for part in parts)
    }
    if "image" not in singles:
        raise LabelError(
            f"{path} has the columns {', '.join(found[:12])}",
            expected="a column image (or img_name, filename, path), or two headerless columns",
            fix="rename the column that names the pictures to image",
        )
    lines = []
    for line, record in records:
        cells = {ours: record.get(theirs) for ours, theirs in singles.items()}
        for ours, parts in joined.items():
            cells[ours] = " ".join(text_of(record.get(part)) for part in parts)
        lines.append((line, cells))
    return Table(name, root, lines, frozenset(singles) | frozenset(joined))

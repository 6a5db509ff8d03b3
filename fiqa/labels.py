"""Label sets: which pictures, which scores, which people, which part of them is kept apart.

`read_labels` takes a CSV with a header, the VQualA challenge's headerless train.csv, a
GFIQA-20k folder, Parquet (a file or a folder of shards), or a plain folder of pictures. Every
row is checked before any work starts, and all bad rows are told in one report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Box, Square
from fiqa.errors import InputError, LabelError
from fiqa.label_files import PICTURE_ENDINGS, Table, read_table, text_of
from fiqa.manifest import DataRecord, ScoreScale
from fiqa.picture_check import check_pictures

Shape = TypeVar("Shape", Box, Square)

SHOWN_BAD_ROWS = 20
KNOWN_SCALES = ((0.0, 1.0), (1.0, 5.0), (0.0, 100.0))
SPLIT_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


@dataclass(frozen=True, slots=True)
class Row:
    """One picture. `line` is its place in the file it came from, for messages."""

    line: int
    image: str  # relative to the root
    score: float = math.nan  # 0..1; NaN in an unlabelled set
    identity: str = ""  # empty: unknown
    split: str = ""  # empty: not given
    box: Box | None = None
    crop: Square | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class LabelSet:
    """Checked rows under one root; scores are mapped to 0..1, the mapping is in `scale`."""

    name: str
    root: Path
    rows: tuple[Row, ...]
    sha256: str  # over every row and every picture's content
    scale: ScoreScale | None = None  # None: unlabelled
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def paths(self) -> list[Path]:
        return [self.root / row.image for row in self.rows]

    @property
    def scores(self) -> NDArray[np.float64]:
        return np.array([row.score for row in self.rows], np.float64)

    @property
    def identities(self) -> list[str] | None:
        """Who each picture shows; None when any is unknown."""
        known = [row.identity for row in self.rows]
        return known if all(known) else None

    @property
    def split_names(self) -> list[str]:
        return sorted({row.split for row in self.rows})

    def select(self, split: str) -> LabelSet:
        """The rows of one split."""
        rows = tuple(row for row in self.rows if row.split == split)
        if not rows:
            raise LabelError(
                f"{self.name} has no rows in split {split!r}",
                expected="one of " + (", ".join(filter(None, self.split_names)) or "no splits"),
                fix="name another split, or add a split column",
            )
        return dataclasses.replace(self, rows=rows)

    def with_splits(self, shares: dict[str, float], seed: int = 0) -> LabelSet:
        """Splits drawn by a hash of the identity, so that nobody stands in two of them.

        Rows that already have a split keep it; pictures of unknown people count one by one.
        """
        rows = tuple(
            row
            if row.split
            else dataclasses.replace(row, split=draw_split(row.identity or row.image, shares, seed))
            for row in self.rows
        )
        return dataclasses.replace(self, rows=rows)

    def record(self, role: str) -> DataRecord:
        """What a manifest keeps of this set."""
        splits = Counter(row.split for row in self.rows if row.split)
        return DataRecord(
            name=self.name,
            sha256=self.sha256,
            role=role,
            count=len(self.rows),
            identities=len({row.identity for row in self.rows if row.identity}),
            splits=dict(sorted(splits.items())),
            skipped=self.skipped,
            scale=self.scale,
        )


def read_labels(
    source: Path | str,
    *,
    root: Path | str | None = None,
    scored: bool = True,
    scale: tuple[float, float] | None = None,
    skip_bad: bool = False,
) -> LabelSet:
    """Read and check a label set. `scored=False` takes pictures without scores too.

    root: the folder that image names are relative to (default: where the file lies).
    scale: the lowest and highest possible score; recognised from the values if not given.
    skip_bad: go on without bad rows, and count them in `skipped`.
    """
    table = read_table(Path(source))
    base = Path(root) if root is not None else table.root
    if not base.is_dir():
        raise InputError(
            f"{base} is not a folder",
            expected="the folder of the pictures",
            fix="check the path, or the root that the label set names",
        )
    if scored and not table.has("score"):
        raise LabelError(
            f"{source} has no column of scores",
            expected="a column score (or mos, quality, mapped_score)",
            fix="add the column, or use a command that takes unlabelled pictures",
        )
    bad: dict[int, str] = {}
    rows = _parse_rows(table, base, bad)
    _check_scores(rows, bad, scored)
    _check_duplicates(rows, {row.line: row.image for row in rows}, bad)
    digests = check_pictures(base, rows, bad)
    _check_duplicates([row for row in rows if row.line in digests], digests, bad)
    _check_identities([row for row in rows if row.line not in bad], bad)
    good = [row for row in rows if row.line not in bad]
    if bad and not (skip_bad and good):
        raise _bad_rows(str(source), bad, table.count)
    mapped = None
    if scored:
        mapped = _scale_of([row.score for row in good], scale, str(source))
        good = [_rescale(row, mapped) for row in good]
    return LabelSet(
        name=table.name,
        root=base,
        rows=tuple(good),
        sha256=_digest(good, digests),
        scale=mapped,
        skipped=len(bad),
    )


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` numbers below `count`, evenly apart."""
    return [round(step) for step in np.linspace(0, count - 1, min(count, wanted))]


def draw_split(person: str, shares: dict[str, float], seed: int = 0) -> str:
    """The split a person falls into, by a hash of the name: the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{person}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for name, share in shares.items():
        if point < share:
            return name
        point -= share
    return name


def side_of(split: str) -> str:
    """Splits that may share people: val and val_ood are one side, test and test_ood another."""
    return split.split("_")[0]


def parse_row(line: int, cells: dict[str, Any], root: Path) -> Row:
    """One row of a table; ValueError says what is wrong with it."""
    return Row(
        line=line,
        image=_inside(cells.get("image"), root),
        score=_number(cells.get("score"), "score", math.nan),
        identity=text_of(cells.get("identity")).strip(),
        split=_split_name(cells.get("split")),
        box=_shape(cells.get("box"), "box", Box),
        crop=_shape(cells.get("crop"), "crop", Square),
        weight=_weight(cells.get("weight")),
    )


def _parse_rows(table: Table, root: Path, bad: dict[int, str]) -> list[Row]:
    rows = []
    for line, cells in table.lines:
        try:
            rows.append(parse_row(line, cells, root))
        except ValueError as error:
            bad[line] = str(error)
    return rows


def _inside(cell: object, root: Path) -> str:
    """The picture's path relative to the root, by its name alone (no links followed)."""
    name = text_of(cell).strip().replace("\\", "/")
    if not name:
        raise ValueError("no picture is named")
    if "\0" in name:
        raise ValueError("the picture's name holds a zero byte")
    base = os.path.abspath(root)
    path = os.path.normpath(os.path.join(base, _with_ending(name, root)))
    if os.path.commonpath([base, path]) != base:
        raise ValueError(f"{name} leaves the root {root}")
    return Path(path).relative_to(base).as_posix()


def _with_ending(name: str, root: Path) -> str:
    """VQualA and others name pictures without an ending: take the one that is there."""
    if name.lower().endswith(PICTURE_ENDINGS):
        return name
    endings = (e for e in PICTURE_ENDINGS if os.path.isfile(root / (name + e)))
    return name + next(endings, "")


def _number(cell: object, what: str, default: float) -> float:
    if cell is None:
        return default
    try:
        return float(str(cell).strip())
    except ValueError:
        raise ValueError(f"{what} {str(cell)[:40]!r} is not a number") from None


def _shape(cell: object, what: str, kind: type[Shape]) -> Shape | None:
    """A box or crop cell: numbers apart by spaces, commas or semicolons, brackets allowed."""
    text = text_of(cell).translate(str.maketrans("[](),;", "      "))
    if not text.strip():
        return None
    values = [_number(part, what, 0.0) for part in text.split()]
    try:
        return kind(*values)
    except TypeError:
        raise ValueError(f"{what} {str(cell)[:40]!r} has {len(values)} numbers") from None


def _weight(cell: object) -> float:
    weight = _number(cell if cell != "" else None, "weight", 1.0)
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"weight {weight} is not above zero")
    return weight


def _split_name(cell: object) -> str:
    name = text_of(cell).strip().lower()
    return SPLIT_NAMES.get(name, name)


def _check_scores(rows: Sequence[Row], bad: dict[int, str], scored: bool) -> None:
    for row in rows:
        if scored and not math.isfinite(row.score):
            bad[row.line] = f"score is {row.score}"


def _check_duplicates(rows: Iterable[Row], names: dict[int, str], bad: dict[int, str]) -> None:
    """The same face twice, by the picture's name or by its content's hash."""
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        earlier = first.setdefault((names[row.line], row.box, row.crop), row)
        if earlier is not row:
            bad.setdefault(
                row.line, f"{row.image} is the picture of row {earlier.line} ({earlier.image})"
            )


def _check_identities(rows: Iterable[Row], bad: dict[int, str]) -> None:
    home: dict[str, str] = {}
    for row in rows:
        if row.identity and row.split:
            side = home.setdefault(row.identity, side_of(row.split))
            if side != side_of(row.split):
                bad[row.line] = (
                    f"identity {row.identity!r} stands in {side} already, here in {row.split}"
                )


def _scale_of(
    scores: Sequence[float], declared: tuple[float, float] | None, source: str
) -> ScoreScale:
    low, high = min(scores), max(scores)
    if declared is not None:
        if not (math.isfinite(declared[0]) and declared[0] < declared[1] < math.inf):
            raise InputError(
                f"--scale {declared[0]} {declared[1]}", expected="a lower and a higher number"
            )
        if low < declared[0] or high > declared[1]:
            raise LabelError(
                f"{source} has scores from {low:g} to {high:g}",
                expected=f"scores within the declared {declared[0]:g} to {declared[1]:g}",
                fix="declare the true limits with --scale LOW HIGH",
            )
        return ScoreScale(*declared, declared=True)
    fitting = [scale for scale in KNOWN_SCALES if scale[0] <= low and high <= scale[1]]
    # 0-1 also fits into 0-100, and 1-5 too: the narrowest wins, unless two are as likely.
    if not fitting or (high > 1 and low < 1 and high <= 5) or low == high == 1:
        raise LabelError(
            f"{source} has scores from {low:g} to {high:g}: their scale is not plain",
            expected="0 to 1, 1 to 5 or 0 to 100, or a declared scale",
            fix="declare it: --scale LOW HIGH",
        )
    return ScoreScale(*fitting[0], declared=False)


def _rescale(row: Row, scale: ScoreScale) -> Row:
    mapped = (row.score - scale.low) / (scale.high - scale.low)
    return dataclasses.replace(row, score=mapped)


def _digest(rows: Iterable[Row], pictures: dict[int, str]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        facts = (row.image, row.score, row.identity, row.split, row.box, row.crop, row.weight)
        digest.update(repr((*facts, pictures[row.line])).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _bad_rows(source: str, bad: dict[int, str], count: int) -> LabelError:
    lines = [f"  row {line}: {bad[line]}" for line in sorted(bad)[:SHOWN_BAD_ROWS]]
    if len(bad) > SHOWN_BAD_ROWS:
        lines.append(f"  ... and {len(bad) - SHOWN_BAD_ROWS} more")
    return LabelError(
        f"{source}: {len(bad)} of {count} rows are bad\n" + "\n".join(lines),
        expected="every row with a readable picture inside the root and a finite score",
        fix="mend the rows" if len(bad) == count else "mend the rows, or add --skip-bad",
    )

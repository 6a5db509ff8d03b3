"""Shards of a pseudo-labelled set: equal cuts of the pictures, one Parquet file each.

A shard is there or is not: its file takes its name only when it is whole. So a stopped run goes
on with the shards that are missing, whichever engine or machine wrote the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fiqa.contract import Box, Square
from fiqa.errors import InputError, LabelError, MissingDependencyError
from fiqa.files import write_bytes
from fiqa.labels import LabelSet, Row
from fiqa.logistic import LogisticFit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shard:
    """Some pictures in a row of a larger set, and the file that their scores go to."""

    number: int
    file: Path
    labels: LabelSet

    @property
    def is_finished(self) -> bool:
        return self.file.exists()


@dataclass(frozen=True)
class ShardScores:
    """What a finished shard holds, one a picture."""

    raw: Floats
    mapped: Floats


def cut_shards(labels: LabelSet, size: int, folder: Path) -> list[Shard]:
    """Cuts of `size` pictures, in the order of the set: the same on every machine."""
    if size < 1:
        raise InputError(f"--shard-size is {size}", expected="1 or more")
    check_names(labels)
    parts = [labels.rows[start : start + size] for start in range(0, len(labels), size)]
    return [
        Shard(
            number, folder / f"shard-{number:06d}.parquet", dataclasses.replace(labels, rows=rows)
        )
        for number, rows in enumerate(parts)
    ]


def map_scores(raw: Floats, mapping: LogisticFit) -> Floats:
    """A teacher's raw scores on the scale of the labels, none beyond its ends."""
    return np.clip(mapping(raw), 0.0, 1.0)


def write_shard(shard: Shard, raw: Floats, mapping: LogisticFit) -> None:
    """The pictures with their new scores. What scores they had before is not written."""
    assert len(raw) == len(shard.labels)
    pyarrow, parquet = _load_parquet()
    rows = shard.labels.rows
    columns = {
        "image": pyarrow.array([row.image for row in rows], pyarrow.string()),
        "score": pyarrow.array(map_scores(raw, mapping), pyarrow.float64()),
        "raw_score": pyarrow.array(raw, pyarrow.float64()),
        "identity": pyarrow.array([row.identity for row in rows], pyarrow.string()),
        "box": pyarrow.array([_numbers(row.box) for row in rows], pyarrow.string()),
        "crop": pyarrow.array([_numbers(row.crop) for row in rows], pyarrow.string()),
        "weight": pyarrow.array([row.weight for row in rows], pyarrow.float64()),
    }
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), sink)
    write_bytes(shard.file, sink.getvalue().to_pybytes())


def read_shard(shard: Shard) -> ShardScores:
    """The scores of a finished shard, after checking that they belong to its pictures."""
    pyarrow, parquet = _load_parquet()
    try:
        table = parquet.read_table(shard.file, columns=["image", "raw_score", "score"])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _strange(shard, f"cannot be read: {error}") from error
    if table["image"].to_pylist() != [row.image for row in shard.labels.rows]:
        raise _strange(shard, "holds other pictures than this set")
    return ShardScores(table["raw_score"].to_numpy(), table["score"].to_numpy())


def read_shards(shards: Sequence[Shard]) -> ShardScores:
    """The scores of all, in the order of the set."""
    found = [read_shard(shard) for shard in shards]
    return ShardScores(
        np.concatenate([one.raw for one in found]), np.concatenate([one.mapped for one in found])
    )


def _numbers(shape: Box | Square | None) -> str | None:
    """A cell that reads back to the same floats."""
    return " ".join(repr(float(value)) for value in shape) if shape is not None else None


def _strange(shard: Shard, what: str) -> LabelError:
    return LabelError(
        f"{shard.file} {what}",
        expected=f"the scores of {len(shard.labels)} pictures, as this command writes them",
        fix="delete this file and start the same command again",
    )


def check_names(labels: LabelSet) -> None:
    """Refuse names of pictures and people that are no text: a file system takes any bytes."""

    def is_text(row: Row) -> bool:
        try:
            (row.image + row.identity).encode()
        except UnicodeEncodeError:
            return False
        return True

    strange = [row for row in labels.rows if not is_text(row)]
    if strange:
        raise LabelError(
            f"row {strange[0].line} of {labels.name}: {strange[0].image!r} is not UTF-8",
            expected="names that a table can hold",
            fix="rename the file",
        )


def _load_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            "shards need pyarrow", expected="pyarrow", fix="pip install 'fiqa-edge[train]'"
        ) from error
    return pyarrow, parquet

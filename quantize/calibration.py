"""The pictures that ranges and corrections come from: a fixed few of a label set, its hash kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError
from fiqa.labels import LabelSet, evenly, read_labels, side_of
from fiqa.manifest import DataRecord
from quantize.deployable import BYTE_CENTRE
from train.data import PictureBank

PICTURES = 200  # more did not help
FEWEST = 20


@dataclass(frozen=True)
class Calibration:
    """`pictures` are (N, S, S, 3) bytes - 128; scores are never looked at."""

    pictures: Tensor
    record: DataRecord


def read_calibration(path: Path, spec: PreprocessSpec) -> Calibration:
    """Pictures of the split train where the set has one, else of all that is not for testing."""
    return calibration_from(read_labels(path, scored=False), spec)


def calibration_from(labels: LabelSet, spec: PreprocessSpec) -> Calibration:
    """The same from a set that is read already."""
    if "train" in labels.split_names:
        chosen = labels.select("train")
    else:
        rows = tuple(row for row in labels.rows if side_of(row.split) != "test")
        chosen = dataclasses.replace(labels, rows=rows)
    if len(chosen) < FEWEST:
        raise InputError(
            f"{labels.name} has {len(chosen)} pictures to calibrate with",
            expected=f"{FEWEST} or more, {PICTURES} are plenty",
            fix="name a larger set with --calibration",
        )
    return Calibration(read_pictures(spread(chosen, PICTURES), spec), chosen.record("calibration"))


def spread(labels: LabelSet, most: int) -> LabelSet:
    """At most so many rows, evenly from all over the set."""
    rows = tuple(labels.rows[place] for place in evenly(len(labels), most))
    return dataclasses.replace(labels, rows=rows)


def read_pictures(labels: LabelSet, spec: PreprocessSpec) -> Tensor:
    """All pictures of a set, as bytes - 128."""
    found = PictureBank(labels, spec, limit_bytes=0).get(np.arange(len(labels)))
    return torch.from_numpy(found.astype(np.int16) - BYTE_CENTRE)

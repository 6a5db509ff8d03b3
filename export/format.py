"""What the export commands differ in, as values: how a file is built, looked at and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fiqa.contract import Bytes
from fiqa.manifest import Check, Kind, Manifest, TensorSpec
from fiqa.runtime import Scorer
from fiqa.vectors import Floats
from quantize.deployable import INPUT, OUTPUT, Deployable
from quantize.recipes import Quantised
from quantize.tflite import InputType

Body = bytes | Path  # an artifact without manifest: a file's bytes, or a package
Score = Callable[[Bytes], Floats]
Tensors = tuple[TensorSpec, TensorSpec]  # the picture, the score


@dataclass(frozen=True)
class Judge:
    """A runtime that can score the artifact, or the reason why it cannot here."""

    name: str
    open: Callable[[Path], Score]


@dataclass(frozen=True)
class IntegerJob:
    """What an integer artifact is built from."""

    deployable: Deployable
    quantised: Quantised | None  # None: weights alone
    pictures: Tensor  # of the calibration; an example for weights alone
    takes: InputType
    folder: Path

    @property
    def integers(self) -> Quantised:
        """For the precisions that calibrate."""
        assert self.quantised is not None
        return self.quantised


@dataclass(frozen=True)
class Format:
    """One kind of artifact."""

    kind: Kind
    suffix: str
    builders: dict[str, Callable[[Deployable, Path], Body]]  # by precision; may use the folder
    integers: dict[str, Callable[[IntegerJob], Body]]  # the same, judged by a verdict
    finish: Callable[[Body, Manifest], Body]  # what else travels in the file
    inspect: Callable[[Body], tuple[dict[str, Any], list[str], list[Check]]]  # facts, lines, checks
    judges: tuple[Judge, ...]
    tensors: Callable[[Body, Deployable], Tensors]
    packages: tuple[str, ...]  # whose versions are recorded


def float_tensors(_: Body, deployable: Deployable) -> Tensors:
    """Input and output of a float artifact."""
    size, batch = deployable.spec.size, deployable.batch
    picture = TensorSpec(INPUT, (batch, size, size, 3), "float32", "NHWC")
    return picture, TensorSpec(OUTPUT, (batch, 1), "float32", "N1")


def open_scorer(path: Path) -> Score:
    """The artifact in its runtime, as users of the file will have it."""
    return Scorer(path).score_bytes

"""A checkpoint as a Core ML package, proved against it.

    python -m export.coreml --checkpoint runs/student --out build/student.mlpackage
    python -m export.coreml --checkpoint runs/student --precision fp16 --out build/half.mlpackage
    python -m export.coreml --checkpoint runs/student --precision int8 --out build/int8.mlpackage \\
        --calibration data/faces.csv --data data/faces.csv

The package takes pictures, as Xcode shows them, and carries its contract in the user-defined
metadata. Before it gets its name, at least 64 faces and some extremes must score as they do in
the checkpoint: fp32 to 1e-5, fp16 to 2e-3 on average, in our own executor of the saved program,
and on a Mac in Core ML too. Integers (dynamic: weights alone; int8: activations too) are judged
on --data by what (SRCC + PLCC) / 2 lost. Exit 1: the answer is no, and nothing has the name that
was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.exporter import run_export
from export.format import Body, Format, Judge, Score, open_scorer
from fiqa.manifest import Check, Manifest, TensorSpec
from fiqa.records import to_plain
from quantize.convert_coreml import Precision, set_licence, tensors, to_mlpackage
from quantize.coreml import everything_to_int8, weights_to_int8
from quantize.deployable import Deployable
from quantize.mil_executor import MilProgram
from quantize.mil_program import program_facts


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(COREML, __doc__ or "", argv)


def _build(deployable: Deployable, folder: Path, precision: Precision) -> Path:
    package = folder / "body.mlpackage"
    to_mlpackage(
        deployable.module, deployable.spec.size, package,
        precision=precision, batch=deployable.batch,
    )  # fmt: skip
    return package


def _finish(body: Body, manifest: Manifest) -> Body:
    assert isinstance(body, Path)
    set_licence(body, manifest.licence)
    return body


def _inspect(body: Body) -> tuple[dict[str, Any], list[str], list[Check]]:
    assert isinstance(body, Path)
    facts = program_facts(body)
    kinds = ", ".join(f"{kind} {count}" for kind, count in facts.operations.items())
    weights = ", ".join(
        f"{size / 1e6:.2f} MB {dtype}" for dtype, size in facts.weight_bytes.items()
    )
    lines = [f"{sum(facts.operations.values())} operations: {kinds}", f"weights: {weights}"]
    return to_plain(facts), lines, []


def _tensors(_: Body, deployable: Deployable) -> tuple[TensorSpec, TensorSpec]:
    return tensors(deployable.spec.size)


def _execute(path: Path) -> Score:
    return MilProgram.load(path).run


COREML = Format(
    kind="coreml",
    suffix=".mlpackage",
    builders={
        "fp32": lambda deployable, folder: _build(deployable, folder, "fp32"),
        "fp16": lambda deployable, folder: _build(deployable, folder, "fp16"),
    },
    integers={
        "dynamic": lambda job: weights_to_int8(job.deployable, job.folder),
        "int8": lambda job: everything_to_int8(job.deployable, job.integers, job.folder),
    },
    finish=_finish,
    inspect=_inspect,
    judges=(Judge("the MIL executor", _execute), Judge("Core ML", open_scorer)),
    tensors=_tensors,
    packages=("torch", "timm", "coremltools"),
)

if __name__ == "__main__":
    raise SystemExit(main())

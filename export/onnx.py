"""A checkpoint as an .onnx file, proved against it.

    python -m export.onnx --checkpoint runs/student --out build/student.onnx
    python -m export.onnx --checkpoint runs/student --precision int8 --out build/qdq.onnx \\
        --calibration data/faces.csv --data data/faces.csv

The file takes (1, S, S, 3) pictures as byte - 128 and carries its contract in metadata_props.
Before it gets its name, at least 64 faces and some extremes must score in onnxruntime as they do
in the checkpoint: fp32 to 1e-5, fp16 to 2e-3 on average; integers (QDQ) are judged on --data by
what (SRCC + PLCC) / 2 lost. Exit 1: the answer is no, and nothing has the name that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.exporter import run_export
from export.format import Body, Format, IntegerJob, Judge, float_tensors, open_scorer
from fiqa.manifest import Check
from fiqa.records import to_plain
from quantize.convert_onnx import store_as_fp16, to_onnx
from quantize.graph import describe, onnx_facts
from quantize.onnx import to_qdq_onnx


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(ONNX, __doc__ or "", argv)


def _integer(job: IntegerJob) -> bytes:
    return to_qdq_onnx(job.deployable, job.integers, job.pictures)


def _inspect(body: Body) -> tuple[dict[str, Any], list[str], list[Check]]:
    assert isinstance(body, bytes)
    facts = onnx_facts(body)
    return to_plain(facts), describe(facts), []


ONNX = Format(
    kind="onnx",
    suffix=".onnx",
    builders={
        "fp32": lambda deployable, _: to_onnx(deployable),
        "fp16": lambda deployable, _: store_as_fp16(to_onnx(deployable)),
    },
    integers={"int8": _integer},
    finish=lambda body, _: body,
    inspect=_inspect,
    judges=(Judge("onnxruntime", open_scorer),),
    tensors=float_tensors,
    packages=("torch", "timm", "onnx", "onnxscript", "onnxsim", "onnxruntime"),
)

if __name__ == "__main__":
    raise SystemExit(main())

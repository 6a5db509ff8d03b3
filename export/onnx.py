"""A checkpoint as an .onnx file, proved against it.

    python -m export.onnx --checkpoint runs/student --out build/student.onnx

The file takes (1, S, S, 3) pictures as byte - 128 and carries its contract in metadata_props.
Before it gets its name, at least 64 faces and some extremes must score in onnxruntime as they do
in the checkpoint: fp32 to 1e-5, fp16 to 2e-3 on average. Exit 1: they do not, and nothing is
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.exporter import run_export
from export.format import Body, Format, Judge, float_tensors, open_scorer
from fiqa.manifest import Check
from fiqa.records import to_plain
from quantize.convert_onnx import store_as_fp16, to_onnx
from quantize.graph import describe, onnx_facts


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(ONNX, __doc__ or "", argv)


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
    integers={},
    finish=lambda body, _: body,
    inspect=_inspect,
    judges=(Judge("onnxruntime", open_scorer),),
    tensors=float_tensors,
    packages=("torch", "timm", "onnx", "onnxscript", "onnxsim", "onnxruntime"),
)

if __name__ == "__main__":
    raise SystemExit(main())

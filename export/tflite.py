"""A checkpoint as a .tflite file, proved against it.

    python -m export.tflite --checkpoint runs/student --out build/student.tflite
    python -m export.tflite --checkpoint runs/student --precision fp16 --out build/half.tflite

The file takes (1, S, S, 3) pictures as byte - 128 and carries its contract inside: fiqa.Scorer
and TFLite's own tools need nothing beside it. Before it gets its name, at least 64 faces and some
extremes must score in the runtime as they do in the checkpoint: fp32 to 1e-5, fp16 to 2e-3 on
average. Exit 1: they do not, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.exporter import Body, Format, Judge, float_tensors, open_scorer, run_export
from export.tflite_metadata import with_metadata
from fiqa.manifest import Check, Manifest
from fiqa.records import to_plain
from quantize.ai_edge import cast_to_fp16
from quantize.convert import to_tflite
from quantize.flatbuffer import has_outside_buffers
from quantize.graph import describe, tflite_facts


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(TFLITE, __doc__ or "", argv)


def _finish(body: Body, manifest: Manifest) -> Body:
    assert isinstance(body, bytes)
    return with_metadata(body, manifest)


def _inspect(body: Body) -> tuple[dict[str, Any], list[str], list[Check]]:
    assert isinstance(body, bytes)
    facts = tflite_facts(body)
    is_inline = not has_outside_buffers(body)
    inline = Check(
        "constants inside the flatbuffer",
        "passed" if is_inline else "failed",
        "" if is_inline else "TFLite's C API up to 2.18 would not find them",
    )
    return to_plain(facts), describe(facts), [inline]


TFLITE = Format(
    kind="tflite",
    suffix=".tflite",
    builders={
        "fp32": lambda deployable, _: to_tflite(deployable),
        "fp16": lambda deployable, _: cast_to_fp16(to_tflite(deployable)),
    },
    finish=_finish,
    inspect=_inspect,
    judges=(Judge("the TFLite runtime", open_scorer),),
    tensors=float_tensors,
    packages=("torch", "timm", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
)

if __name__ == "__main__":
    raise SystemExit(main())

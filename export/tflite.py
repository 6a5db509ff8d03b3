"""A checkpoint as a .tflite file, proved against it.

    python -m export.tflite --checkpoint runs/student --out build/student.tflite
    python -m export.tflite --checkpoint runs/student --precision fp16 --out build/half.tflite
    python -m export.tflite --checkpoint runs/student --precision int8 --out build/int8.tflite \\
        --calibration data/faces.csv --data data/faces.csv

A float file takes (1, S, S, 3) pictures as byte - 128, an integer one the bytes themselves; both
carry their contract inside: fiqa.Scorer and TFLite's own tools need nothing beside them. Before
a file gets its name, it runs: at least 64 faces and some extremes must score as they do in the
checkpoint, fp32 to 1e-5, fp16 to 2e-3 on average. Integers are judged on --data by what
(SRCC + PLCC) / 2 lost, with its interval, split by split. Exit 1: the answer is no, and nothing
has the name that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.exporter import run_export
from export.format import Body, Format, IntegerJob, Judge, open_scorer
from export.tflite_metadata import with_metadata
from fiqa.manifest import Check, Manifest
from fiqa.records import to_plain
from quantize.ai_edge import cast_to_fp16, weights_to_int8
from quantize.convert import to_tflite
from quantize.flatbuffer import has_outside_buffers
from quantize.graph import describe, tflite_facts
from quantize.tflite import tensors_of, to_integer_tflite


def main(argv: Sequence[str] | None = None) -> int:
    return run_export(TFLITE, __doc__ or "", argv)


def _integer(job: IntegerJob) -> bytes:
    return to_integer_tflite(job.deployable, job.integers, job.pictures, job.takes)


def _finish(body: Body, manifest: Manifest) -> Body:
    return with_metadata(_bytes(body), manifest)


def _bytes(body: Body) -> bytes:
    assert isinstance(body, bytes)
    return body


def _inspect(body: Body) -> tuple[dict[str, Any], list[str], list[Check]]:
    facts = tflite_facts(_bytes(body))
    is_inline = not has_outside_buffers(_bytes(body))
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
    integers={
        "int8": _integer,
        "dynamic": lambda job: weights_to_int8(to_tflite(job.deployable)),
    },
    finish=_finish,
    inspect=_inspect,
    judges=(Judge("the TFLite runtime", open_scorer),),
    tensors=lambda body, _: tensors_of(_bytes(body)),
    packages=("torch", "timm", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
)

if __name__ == "__main__":
    raise SystemExit(main())

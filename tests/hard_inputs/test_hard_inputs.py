"""A sample of harmed files gives values or typed errors; `make fuzz` harms as many as you like."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

if sys.platform != "linux":
    pytest.skip("needs /proc, to tell how much memory an input takes", allow_module_level=True)
pytest.importorskip("torch", reason="needs the extra `train`")
for module in ("ai_edge_litert", "onnx", "onnxruntime", "pyarrow"):
    pytest.importorskip(module, reason="needs the extra `export`")

from tests.hard_inputs.fuzz import End, Job, fuzz  # noqa: E402
from tests.hard_inputs.reader import NAMES  # noqa: E402

# Inputs of the default run: what starts a process an input, or takes long to begin with, has few.
FEW = {"tflite": 12, "onnx": 12, "checkpoint": 20, "weights": 20, "run_state": 10, "integers": 0}
SAMPLE = 100
FIRST = 5000  # beyond the thousand that were looked at while the readers were mended


def faults(ends: list[End]) -> list[str]:
    return [f"{end.reader} {end.number}: {end.says}" for end in ends if end.kind == "fault"]


def test_a_sample_of_harmed_files_gives_values_or_typed_errors() -> None:
    ends = list(fuzz([Job(name, FIRST, FEW.get(name, SAMPLE)) for name in NAMES]))
    assert faults(ends) == []
    kinds = Counter((end.reader, end.kind) for end in ends)
    for name in NAMES:
        assert kinds[name, "read"] + kinds[name, "refused"] == FEW.get(name, SAMPLE)
        assert kinds[name, "refused"] or name == "integers", f"no harm was done to {name}"

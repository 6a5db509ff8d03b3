"""Harmed files give a value or a typed error: a sample by default, a thousand of each when slow."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
for module in ("ai_edge_litert", "onnx", "onnxruntime", "pyarrow"):
    pytest.importorskip(module, reason="needs the extra `export`")

from tests.hard_inputs.fuzz import End, Job, fuzz  # noqa: E402
from tests.hard_inputs.reader import NAMES  # noqa: E402

EACH = 1000
# Inputs of the default run: what starts a process an input, or takes long to begin with, has few.
FEW = {"tflite": 8, "onnx": 8, "checkpoint": 20, "weights": 20, "run_state": 10, "integers": 0}
SAMPLE = 60
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


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_harmed_files_of_each_reader_give_values_or_typed_errors(name: str) -> None:
    ends = list(fuzz([Job(name, 0, EACH)]))
    assert faults(ends) == []
    assert len(ends) == EACH

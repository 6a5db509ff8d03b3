"""What a benchmark's runner is given and must give back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiqa.contract import Box, PreprocessSpec
from fiqa.frames import Frame
from fiqa.runtime import Scorer, to_tensor


def contract_bytes(frames: Sequence[tuple[Frame, Box]], spec: PreprocessSpec) -> np.ndarray:
    return np.stack([frame.to_bytes(spec, box) for frame, box in frames])


def bench_flags(folder: Path, model: Path, pictures: np.ndarray) -> dict[str, Any]:
    """The table holds what the input tensor takes for each byte of each channel."""
    scorer = Scorer(model)
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None, None], (1, 256, 1, 3))
    table = to_tensor(np.ascontiguousarray(grey), scorer.spec, scorer._engine.input)
    (folder / "table").write_bytes(table[0, :, 0].T.tobytes())
    (folder / "pictures").write_bytes(pictures.tobytes())
    return {
        "--lib": "", "--model": model, "--pictures": folder / "pictures",
        "--table": folder / "table", "--out": folder / "out.json", "--run-id": "r1",
    }  # fmt: skip


def words_of(flags: dict[str, Any]) -> list[str]:
    return [str(word) for pair in flags.items() for word in pair]


def raw_outputs(scorer: Scorer, pictures: np.ndarray) -> list[int]:
    """The integers that the output tensor holds."""
    tensor = scorer._engine.output
    assert tensor.scale is not None
    steps = np.round(scorer.score_bytes(pictures) / tensor.scale).astype(int)
    return [int(step) + (tensor.zero_point or 0) for step in steps]

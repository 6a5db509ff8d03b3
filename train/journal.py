"""What a training run tells: lines on stderr, metrics.jsonl, and TensorBoard."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from fiqa.files import write_bytes
from fiqa.progress import LINE_EVERY_S

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"


class Journal:
    """Appends records to metrics.jsonl and TensorBoard; a resumed run drops the lines that came
    after its state was saved."""

    def __init__(self, folder: Path, lines: int, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        kept = self._path.read_bytes().splitlines(keepends=True)[:lines] if lines else []
        write_bytes(self._path, b"".join(kept))
        self.lines = len(kept)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, step: int, record: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step} | record) + "\n")
        self.lines += 1
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(f"{record['kind']}/{name}", value, step)

    def close(self) -> None:
        self._board.close()


class EpochWatch:
    """Adds up an epoch's losses and times; tells them at intervals, and at the end."""

    def __init__(self, name: str, total_batches: int) -> None:
        self._name, self._total = name, total_batches
        self._parts: dict[str, float] = {}
        self._batches = self._pictures = 0
        self._waited_s = self._worked_s = 0.0
        self._told = time.monotonic()

    def add(self, parts: dict[str, float], pictures: int, waited_s: float, worked_s: float) -> None:
        for name, value in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + value
        self._batches += 1
        self._pictures += pictures
        self._waited_s += waited_s
        self._worked_s += worked_s

    def line_is_due(self) -> bool:
        return time.monotonic() - self._told >= LINE_EVERY_S

    def tell(self, done: int, rate: float) -> None:
        self._told = time.monotonic()
        facts = self.facts()
        left_s = (self._total - done) * (self._waited_s + self._worked_s) / self._batches
        logger.info(
            "%s %d/%d: loss %.4f, rate %.1e, %.0f pictures/s, %.0f s left in the epoch",
            self._name, done, self._total, facts["loss"], rate, facts["pictures_per_s"], left_s,
        )  # fmt: skip

    def facts(self) -> dict[str, float]:
        """Mean losses, pictures per second, and the share of time spent waiting for data."""
        seconds = max(self._waited_s + self._worked_s, 1e-9)
        means = {name: value / max(self._batches, 1) for name, value in self._parts.items()}
        return means | {
            "pictures_per_s": self._pictures / seconds,
            "data_wait_share": self._waited_s / seconds,
        }

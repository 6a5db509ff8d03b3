"""Live progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

LINE_EVERY_S = 5.0
REDRAW_EVERY_S = 0.1
BAR_WIDTH = 24


class Progress:
    """Counts finished items and tells rate and time left. Silent under --quiet."""

    def __init__(self, label: str, total: int, unit: str = "pictures") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._started = time.monotonic()
        self._shown = self._started
        self._wanted = logger.isEnabledFor(logging.INFO)
        self._bar = self._wanted and sys.stderr.isatty()

    def advance(self, count: int = 1) -> None:
        self.done += count
        interval = REDRAW_EVERY_S if self._bar else LINE_EVERY_S
        if self._wanted and time.monotonic() - self._shown >= interval:
            self._show()

    def finish(self) -> None:
        if not self._wanted:
            return
        seconds = time.monotonic() - self._started
        clear = "\r\033[K" if self._bar else ""
        rate = self.done / max(seconds, 1e-9)
        print(
            f"{clear}{self.label}: {self.done} {self.unit} in {seconds:.1f} s ({rate:.0f}/s)",
            file=sys.stderr,
            flush=True,
        )

    def _show(self) -> None:
        self._shown = time.monotonic()
        rate = self.done / max(self._shown - self._started, 1e-9)
        left_s = (self.total - self.done) / max(rate, 1e-9)
        text = f"{self.done}/{self.total} {self.unit}, {rate:.0f}/s, {left_s:.0f} s left"
        if self._bar:
            filled = round(BAR_WIDTH * self.done / max(self.total, 1))
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            print(f"\r\033[K{self.label} [{bar}] {text}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self.label}: {text}", file=sys.stderr, flush=True)


def track(items: Iterable[Item], label: str, total: int, unit: str = "pictures") -> Iterator[Item]:
    """Iterate with progress; the last line stands even when the loop is left early."""
    progress = Progress(label, total, unit)
    try:
        for item in items:
            yield item
            progress.advance()
    finally:
        progress.finish()

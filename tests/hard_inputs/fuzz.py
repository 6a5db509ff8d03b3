"""Harmed inputs through every reader: a value or a typed error, and nothing else.

    python -m tests.hard_inputs.fuzz                     1000 of each reader: an hour
    python -m tests.hard_inputs.fuzz --reader pictures --first 5000 --count 200

Input N of a reader is the same on every run. Even numbers are valid files with one field changed,
odd ones have harmed bytes. What fails is told with its number, and its file is kept in --out. Exit 1
then.
"""

from __future__ import annotations

import argparse
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hard_inputs.readers import READERS

TORCH = ("checkpoint", "weights", "integers", "run_state", "run_folder")
NAMES = (*READERS, *TORCH)
START_S = 240  # to import torch and write valid files on a busy machine
PATIENCE_S = {"tflite": 60.0, "onnx": 60.0}
PATIENCE_ELSE_S = 20.0


@dataclass(frozen=True)
class End:
    """How one input ended: "read", "refused" by the error in `says`, or "fault"."""

    reader: str
    number: int
    kind: str
    says: str = ""


def fuzz(reader: str, first: int, count: int, keep: Path | None = None) -> Iterator[End]:
    """One end an input, in order. A worker that dies or hangs is replaced behind its input."""
    at = first
    while at < first + count:
        with tempfile.TemporaryDirectory(prefix="hard-") as folder:
            for end in _work(reader, at, first + count - at, Path(folder)):
                if end.kind == "fault" and keep:
                    _keep(Path(folder), keep / f"{reader}-{end.number}")
                yield end
                at = end.number + 1


def _work(reader: str, first: int, count: int, folder: Path) -> Iterator[End]:
    command = [sys.executable, "-m", "tests.hard_inputs.worker", reader, str(first), str(count)]
    log = tempfile.TemporaryFile()
    worker = subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, stderr=log)
    try:
        if _line(worker, START_S) != "ready":
            log.seek(0)
            raise RuntimeError(f"{reader}: {log.read().decode(errors='replace')[-3000:]}")
        for number in range(first, first + count):
            found = _line(worker, PATIENCE_S.get(reader, PATIENCE_ELSE_S))
            if not isinstance(found, dict):
                if found is None and worker.wait() > 0:  # not its reader: itself
                    log.seek(0)
                    raise RuntimeError(f"{reader} {number}: {log.read()[-3000:].decode()}")
                yield End(reader, number, "fault", found or f"died: {worker.wait()}")
                return
            yield _end(reader, found)
    finally:
        worker.kill()
        worker.wait()
        log.close()


def _line(worker: subprocess.Popen[bytes], patience_s: float) -> Any:
    """The worker's next word; text where it hangs, None where it died."""
    assert worker.stdout is not None
    if not select.select([worker.stdout], [], [], patience_s)[0]:
        return f"hangs: {patience_s:g} s"
    line = worker.stdout.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def _end(reader: str, found: dict[str, Any]) -> End:
    number = found["number"]
    if "fault" in found:
        return End(reader, number, "fault", "\n".join((found["fault"], found.get("trace", ""))))
    return End(reader, number, "refused" if "refused" in found else "read", found.get("refused", ""))


def _keep(folder: Path, place: Path) -> None:
    """The worker has put the valid files back by now, unless the input killed it."""
    shutil.copytree(folder, place, dirs_exist_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reader", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="folder for what fails")
    args = parser.parse_args()
    faults = 0
    for reader in args.reader:
        started, kinds = time.monotonic(), Counter[str]()
        for end in fuzz(reader, args.first, args.count, args.out):
            kinds[end.kind] += 1
            if end.kind == "fault":
                print(f"{reader} {end.number}: {end.says}", flush=True)
        faults += kinds["fault"]
        seconds = time.monotonic() - started
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("read", "refused", "fault"))
        print(f"{reader}: {counts} in {seconds:.0f} s", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Harmed inputs through every reader: a value or a typed error, and nothing else.

    python -m tests.hard_inputs.fuzz                     1000 of each reader: half an hour
    python -m tests.hard_inputs.fuzz --reader pictures --first 5000 --count 200

Input N of a reader is the same on every run. Even numbers are valid files with one field changed,
odd ones have harmed bytes. What fails is told with its number; --out
keeps its file. Exit 1 then.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.hard_inputs.reader import NAMES
from tests.hard_inputs.worker import make_input

START_S = 240.0  # to import torch and write valid files, on a busy machine
PATIENCE_S = {"tflite": 60.0, "onnx": 60.0}  # for one input; these start a process each
PATIENCE_ELSE_S = 20.0


class Job(NamedTuple):
    """Inputs `first` to `first + count` of one reader."""

    reader: str
    first: int
    count: int

    def after(self, number: int) -> Job:
        return Job(self.reader, number + 1, self.first + self.count - number - 1)


@dataclass(frozen=True)
class End:
    """How one input ended: "read", "refused" by the error in `says`, or "fault"."""

    reader: str
    number: int
    kind: str
    says: str = ""


def fuzz(jobs: Sequence[Job]) -> Iterator[End]:
    """One end an input, in order. A worker that dies or hangs is replaced behind its input."""
    left = [job for job in jobs if job.count > 0]
    while left:
        for end in _work(tuple(left)):
            yield end
            left[0] = left[0].after(end.number)
            if not left[0].count:
                del left[0]


def _work(jobs: Sequence[Job]) -> Iterator[End]:
    """The ends of as many inputs as one worker lives through, and of the one that ends it."""
    with tempfile.TemporaryDirectory(prefix="hard-") as folder, tempfile.TemporaryFile() as log:
        words = [f"{job.reader}:{job.first}:{job.count}" for job in jobs]
        command = [sys.executable, "-m", "tests.hard_inputs.worker", folder, *words]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        try:
            for reader, first, count in jobs:
                if not isinstance(_line(worker, START_S), dict):
                    raise _broken(worker, reader, log)
                for number in range(first, first + count):
                    found = _line(worker, PATIENCE_S.get(reader, PATIENCE_ELSE_S))
                    if found is None and worker.wait() > 0:  # not the reader: the worker itself
                        raise _broken(worker, f"{reader} {number}", log)
                    if not isinstance(found, dict):
                        yield End(reader, number, "fault", found or f"died: {worker.wait()}")
                        return
                    yield _end(reader, found)
        finally:
            worker.kill()
            worker.wait()
            if worker.stdout:
                worker.stdout.close()


def _line(worker: subprocess.Popen[bytes], patience_s: float) -> Any:
    """The worker's next word; text where it hangs, None where it died."""
    assert worker.stdout is not None
    if not select.select([worker.stdout], [], [], patience_s)[0]:
        return f"hangs: more than {patience_s:g} s"
    line = worker.stdout.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def _broken(worker: subprocess.Popen[bytes], where: str, log: Any) -> RuntimeError:
    log.seek(0)
    return RuntimeError(f"{where}: {log.read().decode(errors='replace')[-3000:]}")


def _end(reader: str, found: dict[str, Any]) -> End:
    number = found["number"]
    if "fault" in found:
        says = "\n".join((found["fault"], found.get("trace", "")))
        return End(reader, number, "fault", says)
    return End(
        reader, number, "refused" if "refused" in found else "read", found.get("refused", "")
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reader", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="folder for the inputs that fail")
    args = parser.parse_args()
    faults = 0
    for reader in args.reader:
        started, kinds = time.monotonic(), Counter[str]()
        for end in fuzz([Job(reader, args.first, args.count)]):
            kinds[end.kind] += 1
            if end.kind == "fault":
                print(f"{reader} {end.number}: {end.says}", flush=True)
                if args.out:
                    print(make_input(reader, end.number, args.out / f"{reader}-{end.number}"))
        faults += kinds["fault"]
        seconds = time.monotonic() - started
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in ("read", "refused", "fault"))
        print(f"{reader}: {counts} in {seconds:.0f} s", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())

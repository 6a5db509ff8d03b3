"""In a child process: make inputs, read them, and tell of each how that ended.

    python -m tests.hard_inputs.worker FOLDER READER:FIRST:COUNT ...

One JSON line an input, written before the next begins: whoever reads them knows which input a
process died or hung over. Its file then lies in FOLDER/READER.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from fiqa.errors import ToolkitError
from tests.hard_inputs.damage import damaged
from tests.hard_inputs.reader import Reader, find

MEMORY_BYTES = 2 * 1024**3  # of addresses that one input may take, over what the libraries took
RESIDENT_KB = 768 * 1024  # the same of memory in use; a child process of the reader's too
UNLIMITED = resource.getrlimit(resource.RLIMIT_AS)


def main() -> None:
    logging.disable()
    warnings.simplefilter("ignore")
    folder, *jobs = sys.argv[1:]
    for job in jobs:
        name, first, count = job.split(":")
        read_all(name, range(int(first), int(first) + int(count)), Path(folder) / name)


def read_all(name: str, numbers: range, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, UNLIMITED)
    reader = find(name)
    folder.mkdir(parents=True)
    paths = reader.make(folder)
    for path in paths:  # valid files are read, and libraries loaded, before memory is counted
        reader.read(path)
    _limit_memory()
    valid = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    say({"reader": name})
    for number in numbers:
        harm(reader, name, number, paths)
        before = _resident_kb()
        end = outcome(reader, path_of(name, number, paths))
        if _resident_kb() - before > RESIDENT_KB:
            end = {"fault": f"took {(_resident_kb() - before) >> 10} MB"}
        say({"number": number} | end)
        for path, data in valid.items():
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)


def make_input(name: str, number: int, folder: Path) -> Path:
    """The input of that number as a file, among the valid files it was made from."""
    folder.mkdir(parents=True)
    paths = find(name).make(folder)
    harm(find(name), name, number, paths)
    return path_of(name, number, paths)


def path_of(name: str, number: int, paths: Sequence[Path]) -> Path:
    return paths[Random(f"{name} {number} path").randrange(len(paths))]


def harm(reader: Reader, name: str, number: int, paths: Sequence[Path]) -> None:
    """Even numbers change one field of a valid file, odd ones damage its bytes."""
    path, rng = path_of(name, number, paths), Random(f"{name} {number}")
    if number % 2 == 0:
        reader.change(path, rng)
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))


def outcome(reader: Reader, path: Path) -> dict[str, Any]:
    """read: a valid value came back; refused: by which error; fault: anything else."""
    try:
        reader.read(path)
    except ToolkitError as error:
        missing = [part for part in ("found", "expected", "fix") if not getattr(error, part)]
        json.dumps(error.document()).encode()
        if missing:
            return {"fault": f"no {' and '.join(missing)}: {error}"}
        return {"refused": f"{type(error).__name__}: {error.found[:200]}"}
    except BaseException as error:
        lines = traceback.format_exception(error)
        return {"fault": f"{type(error).__name__}: {error}"[:300], "trace": "".join(lines)[-3000:]}
    return {"read": True}


def _resident_kb() -> int:
    own, children = (resource.getrusage(who).ru_maxrss
                     for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip
    return own + children


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def say(line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

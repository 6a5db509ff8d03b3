"""Foreign models open first in a child process: what kills a native runtime kills the child.

Runtimes are native code that trusts its files: a hostile or damaged one may crash them, hang
them or ask for all the memory there is. Files of ours are checked by their hash instead. The
child opens the model and runs one black picture through it; where it dies, an ArtifactError says
of what. A model that came through is known by its hash for as long as this process lives.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fiqa import errors
from fiqa.engines import Engine, open_engine
from fiqa.errors import ArtifactError, ToolkitError
from fiqa.files import sha256_bytes
from fiqa.manifest import Kind

MEMORY_BYTES = 8 * 1024**3  # of addresses: a runtime takes 1 to 2, a face model much less
TIMEOUT_S = 120
MOST_VALUES = 2**28  # of one input tensor: 1 GB as float32

_known: set[tuple[str, str, int]] = set()  # sha256, runtime, size


def open_foreign(
    data: bytes, kind: Kind, runtime: str, threads: int, name: str, size: int
) -> Engine:
    """`open_engine` for a model that no manifest vouches for; `size` is its contract's."""
    key = (sha256_bytes(data), runtime, size)
    if key not in _known:
        _look_in_child(data, kind, runtime, name, size)
        _known.add(key)
    return open_engine(data, kind, runtime, threads, name)


def _look_in_child(data: bytes, kind: Kind, runtime: str, name: str, size: int) -> None:
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "fiqa.first_look", kind, runtime, name, str(size)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=TIMEOUT_S,
            env=os.environ | {"PYTHONPATH": paths},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _deadly(f"{name} takes the runtime more than {TIMEOUT_S} s") from error
    if done.returncode:
        raise _deadly(f"{name} kills the runtime: {_cause(done)}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told:
        kind_of_error = getattr(errors, told.pop("type"))
        raise kind_of_error(told.pop("found"), **told)


def _cause(done: subprocess.CompletedProcess[bytes]) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-done.returncode).name
    lines = done.stderr.decode(errors="replace").splitlines() or [f"exit {done.returncode}"]
    return lines[-1][:200]


def _deadly(found: str) -> ArtifactError:
    return ArtifactError(
        found,
        expected="a whole model that scores a picture; it was tried in a process of its own",
        fix="fetch or convert it again, or try another --runtime",
    )


def _look(data: bytes, kind: Kind, runtime: str, name: str, size: int) -> dict[str, str]:
    """In the child: nothing, or the error to raise in the parent."""
    try:
        _try(open_engine(data, kind, runtime, 1, name), size)
    except ToolkitError as error:
        return error.document()
    except Exception as error:  # MemoryError among them: runtimes raise what comes to hand
        reason = " ".join(str(error).split())[:200]
        return _deadly(f"{name} fails: {type(error).__name__} {reason}").document()
    return {}


def _try(engine: Engine, size: int) -> None:
    """One inference, where the input may be a picture; what it is not, the parent will say."""
    free = (1, size, size, size)
    if len(engine.input.shape) != len(free):
        return
    pairs = zip(engine.input.shape, free, strict=True)
    shape = [given if given > 0 else own for given, own in pairs]
    with contextlib.suppress(TypeError):  # a type that only this runtime has
        dtype = np.dtype(engine.input.dtype)
        if math.prod(shape) <= MOST_VALUES:
            engine.run(np.zeros(shape, dtype))


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # where there is no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _main(kind: Any, runtime: str, name: str, size: str) -> None:
    _limit_memory()
    print("\n" + json.dumps(_look(sys.stdin.buffer.read(), kind, runtime, name, int(size))))


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""What a reader of users' files is to the tests here, and where each stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random

# Modules are imported for the readers asked for: some need torch.
PLACES = {
    "data_readers": ("pictures", "labels", "parquet"),
    "model_readers": (
        *("manifest", "ours", "tflite", "onnx", "tflite_graph", "onnx_graph", "mlpackage"),
    ),
    "bench_readers": ("bench", "records", "device", "apk"),
    "torch_readers": ("checkpoint", "weights", "integers"),
    "run_readers": ("run_state", "run_folder"),
}
NAMES = tuple(name for names in PLACES.values() for name in names)

Change = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Reader:
    """`make` writes valid files and gives those that may be harmed, `change` changes one field of
    one of them, `read` reads it as the commands do."""

    make: Callable[[Path], Sequence[Path]]
    change: Change
    read: Callable[[Path], object]


def find(name: str) -> Reader:
    module = next(module for module, names in PLACES.items() if name in names)
    reader = import_module(f"tests.hard_inputs.{module}").READERS[name]
    assert isinstance(reader, Reader)
    return reader


def rewrite(change: Callable[[bytes, Random], bytes]) -> Change:
    """The change of a file from that of its bytes."""
    return lambda path, rng: write(path, change(path.read_bytes(), rng))


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)

"""What a runner is asked, and what it answers. Every runner, native or Kotlin, speaks this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from edge_bench.plan import Setup
from edge_bench.result import RunnerRecord
from edge_bench.targets.base import Target


@dataclass(frozen=True)
class Request:
    """One pass of one model. Files are named as they lie in the target's folder.

    score: the outputs of `count` pictures from `start` on. time: also `runs` timed inferences, and
    at least `seconds` of them. `marks` makes each one visible to an emulator. `sha256` is that of
    the model's whole file.
    """

    mode: Literal["score", "time"]
    model: str
    pictures: str
    table: str
    layout: str
    setup: Setup
    start: int = 0
    count: int = 10**9
    warm_up: int = 0
    runs: int = 0
    seconds: float = 0.0
    limit_s: float = 600.0
    marks: bool = False
    sha256: str = ""


@dataclass(frozen=True)
class RawTensor:
    dtype: str
    elements: int
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Answer:
    """Times in microseconds, memory in kB. Outputs are the raw values of the output tensor."""

    schema: int
    run_id: str
    mode: str
    engine: str
    architecture: str
    emulator: str  # "QEMU" where the processor itself is not real
    boot_id: str
    delegate: str
    fully_delegated: bool | None
    threads: int
    input: RawTensor
    output: RawTensor
    library_us: float
    init_us: float
    first_us: float
    outputs: tuple[float, ...]
    samples_us: tuple[float, ...]
    elapsed_us: float
    cpu_us: float
    involuntary_switches: int
    peak_kb: int
    pss_kb: int
    khz_before: tuple[int, ...] = ()
    khz_after: tuple[int, ...] = ()
    total_us: float = 0.0
    mean_us: float | None = None  # of a runner that keeps no samples
    runs: int | None = None
    notes: tuple[str, ...] = field(default=())


class Runner(Protocol):
    """`install` once a target, then `perform` for each pass."""

    record: RunnerRecord

    def install(self, target: Target) -> None: ...

    def perform(self, target: Target, request: Request) -> Answer: ...

"""The benchmark as it is stored: every raw sample and score, and where each of them comes from.

Written after each step, so that what was measured survives a cable that is pulled. Summaries and
verdicts are not stored: they are computed from this (`edge_bench.summary`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_bench.plan import Plan
from edge_bench.targets.facts import DeviceFacts
from fiqa.contract import PreprocessSpec
from fiqa.errors import ManifestError
from fiqa.files import write_json
from fiqa.manifest import DataRecord, TensorSpec
from fiqa.records import check_schema, from_plain, read_json, to_plain
from fiqa.vectors import LARGEST_VALUE

SCHEMA = 1
LONGEST_US = 1e13  # three months
MOST_INSTRUCTIONS = 2**62  # of one inference

# Where a number was made. A time that was emulated is never called a latency.
Source = Literal["hardware", "host", "emulated"]
Arithmetic = Literal["integer", "float", "mixed"]


@dataclass(frozen=True)
class ModelRecord:
    """One artifact. `sha256` is the file's, `body_sha256` that of the model without manifest."""

    name: str  # how it is called here; unique
    file: str
    sha256: str
    size_bytes: int
    body_sha256: str
    parent_sha256: str | None
    model: str
    recipe: dict[str, Any]
    trained_on: tuple[DataRecord, ...]
    preprocess: PreprocessSpec
    input: TensorSpec
    output: TensorSpec
    arithmetic: Arithmetic
    float_ops: int
    integer_ops: int
    conversion_ops: int
    partitions: int | None  # in XNNPACK of the host's library; None: see `unchecked`
    outside: tuple[str, ...] = ()  # "3 HARD_SWISH: why", what XNNPACK leaves to slow kernels
    unchecked: str = ""


@dataclass(frozen=True)
class Pictures:
    """What was scored. People are numbers: names stay at home."""

    record: DataRecord | None  # None: drawn noise, without labels
    splits: tuple[str, ...]  # of each picture; empty text where the set has none
    labels: tuple[float, ...] | None = None
    people: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        return len(self.splits)


@dataclass(frozen=True)
class RunnerRecord:
    kind: Literal["native", "benchmark_model", "app_process", "app"]
    sha256: str
    library: str = ""  # file name and version; empty: built into the runner
    library_sha256: str = ""
    latency_only: bool = False


@dataclass(frozen=True)
class HostScores:
    """What this machine's runtime gives for the canary: the device must give the same."""

    model: int
    runtime: str
    kernels: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class ScorePass:
    """The scores of all pictures by one model in one setup."""

    setup: int
    model: int
    scores: tuple[float, ...]
    fully_delegated: bool | None
    seconds: float
    engine: str


@dataclass(frozen=True)
class Moment:
    """The device beside a block."""

    temperatures: dict[str, float] = field(default_factory=dict)  # zone: degrees Celsius
    thermal_status: int | None = None  # Android's: 0 none ... 6 shutdown
    battery_percent: float | None = None
    khz: tuple[int, ...] = ()  # of the cores in use


@dataclass(frozen=True)
class Block:
    """Timed inferences of one model without a pause. Raw samples, in microseconds."""

    setup: int
    round: int
    model: int
    started: str
    library_us: float
    init_us: float
    first_us: float
    warm_up: int
    samples_us: tuple[float, ...]  # empty where the runner tells a mean only
    runs: int
    mean_us: float
    elapsed_us: float
    cpu_us: float | None
    involuntary_switches: int | None
    peak_kb: int | None
    pss_kb: int | None
    before: Moment
    after: Moment
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Count:
    """Guest instructions of each inference under emulation, and how many of them of a class."""

    setup: int
    model: int
    instructions: tuple[int, ...]
    classes: dict[str, int]  # mean per inference


@dataclass(frozen=True)
class BenchResult:
    schema: int
    id: str
    created: str
    source: Source
    target: str
    complete: bool
    tools: dict[str, str]
    plan: Plan
    device: DeviceFacts
    runner: RunnerRecord
    models: tuple[ModelRecord, ...]
    pictures: Pictures
    max_drop: float
    canary: tuple[int, ...]  # pictures that this machine scores too
    device_after: DeviceFacts | None = None
    host_scores: tuple[HostScores, ...] = ()
    passes: tuple[ScorePass, ...] = ()
    blocks: tuple[Block, ...] = ()
    counts: tuple[Count, ...] = ()
    warnings: tuple[str, ...] = ()


def read_result(path: Path) -> BenchResult:
    document = read_json(path)
    check_schema(document, SCHEMA, str(path))
    result = from_plain(BenchResult, document, str(path))
    if strange := next(_misfits(result), ""):
        raise ManifestError(
            f"{path}: {strange}",
            expected="a benchmark whose parts belong together",
            fix="the file was damaged or changed: run the benchmark again",
        )
    return result


def _misfits(result: BenchResult) -> Iterator[str]:
    """What contradicts itself, so that whoever reads a result may count on its numbers."""
    setups, models, count = len(result.plan.setups), len(result.models), result.pictures.count
    if not models:
        yield "it has no models"
    parts: tuple[ScorePass | Block | Count, ...] = (*result.passes, *result.blocks, *result.counts)
    for one in parts:
        if not (0 <= one.setup < setups and 0 <= one.model < models):
            yield f"setup {one.setup} or model {one.model} does not exist"
    for scored in result.passes:
        if len(scored.scores) != count:
            yield f"{len(scored.scores)} scores of {count} pictures"
    scores = [one.scores for one in result.passes] + [one.scores for one in result.host_scores]
    if any(abs(score) > LARGEST_VALUE for each in scores for score in each):
        yield "a score that cannot be"
    for known in (result.pictures.labels, result.pictures.people):
        if known is not None and len(known) != count:
            yield f"{len(known)} labels or people of {count} pictures"
    if not all(0 <= place < count for place in result.canary):
        yield f"a canary outside its {count} pictures"
    for host in result.host_scores:
        if not 0 <= host.model < models or len(host.scores) != len(result.canary):
            yield "this machine's scores are not those of the canary"
    for block in result.blocks:
        times = (block.mean_us, *block.samples_us)
        whole = (block.init_us, block.first_us, block.library_us, block.elapsed_us)
        if block.runs < 1 or min(times) <= 0 or max(*times, *whole) > LONGEST_US:
            yield "a timed block without runs, or with a time that cannot be"
    for each in result.counts:
        if not each.instructions or not all(0 < n < MOST_INSTRUCTIONS for n in each.instructions):
            yield "counts of instructions that cannot be"


def write_result(path: Path, result: BenchResult) -> None:
    write_json(path, to_plain(result))

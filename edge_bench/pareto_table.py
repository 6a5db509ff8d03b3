"""The rows of the comparison of students and sizes, what decides between them, and the table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_bench.result import BenchResult, read_result
from edge_bench.summary import Counted, Timing, summarise_result
from fiqa.manifest import DataRecord, Manifest, read_manifest
from fiqa.records import check_schema, from_plain, read_json
from train.evaluation import read_evaluation
from train.figures import Estimate

SCHEMA = 1
CORES = ("cortex-a53", "cortex-a72", "cortex-a76")
DECIDING, DECIDING_CORE = ("val", "val_ood"), "cortex-a76"
SPLITS = (*DECIDING, "test", "test_ood")
STUDENT = "student"  # the checkpoint's folder, in a row's
SCORE = "score"  # (SRCC + PLCC) / 2, of an evaluation's figures
VERDICT, WORST_FIRST = "verdict on ", ("fail", "unchecked", "inconclusive", "pass")
WITHIN, SHARE = 0.003, 0.1  # of the best reference's score, and of its instructions


@dataclass(frozen=True)
class Pair:
    """A student and the size it ends at. A reference is what was published; it stays float."""

    student: str
    size: int
    is_reference: bool = False

    @property
    def name(self) -> str:
        return f"{self.student}_{self.size}"

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("float",) if self.is_reference else ("float", "int8")


@dataclass(frozen=True)
class Precision:
    """One artifact of a row. Scores are (SRCC + PLCC) / 2; `lost` is the float's minus these."""

    precision: str
    sha256: str
    size_bytes: int
    recipe: str
    verdict: str  # of an INT8: "pass", "fail", "inconclusive"; empty for a float
    scores: dict[str, Estimate]  # by split
    lost: dict[str, Estimate]
    instructions: dict[str, float]  # of one inference, by core
    latency_ms: float  # the median on this host, one thread

    @property
    def deciding(self) -> float:
        """The mean over the splits that decide; the test stands beside it."""
        return sum(self.scores[name].value or math.nan for name in DECIDING) / len(DECIDING)


@dataclass(frozen=True)
class Training:
    """What must be alike for two rows to be compared."""

    epochs: tuple[int, ...]  # of each stage
    pictures: tuple[int, ...]  # an epoch shows; 0: all
    data: tuple[str, ...]  # hashes of the label sets
    teacher: str  # hash
    from_random: bool  # start weights


@dataclass(frozen=True)
class Row:
    """A student at a size, how it came about, and its artifacts."""

    student: str
    size: int
    is_reference: bool
    start: str  # name of the start weights
    training: Training
    artifacts: tuple[Precision, ...]
    not_comparable: str = ""  # why it cannot decide

    @property
    def name(self) -> str:
        return f"{self.student} at {self.size}"


@dataclass(frozen=True)
class Aim:
    """An INT8 model as good as the best reference, at a tenth of its instructions."""

    status: str  # "reached", "missed" or "unchecked"
    reason: str
    model: str = ""
    reference: str = ""
    behind: float | None = None  # score of the reference minus the model's
    share: float | None = None  # instructions, of the reference's


@dataclass(frozen=True)
class Pareto:
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    aim: Aim
    data: DataRecord
    tools: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


# ---------------------------------------------------------------- from the files of a row


def read_row(pair: Pair, folder: Path) -> Row:
    """Of a finished row: its checkpoint, evaluations and benchmarks."""
    manifest = read_manifest(folder / STUDENT)
    cores = read_result(folder / "cores.json")
    counted = summarise_result(cores).counted
    timings = summarise_result(read_result(folder / "host.json")).timings
    found = tuple(
        _precision(kind, number, folder, cores, counted, timings)
        for number, kind in enumerate(pair.precisions)
    )
    start = manifest.recipe["init"]
    return Row(pair.student, pair.size, pair.is_reference, start, training_of(manifest), found)


def training_of(manifest: Manifest) -> Training:
    stages = manifest.recipe["stages"]
    return Training(
        epochs=tuple(one["fitting"]["epochs"] for one in stages),
        pictures=tuple(one["pictures"] for one in stages),
        data=tuple(one.sha256 for one in manifest.datasets),
        teacher=manifest.recipe.get("teacher_sha256") or "",
        from_random=manifest.recipe["init"] == "random",
    )


def _precision(
    kind: str,
    number: int,
    folder: Path,
    cores: BenchResult,
    counted: Sequence[Counted],
    timings: Sequence[Timing],
) -> Precision:
    record = cores.models[number]
    evaluation = read_evaluation(folder / f"{kind}_evaluation" / "evaluation.json")
    (timing,) = (one for one in timings if one.model == number)
    return Precision(
        precision=kind,
        sha256=record.body_sha256,
        size_bytes=record.size_bytes,
        recipe=str(record.recipe.get("quantisation", {}).get("name", "")),
        verdict=verdict_of(read_manifest(artifact(kind, folder))) if kind == "int8" else "",
        scores={one.split: one.figures[SCORE] for one in evaluation.splits},
        lost={
            one.split: _negative(one.advantage[SCORE]) for one in evaluation.splits if one.advantage
        },
        instructions={
            cores.plan.setups[one.setup].cores: one.instructions
            for one in counted
            if one.model == number
        },
        latency_ms=timing.latency.p50_ms if timing.latency else timing.mean_ms,
    )


def artifact(kind: str, folder: Path) -> Path:
    """The newest of these: an INT8 is kept whatever its verdict is, and the table shows it."""
    names = [f"{kind}.tflite", f"{kind}.inconclusive.tflite", f"{kind}.failed.tflite"]
    found = [folder / name for name in names if (folder / name).exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=folder / names[0])


def verdict_of(manifest: Manifest) -> str:
    """The worst of the verdicts that its export reached."""
    words = {one.reason.split(":")[0] for one in manifest.checks if one.name.startswith(VERDICT)}
    return next((word for word in WORST_FIRST if word in words), "unchecked")


def _negative(one: Estimate) -> Estimate:
    """Of an advantage, the loss."""

    def turned(value: float | None) -> float | None:
        return None if value is None else -value

    return Estimate(turned(one.value), turned(one.high), turned(one.low), one.reason)


# ---------------------------------------------------------------- what decides


def comparable(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, with the reason on those that were not trained as the first one was."""
    return tuple(
        dataclasses.replace(row, not_comparable=_otherwise(row.training, rows[0].training))
        for row in rows
    )


def _otherwise(one: Training, first: Training) -> str:
    reasons = {
        "random start weights": one.from_random and not first.from_random,
        "other start weights": first.from_random and not one.from_random,
        "other pictures": one.data != first.data,
        "another teacher": one.teacher != first.teacher,
        "another budget": (one.epochs, one.pictures) != (first.epochs, first.pictures),
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def aim_of(rows: Sequence[Row]) -> Aim:
    """Whether some INT8 model is within reach of the best comparable reference, at a tenth."""
    usable = [row for row in rows if not row.not_comparable]
    references = [row for row in usable if row.is_reference]
    if not references:
        return Aim("unchecked", "no published student was trained as the others were")
    best = max(references, key=lambda row: row.artifacts[0].deciding)
    limit = best.artifacts[0].instructions[DECIDING_CORE]
    quantised = [
        (row, one)
        for row in usable
        for one in row.artifacts
        if one.precision == "int8" and one.instructions[DECIDING_CORE] <= SHARE * limit
    ]
    if not quantised:
        return Aim("missed", "no INT8 model needs so few instructions", reference=best.name)
    row, one = max(quantised, key=lambda found: found[1].deciding)
    behind = best.artifacts[0].deciding - one.deciding
    is_reached = behind <= WITHIN
    return Aim(
        "reached" if is_reached else "missed",
        f"{behind:+.4f} behind the reference, {WITHIN} allowed",
        row.name,
        best.name,
        behind,
        one.instructions[DECIDING_CORE] / limit,
    )


# ---------------------------------------------------------------- the table


def table_of(found: Pareto) -> str:
    """Scores and costs of the rows as Markdown; the training, the aim and what is missing below."""
    each = [(row, one) for row in found.rows for one in row.artifacts]
    scores = [[name_of(row, one), *(_interval(one.scores[name]) for name in SPLITS)]
              for row, one in each]  # fmt: skip
    costs = [
        [
            f"{row.name}: {one.precision}",
            row.start,
            *(f"{one.instructions[core] / 1e6:.1f}" for core in CORES),
            f"{one.latency_ms:.2f}",
            f"{one.size_bytes / 1e6:.2f}",
        ]
        for row, one in each
    ]
    training, aim = found.rows[0].training, found.aim
    epochs = " + ".join(map(str, training.epochs))
    shown = "all" if not any(training.pictures) else f"{max(training.pictures)}"
    names = f" ({aim.model}, against {aim.reference})" if aim.model else ""
    notes = [f"Training: {epochs} epochs, {shown} pictures each."]
    notes += [f"Aim: {aim.status}: {aim.reason}{names}."]
    if found.missing:
        notes.append(f"Not made: {', '.join(found.missing)}.")
    cores = [f"{core}, M" for core in CORES]
    tables = (
        _markdown(["student", *SPLITS], scores),
        _markdown(["student", "start", *cores, "host, ms", "MB"], costs),
    )
    return "\n\n".join([*tables, *notes]) + "\n"


def name_of(row: Row, one: Precision) -> str:
    marks = [one.precision]
    marks += ["published"] if row.is_reference else []
    marks += [f"verdict {one.verdict}"] if one.verdict else []
    marks += [f"not comparable: {row.not_comparable}"] if row.not_comparable else []
    return f"{row.name}: {', '.join(marks)}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _interval(one: Estimate) -> str:
    if one.value is None:
        return one.reason
    ends = "" if one.low is None or one.high is None else f" [{one.low:.4f}, {one.high:.4f}]"
    return f"{one.value:.4f}{ends}"


def read_pareto(path: Path) -> Pareto:
    """A pareto.json, strictly."""
    document = read_json(path)
    check_schema(document, SCHEMA, str(path))
    return from_plain(Pareto, document, str(path))

"""What a stored benchmark says: verdicts, canary, latency with its doubts. Computed, not stored."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_bench.plan import Rigour
from edge_bench.result import BenchResult, Block, ModelRecord, ScorePass
from edge_bench.stats import (
    Latency,
    Ratio,
    doubts,
    paired_ratio,
    percentile,
    ratio_doubts,
    summarise,
)
from edge_bench.targets.facts import THERMAL_NAMES
from fiqa.errors import MetricError
from fiqa.metrics import plcc, srcc
from quantize.guard import GuardPolicy, Verdict, decide

FLOAT_BOUND = 1e-5  # between processors, for the same float kernels
MIXED_BOUND = 0.01  # a float rounding may move an integer by one step
LOW_BATTERY = 20  # per cent: where phones begin to save
DOT_PRODUCT = ("asimddp", "i8mm", "avx512_vnni", "avx_vnni")


@dataclass(frozen=True)
class Timing:
    """One model in one setup. `latency` is None where the runner tells means only."""

    setup: int
    model: int
    latency: Latency | None
    mean_ms: float
    init_ms: float
    first_ms: float
    peak_mb: float | None
    pss_mb: float | None
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """How many times as long a model takes as the first one."""

    setup: int
    model: int
    ratio: Ratio
    doubts: tuple[str, ...]
    slower_because: str = ""


@dataclass(frozen=True)
class Canary:
    """The device's scores against this machine's, for the same bytes."""

    setup: int
    model: int
    status: str  # passed, failed, unchecked
    differing: int
    count: int
    largest: float
    says: str


@dataclass(frozen=True)
class Judged:
    """The verdict on one model against the first, on one split."""

    setup: int
    model: int
    split: str
    verdict: Verdict


@dataclass(frozen=True)
class Agreement:
    """One model's scores, as measured on the target, against the labels of one split."""

    setup: int
    model: int
    split: str
    count: int
    srcc: float
    plcc: float


@dataclass(frozen=True)
class Counted:
    """Instructions of one inference; `spread`: (most - least) / mean."""

    setup: int
    model: int
    instructions: float
    spread: float
    ratio: float | None  # to the first model


@dataclass(frozen=True)
class Summary:
    rigour: Rigour
    timings: tuple[Timing, ...]
    compared: tuple[Compared, ...]
    canaries: tuple[Canary, ...]
    judged: tuple[Judged, ...]
    agreements: tuple[Agreement, ...]
    counted: tuple[Counted, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing says no. Inconclusive is no "no"."""
        failed = any(one.status == "failed" for one in self.canaries)
        return not failed and all(one.verdict.status != "fail" for one in self.judged)


def summarise_result(result: BenchResult) -> Summary:
    return Summary(
        rigour=result.plan.rigour,
        timings=tuple(_timings(result)),
        compared=tuple(_compared(result)),
        canaries=tuple(_canaries(result)),
        judged=tuple(_judged(result)),
        agreements=tuple(_agreements(result)),
        counted=tuple(_counted(result)),
        warnings=(*result.warnings, *_warnings(result)),
    )


def _blocks(result: BenchResult, setup: int, model: int) -> list[Block]:
    chosen = [one for one in result.blocks if (one.setup, one.model) == (setup, model)]
    return sorted(chosen, key=lambda one: one.round)


def centre(block: Block) -> float:
    """The block's median in microseconds, or its mean where the runner keeps no samples."""
    return percentile(block.samples_us, 0.5) if block.samples_us else block.mean_us


def _timings(result: BenchResult) -> list[Timing]:
    found = []
    for setup in range(len(result.plan.setups)):
        for model in range(len(result.models)):
            blocks = _blocks(result, setup, model)
            if blocks:
                found.append(_timing(result, setup, model, blocks))
    return found


def _timing(result: BenchResult, setup: int, model: int, blocks: list[Block]) -> Timing:
    sampled = all(block.samples_us for block in blocks)
    latency = summarise([block.samples_us for block in blocks]) if sampled else None
    said = doubts(latency, [centre(block) for block in blocks]) if latency else []
    hot = max((block.after.thermal_status or 0 for block in blocks), default=0)
    if hot:
        said.append(f"throttled: thermal status {THERMAL_NAMES[min(hot, 6)]}")
    if len(blocks) < result.plan.blocks:
        said.append(f"{len(blocks)} of {result.plan.blocks} blocks")
    runs = sum(block.runs for block in blocks)
    return Timing(
        setup, model, latency,
        sum(block.mean_us * block.runs for block in blocks) / runs / 1e3,
        float(np.median([block.init_us for block in blocks])) / 1e3,
        float(np.median([block.first_us for block in blocks])) / 1e3,
        _megabytes([block.peak_kb for block in blocks]),
        _megabytes([block.pss_kb for block in blocks]),
        tuple(said),
    )  # fmt: skip


def _megabytes(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) / 1024 if known else None


def _compared(result: BenchResult) -> list[Compared]:
    found = []
    for setup in range(len(result.plan.setups)):
        first = {block.round: centre(block) for block in _blocks(result, setup, 0)}
        for model in range(1, len(result.models)):
            other = {block.round: centre(block) for block in _blocks(result, setup, model)}
            rounds = sorted(first.keys() & other.keys())
            if not rounds:
                continue
            ratio = paired_ratio([other[n] for n in rounds], [first[n] for n in rounds])
            why = slower_because(result, setup, model) if ratio.value > 1 else ""
            found.append(Compared(setup, model, ratio, tuple(ratio_doubts(ratio)), why))
    return found


def slower_because(result: BenchResult, setup: int, model: int) -> str:
    """Why a smaller model may take longer here, as far as the facts tell."""
    record, delegate = result.models[model], result.plan.setups[setup].delegate
    name = "INT8" if record.arithmetic == "integer" else record.name
    reasons = []
    if delegate == "none":
        reasons.append("XNNPACK is off, and the built-in integer kernels are slow")
    elif record.outside:
        reasons.append(
            f"XNNPACK leaves operators to slow kernels ({'; '.join(record.outside[:3])}) and the "
            f"graph falls into {record.partitions} partitions"
        )
    if record.arithmetic == "mixed":
        reasons.append(
            f"{record.float_ops} operators still compute in float, between "
            f"{record.conversion_ops} conversions"
        )
    if result.device.features and not set(DOT_PRODUCT) & set(result.device.features):
        reasons.append("this processor has no 8-bit dot product instruction")
    if result.device.abi == "x86_64" and delegate == "xnnpack":
        reasons.append("XNNPACK's 8-bit kernels for x86 lag behind its float ones; ARM differs")
    return f"{name} is slower because " + ("; ".join(reasons) or "of nothing the facts show")


def _canaries(result: BenchResult) -> list[Canary]:
    found = []
    for one in result.passes:
        host = next((host for host in result.host_scores if host.model == one.model), None)
        if host is not None:
            device = [one.scores[place] for place in result.canary]
            found.append(_canary(result, one, device, list(host.scores)))
    return found


def _canary(
    result: BenchResult, one: ScorePass, device: Sequence[float], host: Sequence[float]
) -> Canary:
    apart = np.abs(np.array(device) - np.array(host))
    record = result.models[one.model]
    bound = {"integer": 0.0, "float": FLOAT_BOUND, "mixed": MIXED_BOUND}[record.arithmetic]
    differing, largest = int((apart > 0).sum()), float(apart.max())
    path = _path(result, one, record)
    other_kernels = result.plan.setups[one.setup].delegate == "none"
    if largest <= bound:
        status, says = "passed", "bit for bit" if differing == 0 else f"within {bound:g}"
    else:
        status = "unchecked" if other_kernels else "failed"  # asked for, and no wonder
        says = f"{differing} of {len(apart)} scores differ by up to {largest:.2g}: {path}"
    return Canary(one.setup, one.model, status, differing, len(apart), largest, says)


def _path(result: BenchResult, one: ScorePass, record: ModelRecord) -> str:
    """Which kernels computed there, and which here."""
    setup = result.plan.setups[one.setup]
    host = next(host for host in result.host_scores if host.model == one.model)
    there = "XNNPACK" if setup.delegate == "xnnpack" else "the built-in kernels"
    if one.fully_delegated is False:
        there += " in part"
    return f"{one.engine} computed with {there} on {setup.cores} cores, {host.runtime} with " + (
        f"{host.kernels} here"
    )


def _judged(result: BenchResult) -> list[Judged]:
    found = []
    scores = {(one.setup, one.model): np.array(one.scores) for one in result.passes}
    splits = np.array(result.pictures.splits)
    labels = result.pictures.labels
    for (setup, model), after in scores.items():
        before = scores.get((setup, 0))
        if model == 0 or before is None:
            continue
        for split in dict.fromkeys(result.pictures.splits):
            part = np.flatnonzero(splits == split)
            people = result.pictures.people
            verdict = decide(
                before[part], after[part],
                None if labels is None else np.array(labels)[part],
                None if people is None else [people[index] for index in part],
                GuardPolicy(result.max_drop),
            )  # fmt: skip
            found.append(Judged(setup, model, split, verdict))
    return found


def _agreements(result: BenchResult) -> list[Agreement]:
    """Where the labels and the scores of a split allow a correlation."""
    if result.pictures.labels is None:
        return []
    labels, splits = np.array(result.pictures.labels), np.array(result.pictures.splits)
    found = []
    for one in result.passes:
        for split in dict.fromkeys(result.pictures.splits):
            part = np.flatnonzero(splits == split)
            scores = np.array(one.scores)[part]
            with contextlib.suppress(MetricError):
                rank, linear = srcc(scores, labels[part]), plcc(scores, labels[part])
                found.append(Agreement(one.setup, one.model, split, len(part), rank, linear))
    return found


def _counted(result: BenchResult) -> list[Counted]:
    means = {(one.setup, one.model): float(np.mean(one.instructions)) for one in result.counts}
    return [
        Counted(
            one.setup, one.model, means[one.setup, one.model],
            float(np.ptp(one.instructions)) / means[one.setup, one.model],
            means[one.setup, one.model] / means[one.setup, 0]
            if one.model and (one.setup, 0) in means
            else None,
        )
        for one in result.counts
    ]  # fmt: skip


def _warnings(result: BenchResult) -> list[str]:
    found = []
    device = result.device
    if not result.complete:
        found.append("this benchmark was not finished: run it again with --resume")
    if result.runner.latency_only:
        found.append("latency only: the runner scores no pictures, accuracy is unchecked")
    if device.clock_offset_s is not None and abs(device.clock_offset_s) > 60:
        found.append(f"the device's clock is off by {device.clock_offset_s:.0f} s")
    level = device.battery_percent
    if device.power == "battery":
        told = "" if level is None else f", at {level:.0f} %"
        found.append("the device runs on its battery" + told)
    elif level is not None and level < LOW_BATTERY:
        found.append(f"the battery is low, at {level:.0f} %: the device may slow down to save it")
    if device.battery_saver:
        found.append("battery saver is on")
    if device.airplane_mode is False:
        found.append("airplane mode is off: radios may disturb")
    if result.source == "hardware":
        for core in device.cores:
            if core.limit_khz and core.max_khz and core.limit_khz < core.max_khz:
                found.append(f"core {core.number} is held below its highest frequency")
                break
    for model in result.models:
        if model.unchecked:
            found.append(f"{model.name}: XNNPACK partitions unchecked, {model.unchecked}")
    return found

"""A benchmark as lines for people and as a document for programs."""

from __future__ import annotations

from typing import Any

from edge_bench.result import BenchResult
from edge_bench.summary import (
    Agreement,
    Canary,
    Compared,
    Counted,
    Judged,
    Timing,
    summarise_result,
)
from fiqa.records import to_plain

TIME_NAMES = {"hardware": "latency", "host": "latency on this host, no proxy for a device"}


def document(result: BenchResult) -> dict[str, Any]:
    """For --json: what was measured where, and what follows; raw samples stay in the file."""
    return {
        "id": result.id,
        "source": result.source,
        "target": result.target,
        "complete": result.complete,
        "device": to_plain(result.device),
        "models": [
            {"name": one.name, "sha256": one.sha256, "arithmetic": one.arithmetic}
            for one in result.models
        ],
        "setups": [setup.name for setup in result.plan.setups],
        "summary": to_plain(summarise_result(result)),
    }


def lines(result: BenchResult) -> list[str]:
    summary = summarise_result(result)
    device = result.device
    shown = [
        f"{device.model or result.target} ({result.source}), {device.system or device.soc}",
        *(judged_line(result, one) for one in summary.judged),
        *(agreement_line(result, one) for one in summary.agreements if len(result.models) == 1),
        *(canary_line(result, one) for one in summary.canaries),
    ]
    if result.source in TIME_NAMES and summary.timings:
        shown.append(f"{TIME_NAMES[result.source]} ({summary.rigour})")
        shown += [timing_line(result, one) for one in summary.timings]
        shown += [line for one in summary.compared for line in compared_lines(result, one)]
    shown += [counted_line(result, one) for one in summary.counted]
    return shown + [f"warning: {text}" for text in summary.warnings]


def where(result: BenchResult, setup: int) -> str:
    return result.plan.setups[setup].name


def core(result: BenchResult, setup: int) -> str:
    """Its cores, or its whole name where another setup ran on the same ones."""
    one = result.plan.setups[setup]
    alone = [other.cores for other in result.plan.setups].count(one.cores) == 1
    return one.cores if alone else one.name


def where_if_many(result: BenchResult, setup: int) -> str:
    return f", {where(result, setup)}" if len(result.plan.setups) > 1 else ""


def judged_line(result: BenchResult, one: Judged) -> str:
    verdict = one.verdict
    split = f", {one.split}" if one.split else ""
    split += where_if_many(result, one.setup)
    text = f"{verdict.status:12} {result.models[one.model].name}{split}: "
    if verdict.drop is None:
        return text + verdict.reason
    name = "drop" if verdict.judged == "labels" else "disagreement"
    text += f"{name} {verdict.drop.value:+.4f} [{verdict.drop.low:+.4f}, {verdict.drop.high:+.4f}]"
    if verdict.before and verdict.after:
        text += (
            f", SRCC {verdict.before.srcc:.4f} -> {verdict.after.srcc:.4f}"
            f", PLCC {verdict.before.plcc:.4f} -> {verdict.after.plcc:.4f}"
        )
    return f"{text} ({verdict.count} pictures)"


def agreement_line(result: BenchResult, one: Agreement) -> str:
    split = f", {one.split}" if one.split else ""
    split += where_if_many(result, one.setup)
    name = result.models[one.model].name
    return f"  {name}{split}: SRCC {one.srcc:.4f}, PLCC {one.plcc:.4f} ({one.count} pictures)"


def canary_line(result: BenchResult, one: Canary) -> str:
    name = result.models[one.model].name + where_if_many(result, one.setup)
    return f"{one.status:12} {name}: canary of {one.count} pictures, {one.says}"


def timing_line(result: BenchResult, one: Timing) -> str:
    text = f"  {result.models[one.model].name:20} {where(result, one.setup)}: "
    if one.latency:
        text += (
            f"p50 {one.latency.p50_ms:.2f}  p90 {one.latency.p90_ms:.2f}  "
            f"p99 {one.latency.p99_ms:.2f} ms, {one.latency.runs} runs"
        )
    else:
        text += f"mean {one.mean_ms:.2f} ms"
    text += f", init {one.init_ms:.1f}, first {one.first_ms:.1f} ms"
    return text + "".join(f"\n    {doubt}" for doubt in one.doubts)


def compared_lines(result: BenchResult, one: Compared) -> list[str]:
    names = [result.models[index].name for index in (one.model, 0)]
    interval = ""
    if one.ratio.low is not None and one.ratio.high is not None:
        interval = f" [{one.ratio.low:.3f}, {one.ratio.high:.3f}]"
    text = f"  {names[0]} / {names[1]}: {one.ratio.value:.3f}{interval}, {where(result, one.setup)}"
    said = [f"    {doubt}" for doubt in one.doubts]
    return [text, *said, *([f"    {one.slower_because}"] if one.slower_because else [])]


def counted_line(result: BenchResult, one: Counted) -> str:
    ratio = f", {one.ratio:.3f} of {result.models[0].name}" if one.ratio else ""
    return (
        f"  {result.models[one.model].name:20} {core(result, one.setup):12} "
        f"{one.instructions / 1e6:8.3f} M instructions (spread {100 * one.spread:.4f} %){ratio}"
    )

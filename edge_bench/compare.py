"""Did it get worse? One benchmark against an earlier one; exit 1 when something did.

    python -m edge_bench.compare old.json new.json
    python -m edge_bench.compare old.json new.json --max-slower 0.03 --json

Models go by their names, setups by threads, cores and delegate. Instructions an inference are
exact: +0.5 % fails. Latency is compared on the same device only, and fails when its whole 95 %
interval lies beyond the tolerance. Scores of the same labelled pictures are judged as in
quantize.verify. What cannot be compared is "unchecked", with its reason.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_bench.result import BenchResult, read_result
from edge_bench.stats import t_quantile
from edge_bench.summary import centre, summarise_result
from fiqa import cli
from fiqa.errors import InputError
from fiqa.records import to_plain
from quantize.guard import GuardPolicy, Status, decide

MAX_SLOWER = 0.05
MAX_INSTRUCTIONS = 0.005
SLACK = 1e-9  # +0.5 % exactly is a fail, whatever a float makes of it


@dataclass(frozen=True)
class Finding:
    """One figure of both files. `change`: new over old; for scores, the drop."""

    what: str
    status: Status
    says: str
    change: float | None = None


@dataclass(frozen=True)
class Tolerance:
    drop: float
    slower: float
    instructions: float

    def __post_init__(self) -> None:
        GuardPolicy(self.drop)
        if not (self.slower >= 0 and self.instructions >= 0):
            raise InputError("a negative tolerance", expected="0 or more")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("old", type=Path, help="an earlier benchmark")
    add("new", type=Path, help="the one to judge")
    add("--max-drop", type=float, default=GuardPolicy().max_drop, help="of scores (%(default)s)")
    add("--max-slower", type=float, default=MAX_SLOWER, help="of latency (%(default)s)")
    add("--max-instructions", type=float, default=MAX_INSTRUCTIONS, help="rise (%(default)s)")
    return cli.run(parser, _compare, argv)


def _compare(args: Namespace) -> cli.Outcome:
    old, new = read_result(args.old), read_result(args.new)
    tolerance = Tolerance(args.max_drop, args.max_slower, args.max_instructions)
    findings = compare(old, new, tolerance)
    ok = all(one.status != "fail" for one in findings)
    text = [f"{one.status:12} {one.what}: {one.says}" for one in findings]
    return cli.Outcome("\n".join(text), {"findings": to_plain(findings)}, ok)


def compare(old: BenchResult, new: BenchResult, tolerance: Tolerance) -> list[Finding]:
    pairs = list(_pairs(old, new))
    if not pairs:
        raise InputError(
            "the two files share no model in the same setup",
            expected=f"models {_names(old)} with {_setups(old)}",
            fix="benchmark the same file names with the same --threads, --cores and --delegate",
        )
    findings = []
    for before, after in pairs:
        name = f"{new.models[after[1]].name}, {new.plan.setups[after[0]].name}"
        findings += [
            *_instructions(name, old, before, new, after, tolerance.instructions),
            *_latency(name, old, before, new, after, tolerance.slower),
            *_scores(name, old, before, new, after, tolerance.drop),
        ]
    canaries = [one for one in summarise_result(new).canaries if one.status == "failed"]
    findings += [
        Finding(f"{new.models[one.model].name}, canary", "fail", one.says) for one in canaries
    ]
    return findings


Key = tuple[int, int]  # setup, model


def _pairs(old: BenchResult, new: BenchResult) -> Iterator[tuple[Key, Key]]:
    for setup, one in enumerate(new.plan.setups):
        same = [n for n, other in enumerate(old.plan.setups) if other.name == one.name]
        for model, record in enumerate(new.models):
            named = [n for n, other in enumerate(old.models) if other.name == record.name]
            if same and named:
                yield (same[0], named[0]), (setup, model)


def _instructions(
    name: str, old: BenchResult, before: Key, new: BenchResult, after: Key, most: float
) -> Iterator[Finding]:
    counts = [
        [np.mean(one.instructions) for one in result.counts if (one.setup, one.model) == key]
        for result, key in ((old, before), (new, after))
    ]
    if not counts[0] and not counts[1]:
        return
    what = f"{name}, instructions"
    if not counts[0] or not counts[1]:
        yield Finding(what, "unchecked", "counted in one of the files only")
        return
    if old.runner.library_sha256 != new.runner.library_sha256:
        says_also = "; another library counted"
    else:
        says_also = ""
    change = float(counts[1][0] / counts[0][0])
    status: Status = "fail" if change > 1 and change - 1 >= most - SLACK else "pass"
    says = f"{counts[0][0] / 1e6:.3f} -> {counts[1][0] / 1e6:.3f} M, {100 * (change - 1):+.3f} %"
    yield Finding(what, status, says + says_also, change)


def _latency(
    name: str, old: BenchResult, before: Key, new: BenchResult, after: Key, most: float
) -> Iterator[Finding]:
    logs = [
        np.log([centre(one) for one in result.blocks if (one.setup, one.model) == key])
        for result, key in ((old, before), (new, after))
    ]
    if not len(logs[0]) or not len(logs[1]):
        return
    what = f"{name}, latency"
    if old.source == "emulated" or new.source == "emulated":
        yield Finding(what, "unchecked", "time under emulation is no latency")
        return
    devices = [(one.source, one.device.model, one.device.soc) for one in (old, new)]
    if devices[0] != devices[1]:
        yield Finding(what, "unchecked", f"another device: {devices[0][1]}, {devices[1][1]}")
        return
    change, low, high = _unpaired(logs[0], logs[1])
    says = f"{change:.3f} [{low:.3f}, {high:.3f}] of before"
    if low - 1 > most:
        status: Status = "fail"
    else:
        status = "pass" if high - 1 <= most else "inconclusive"
    yield Finding(what, status, says, change)


def _unpaired(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """exp of the difference of means of logarithms, with Welch's 95 % interval."""
    difference = float(after.mean() - before.mean())
    counts = len(before), len(after)
    if min(counts) < 2:
        return math.exp(difference), 0.0, math.inf
    parts = before.var(ddof=1) / counts[0], after.var(ddof=1) / counts[1]
    error = math.sqrt(sum(parts))
    if error == 0:
        return (math.exp(difference),) * 3
    freedom = sum(parts) ** 2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, counts, strict=True)
    )
    half = t_quantile(max(1, int(freedom))) * error
    return math.exp(difference), math.exp(difference - half), math.exp(difference + half)


def _scores(
    name: str, old: BenchResult, before: Key, new: BenchResult, after: Key, budget: float
) -> Iterator[Finding]:
    passes = [
        [np.array(one.scores) for one in result.passes if (one.setup, one.model) == key]
        for result, key in ((old, before), (new, after))
    ]
    if not passes[0] or not passes[1]:
        return
    what = f"{name}, scores"
    if old.pictures != new.pictures:
        yield Finding(what, "unchecked", "other pictures or labels")
        return
    if np.array_equal(passes[0][0], passes[1][0]):
        yield Finding(what, "pass", "equal bit for bit", 0.0)
        return
    labels, people = new.pictures.labels, new.pictures.people
    verdict = decide(
        passes[0][0], passes[1][0], None if labels is None else np.array(labels), people,
        GuardPolicy(budget),
    )  # fmt: skip
    drop = verdict.drop
    interval = f", {drop.value:+.4f} [{drop.low:+.4f}, {drop.high:+.4f}]" if drop else ""
    yield Finding(what, verdict.status, verdict.reason + interval, drop.value if drop else None)


def _names(result: BenchResult) -> str:
    return ", ".join(model.name for model in result.models)


def _setups(result: BenchResult) -> str:
    return "; ".join(setup.name for setup in result.plan.setups)


if __name__ == "__main__":
    raise SystemExit(main())

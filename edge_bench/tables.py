"""What a report says, as tables of text: the page and the Markdown show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_bench.describe import TIME_NAMES, core, judged_line, where
from edge_bench.devices import clusters
from edge_bench.result import BenchResult, ModelRecord
from edge_bench.summary import Judged, Summary, Timing, summarise_result
from edge_bench.targets.facts import THERMAL_NAMES, DeviceFacts
from quantize.guard import Verdict

Row = tuple[str, ...]
WORST_FIRST = ("fail", "inconclusive", "unchecked", "pass")
SHORT = 16  # digits of a hash that are shown; the file holds all


@dataclass(frozen=True)
class Table:
    title: str
    header: Row
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """One file of a report."""

    result: BenchResult
    summary: Summary
    file: str
    sha256: str

    @property
    def device(self) -> str:
        facts = self.result.device
        return facts.model or facts.soc or self.result.target

    def model(self, number: int) -> str:
        return self.result.models[number].name


def bench_of(result: BenchResult, file: str, sha256: str) -> Bench:
    return Bench(result, summarise_result(result), file, sha256)


def headline(benches: Sequence[Bench]) -> tuple[str, str]:
    """(status, sentence) over all files: the worst verdict leads."""
    judged = [(bench, one) for bench in benches for one in bench.summary.judged]
    canaries = [one for bench in benches for one in bench.summary.canaries]
    if any(one.status == "failed" for one in canaries):
        return "fail", "A device does not give this machine's scores"
    for status, sentence in (
        ("fail", "The quantised model costs more accuracy than it may"),
        ("inconclusive", "Too few pictures to say whether the accuracy holds"),
    ):
        if any(one.verdict.status == status for _, one in judged):
            return status, sentence
    if judged and all(one.verdict.status == "pass" for _, one in judged):
        return "pass", "The quantised model keeps its accuracy"
    if all(len(bench.result.models) == 1 for bench in benches):
        return "unchecked", "One model alone: nothing to hold it against"
    return "unchecked", "No verdict on accuracy"


def verdict_sentence(bench: Bench, one: Judged) -> str:
    return judged_line(bench.result, one).split(" ", 1)[1].strip()


def tables(bench: Bench) -> list[Table]:
    made = [
        accuracy_table(bench),
        agreement_table(bench),
        latency_table(bench),
        instruction_table(bench),
        canary_table(bench),
        device_table(bench),
        model_table(bench),
        provenance_table(bench),
    ]
    return [table for table in made if table.rows]


def accuracy_table(bench: Bench) -> Table:
    rows = []
    for one in bench.summary.judged:
        verdict = one.verdict
        drop = verdict.drop
        rows.append(
            (
                bench.model(one.model),
                one.split or "all",
                where(bench.result, one.setup),
                verdict.status,
                f"{drop.value:+.4f} [{drop.low:+.4f}, {drop.high:+.4f}]" if drop else "none",
                _pair(verdict, "srcc"),
                _pair(verdict, "plcc"),
                str(verdict.count),
                verdict.reason,
            )
        )
    header = (
        "model",
        "split",
        "setup",
        "verdict",
        "drop [95 %]",
        "SRCC",
        "PLCC",
        "pictures",
        "why",
    )
    judged = {one.verdict.judged for one in bench.summary.judged}
    note = f"Drop of (SRCC + PLCC) / 2 against {bench.model(0)}, measured on the target itself."
    if "agreement" in judged:
        note = "Without labels: what is missing from agreement with " + bench.model(0) + "."
    return Table("Accuracy", header, tuple(rows), note)


def agreement_table(bench: Bench) -> Table:
    rows = tuple(
        (
            bench.model(one.model), one.split or "all", where(bench.result, one.setup),
            f"{one.srcc:.4f}", f"{one.plcc:.4f}", str(one.count),
        )
        for one in bench.summary.agreements
    )  # fmt: skip
    header = ("model", "split", "setup", "SRCC", "PLCC", "pictures")
    return Table("Agreement with the labels", header, rows)


def _pair(verdict: Verdict, figure: str) -> str:
    if verdict.before is None or verdict.after is None:
        return ""
    return f"{getattr(verdict.before, figure):.4f} → {getattr(verdict.after, figure):.4f}"


def latency_table(bench: Bench) -> Table:
    """Empty under emulation: such a time says nothing about any device."""
    source = bench.result.source
    if source == "emulated":
        return Table("Latency", (), ())
    ratios = {(one.setup, one.model): one for one in bench.summary.compared}
    rows = []
    for one in bench.summary.timings:
        compared = ratios.get((one.setup, one.model))
        ratio = "1" if one.model == 0 else ""
        if compared and compared.ratio.low is not None:
            ratio = (
                f"{compared.ratio.value:.3f} [{compared.ratio.low:.3f}, {compared.ratio.high:.3f}]"
            )
        said = [*one.doubts, *(compared.doubts if compared else ())]
        if compared and compared.slower_because:
            said.append(compared.slower_because)
        rows.append(
            (
                bench.model(one.model), where(bench.result, one.setup), *_percentiles(one), ratio,
                "; ".join(said) or "stable", f"{one.init_ms:.1f}", f"{one.first_ms:.1f}",
                _whole(one.peak_mb), _whole(one.pss_mb),
            )
        )  # fmt: skip
    header = (
        "model", "setup", "p50 ms", "p90 ms", "p99 ms", "runs", "CV of blocks",
        f"times {bench.model(0)} [95 %]", "stability", "init ms", "first ms", "peak MB", "PSS MB",
    )  # fmt: skip
    note = f"Label: {source}, {bench.summary.rigour}. " + TIME_NAMES[source].capitalize() + "."
    if bench.result.runner.latency_only:
        note += " Means of benchmark_model: no percentiles."
    return Table("Latency", header, tuple(rows), note)


def _percentiles(one: Timing) -> Row:
    if one.latency is None:
        return f"mean {one.mean_ms:.2f}", "", "", "", ""
    latency = one.latency
    variation = "" if latency.cv_blocks is None else f"{100 * latency.cv_blocks:.1f} %"
    return (
        f"{latency.p50_ms:.2f}", f"{latency.p90_ms:.2f}", f"{latency.p99_ms:.2f}",
        str(latency.runs), variation,
    )  # fmt: skip


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def instruction_table(bench: Bench) -> Table:
    rows = tuple(
        (
            bench.model(one.model),
            core(bench.result, one.setup),
            f"{one.instructions / 1e6:.3f}",
            "1" if one.model == 0 else f"{one.ratio:.3f}" if one.ratio else "",
            f"{100 * one.spread:.4f} %",
        )
        for one in bench.summary.counted
    )
    note = "Label: emulated. Instructions are exact and repeatable; they are no time."
    header = ("model", "core", "million an inference", f"times {bench.model(0)}", "spread")
    return Table("Instructions", header, rows, note)


def canary_table(bench: Bench) -> Table:
    rows = tuple(
        (
            bench.model(one.model), where(bench.result, one.setup), one.status, str(one.count),
            str(one.differing), f"{one.largest:.2g}", one.says,
        )
        for one in bench.summary.canaries
    )  # fmt: skip
    header = ("model", "setup", "status", "pictures", "differing", "largest", "says")
    return Table("Canary: the target's scores against this machine's", header, rows)


def device_table(bench: Bench) -> Table:
    before, after = bench.result.device, bench.result.device_after
    rows: list[Row] = [
        ("target", bench.result.target),
        ("system", ", ".join(filter(None, (before.system, f"kernel {before.kernel}")))),
        ("build", before.fingerprint),
        ("chip", before.soc),
        ("processor type", ", ".join(filter(None, (before.abi, before.libc)))),
        *(("processors", text) for text in clusters(before.cores)),
        ("8-bit instructions", _features(before)),
        ("emulated by", before.emulator),
        ("memory", f"{before.memory_kb / 2**20:.1f} GB" if before.memory_kb else ""),
        ("temperatures", _temperatures(before, after)),
        ("thermal status", _thermal(before, after)),
        ("battery", _battery(before, after)),
        ("clock off by", _clock(before)),
    ]
    return Table("Device", ("fact", "value"), tuple(row for row in rows if row[1]))


def _features(facts: DeviceFacts) -> str:
    wanted = ("asimd", "asimddp", "i8mm", "sve", "sme", "avx2", "avx512_vnni", "avx_vnni")
    return ", ".join(name for name in wanted if name in facts.features)


def _temperatures(before: DeviceFacts, after: DeviceFacts | None) -> str:
    later = after.temperatures if after else {}
    return ", ".join(
        f"{name} {value:.0f}" + (f" → {later[name]:.0f} °C" if name in later else " °C")
        for name, value in list(before.temperatures.items())[:8]
    )


def _thermal(before: DeviceFacts, after: DeviceFacts | None) -> str:
    known = [
        one.thermal_status for one in (before, after) if one and one.thermal_status is not None
    ]
    return " → ".join(THERMAL_NAMES[min(status, 6)] for status in known)


def _battery(before: DeviceFacts, after: DeviceFacts | None) -> str:
    known = [
        one.battery_percent for one in (before, after) if one and one.battery_percent is not None
    ]
    level = " → ".join(f"{value:.0f} %" for value in known)
    return f"{level}, {before.power}" if level else ""


def _clock(facts: DeviceFacts) -> str:
    return "" if not facts.clock_offset_s else f"{facts.clock_offset_s:.0f} s"


def model_table(bench: Bench) -> Table:
    rows = tuple(
        (
            one.name, one.model, f"{one.size_bytes / 1e6:.2f}", one.arithmetic, one.input.dtype,
            f"{one.float_ops} / {one.integer_ops} / {one.conversion_ops}",
            "unchecked" if one.partitions is None else str(one.partitions),
            "; ".join(one.outside) or "nothing",
        )
        for one in bench.result.models
    )  # fmt: skip
    header = (
        "model", "network", "MB", "arithmetic", "input", "float / integer / conversion operators",
        "XNNPACK partitions", "outside XNNPACK",
    )  # fmt: skip
    return Table("Models", header, rows)


def provenance_table(bench: Bench) -> Table:
    result = bench.result
    data = result.pictures.record
    rows: list[Row] = []
    if data:
        rows.append(("labels and pictures", data.name, data.sha256[:SHORT]))
    for model in result.models:
        rows += _training_data(model)
        parent = model.parent_sha256 or ""
        rows.append(
            (f"{model.name}: made from", "its parent checkpoint or artifact", parent[:SHORT])
        )
        rows.append((f"{model.name}: model", "without its manifest", model.body_sha256[:SHORT]))
        rows.append((f"{model.name}: file", model.file, model.sha256[:SHORT]))
    runner = result.runner
    rows.append(("runner", runner.kind, runner.sha256[:SHORT]))
    rows.append(("library", runner.library or "built in", runner.library_sha256[:SHORT]))
    rows.append(("result", bench.file, bench.sha256[:SHORT]))
    versions = ", ".join(f"{name} {version}" for name, version in result.tools.items())
    rows.append(("tools", versions, ""))
    note = f"Measured {result.created}, id {result.id}. sha256, first {SHORT} digits."
    return Table("Provenance", ("what", "name", "sha256"), tuple(rows), note)


def _training_data(model: ModelRecord) -> list[Row]:
    """A set that played several roles stands once."""
    roles: dict[tuple[str, str], list[str]] = {}
    for record in model.trained_on:
        roles.setdefault((record.name, record.sha256), []).append(record.role)
    return [
        (f"{model.name}: data", f"{name} ({', '.join(played)})", sha256[:SHORT])
        for (name, sha256), played in roles.items()
    ]


def overview(benches: Sequence[Bench]) -> Table:
    """One row for each device and model: the table to look at first when there are several.

    Without rows where nothing was timed but under emulation.
    """
    rows = []
    for bench in benches:
        for one in bench.summary.timings:
            if one.setup or bench.result.source == "emulated":
                continue
            ratio = next(
                (f"{c.ratio.value:.3f}" for c in bench.summary.compared
                 if (c.setup, c.model) == (one.setup, one.model)), "1" if one.model == 0 else "",
            )  # fmt: skip
            verdict = _worst(bench, one.model)
            drop = f"{verdict.drop.value:+.4f}" if verdict and verdict.drop else ""
            rows.append(
                (
                    bench.device, bench.result.source, bench.model(one.model),
                    where(bench.result, one.setup), _percentiles(one)[0], ratio, drop,
                    verdict.status if verdict else "", "; ".join(one.doubts) or "stable",
                )
            )  # fmt: skip
    header = (
        "device",
        "label",
        "model",
        "setup",
        "p50 ms",
        "ratio",
        "drop",
        "verdict",
        "stability",
    )
    return Table("All devices", header, tuple(rows))


def _worst(bench: Bench, model: int) -> Verdict | None:
    """Of the splits in the first setup, the one whose verdict decides."""
    verdicts = [one.verdict for one in bench.summary.judged if (one.setup, one.model) == (0, model)]
    return min(verdicts, key=lambda one: WORST_FIRST.index(one.status), default=None)

"""The report as one HTML file: no script, no font, no request; light and dark; phones included."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from edge_bench import charts
from edge_bench.describe import core
from edge_bench.summary import centre
from edge_bench.tables import Bench, Table, headline, overview, tables, verdict_sentence
from quantize.guard import FEWEST

MARKS = {"pass": "✓", "passed": "✓", "fail": "✗", "failed": "✗", "inconclusive": "?"}
STYLE = """
:root { color-scheme: light dark; --page: #f9f9f7; --card: #fcfcfb; --ink: #0b0b0b;
  --soft: #52514e; --faint: #e1e0d9; --axis: #a5a39c; --s0: #2a78d6; --s1: #d95926;
  --s2: #1a9a6c; --s3: #b07a08; --s4: #8552c9; --s5: #c4487f; --good: #0b7a0b; --bad: #c22f2f;
  --doubt: #94600a; }
@media (prefers-color-scheme: dark) { :root { --page: #0d0d0d; --card: #1a1a19; --ink: #ffffff;
  --soft: #c3c2b7; --faint: #2c2c2a; --axis: #6d6b66; --s0: #4c97ee; --s1: #ee7c4c;
  --s2: #35bd8a; --s3: #d9a033; --s4: #a884e0; --s5: #e272a4; --good: #43c143; --bad: #f07070;
  --doubt: #e0a64a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.35rem; margin: 0 0 4px; } h2 { font-size: 1.15rem; margin: 36px 0 8px; }
h3 { font-size: 1rem; margin: 0 0 6px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--faint); border-radius: 10px;
  padding: 14px 16px; margin: 12px 0; }
.verdict { border-left: 6px solid var(--axis); }
.verdict.pass, .verdict.passed { border-left-color: var(--good); }
.verdict.fail, .verdict.failed { border-left-color: var(--bad); }
.verdict.inconclusive { border-left-color: var(--doubt); }
.verdict b { font-size: 1.25rem; display: block; }
.chip { display: inline-block; border: 1px solid var(--faint); border-radius: 999px;
  padding: 1px 10px; margin: 2px 6px 2px 0; font-size: .85rem; color: var(--soft); }
.warn { border-left: 6px solid var(--doubt); } .warn ul { margin: 4px 0; padding-left: 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--faint);
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td { min-width: 56px; } td.setup { white-space: nowrap; } td.long { min-width: 220px; }
td.hash { font-family: ui-monospace, monospace; }
.good { color: var(--good); } .bad { color: var(--bad); } .doubt { color: var(--doubt); }
.two { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 13px; }
svg text.strong { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--faint); } .axis { stroke: var(--axis); }
.tick { stroke: var(--ink); stroke-width: 2; }
.limit { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 4 3; }
.budget { fill: var(--good); opacity: .12; } .bar { stroke-width: 5; stroke-linecap: round; }
.point { opacity: .45; } .course { fill: none; stroke-width: 2; } .hist { opacity: .8; }
line.s0, polyline.s0 { stroke: var(--s0); } line.s1, polyline.s1 { stroke: var(--s1); }
line.s2, polyline.s2 { stroke: var(--s2); } line.s3, polyline.s3 { stroke: var(--s3); }
line.s4, polyline.s4 { stroke: var(--s4); } line.s5, polyline.s5 { stroke: var(--s5); }
circle.s0, rect.s0, i.s0 { fill: var(--s0); background: var(--s0); }
circle.s1, rect.s1, i.s1 { fill: var(--s1); background: var(--s1); }
circle.s2, rect.s2, i.s2 { fill: var(--s2); background: var(--s2); }
circle.s3, rect.s3, i.s3 { fill: var(--s3); background: var(--s3); }
circle.s4, rect.s4, i.s4 { fill: var(--s4); background: var(--s4); }
circle.s5, rect.s5, i.s5 { fill: var(--s5); background: var(--s5); }
.legend span { margin-right: 16px; white-space: nowrap; font-size: .875rem; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
"""
COLUMNS = dict.fromkeys(("why", "stability", "says", "outside XNNPACK", "value", "name"), "long")
COLUMNS |= {"sha256": "hash", "setup": "setup"}
CLASSES = {"pass": "good", "passed": "good", "fail": "bad", "failed": "bad",
           "inconclusive": "doubt", "unchecked": "doubt"}  # fmt: skip


def page(benches: Sequence[Bench]) -> str:
    status, sentence = headline(benches)
    body = [
        "<h1>Benchmark of face image quality models</h1>",
        _verdict_card(status, sentence, benches),
        _warnings(benches),
    ]
    shared = overview(benches)
    if len(benches) > 1 and shared.rows:
        body.append(_table(shared))
    for bench in benches:
        body += _bench(bench)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(sentence)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _verdict_card(status: str, sentence: str, benches: Sequence[Bench]) -> str:
    lines = [
        f"<p>{escape(bench.device)}: {escape(verdict_sentence(bench, one))}</p>"
        for bench in benches
        for one in bench.summary.judged
    ]
    return (
        f'<div class="card verdict {status}"><b>{_marked(status)}: {escape(sentence)}</b>'
        f"{''.join(lines)}{''.join(_drops(benches))}</div>"
    )


def _drops(benches: Sequence[Bench]) -> list[str]:
    found = []
    for bench in benches:
        for one in bench.summary.judged:
            drop = one.verdict.drop
            if drop:
                name = f"{bench.device}, {bench.model(one.model)} {one.split}"
                chart = charts.interval(
                    drop.value, drop.low, drop.high, one.verdict.policy.max_drop, name
                )
                found.append(f'<p class="soft">{escape(name)}</p>{chart}')
    return found


def _warnings(benches: Sequence[Bench]) -> str:
    said = [
        f"<li>{escape(bench.device)}: {escape(text)}</li>"
        for bench in benches
        for text in bench.summary.warnings
    ]
    if not said:
        return ""
    return f'<div class="card warn"><strong>Warnings</strong><ul>{"".join(said)}</ul></div>'


def _bench(bench: Bench) -> list[str]:
    result = bench.result
    rigour = [] if result.source == "emulated" else [bench.summary.rigour]
    chips = dict.fromkeys((result.source, *rigour, result.target, result.created))
    parts = [
        f"<h2>{escape(bench.device)}</h2>",
        "<p>" + "".join(f'<span class="chip">{escape(chip)}</span>' for chip in chips) + "</p>",
    ]
    drawings = {"Accuracy": _scatters, "Latency": _latencies, "Instructions": _instructions}
    for table in tables(bench):
        drawing = drawings.get(table.title)
        parts.append(_table(table, drawing(bench) if drawing else ""))
    if result.source == "emulated" and result.blocks:
        parts.append(
            '<p class="soft">Times under emulation are not shown: they are no latencies.</p>'
        )
    return parts


def _scatters(bench: Bench) -> str:
    """Not of so few pictures that there is no verdict either."""
    if bench.result.pictures.count < FEWEST:
        return ""
    scores = {(one.setup, one.model): one.scores for one in bench.result.passes}
    drawn = [
        charts.scatter(scores[setup, 0], after, (bench.model(0), bench.model(model)))
        for (setup, model), after in scores.items()
        if model and (setup, 0) in scores
    ]
    return f'<div class="two">{"".join(drawn[:4])}</div>'


def _latencies(bench: Bench) -> str:
    drawn = []
    for setup, one in enumerate(bench.result.plan.setups):
        samples, medians = [], []
        for model in range(len(bench.result.models)):
            blocks = [b for b in bench.result.blocks if (b.setup, b.model) == (setup, model)]
            blocks.sort(key=lambda block: block.round)
            times = [sample / 1e3 for block in blocks for sample in block.samples_us]
            if times:
                samples.append((bench.model(model), times))
                medians.append((bench.model(model), [centre(block) / 1e3 for block in blocks]))
        if samples:
            drawn.append(
                f'<p class="soft">{escape(one.name)}</p>'
                f"{charts.legend([name for name, _ in samples])}"
                f'<div class="two">{charts.distributions(samples, "ms")}'
                f"{charts.course(medians, 'ms')}</div>"
            )
    return "".join(drawn)


def _instructions(bench: Bench) -> str:
    groups: dict[str, list[float]] = {}
    for one in bench.result.counts:
        groups.setdefault(core(bench.result, one.setup), []).append(
            float(np.mean(one.instructions)) / 1e6
        )
    names = [model.name for model in bench.result.models]
    chart = charts.bars(list(groups.items()), names, "million instructions an inference")
    return charts.legend(names) + chart


def _table(table: Table, drawing: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>"
        + "".join(_cell(name, text) for name, text in zip(table.header, row, strict=True))
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="soft">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<section class="card"><h3>{escape(table.title)}</h3>{note}{drawing}'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></section>"
    )


def _cell(column: str, text: str) -> str:
    if column in ("verdict", "status"):
        return f'<td class="{CLASSES.get(text, "")}">{_marked(text)}</td>'
    kind = COLUMNS.get(column)
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _marked(status: str) -> str:
    mark = MARKS.get(status, "")
    return escape(f"{mark} {status}".strip())

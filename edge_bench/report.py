"""One page about benchmarks: the verdict first, then accuracy, latency, devices, provenance.

    python -m edge_bench.report bench.json --out report.html
    python -m edge_bench.report phone.json board.json --out report.md

The ending of --out decides: .html is one self-contained file that a phone shows as well, .md is
Markdown, .json a document for programs. Times that were emulated are never shown as latency.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_bench import describe
from edge_bench.page import page
from edge_bench.result import read_result
from edge_bench.tables import Bench, Table, bench_of, headline, overview, tables, verdict_sentence
from fiqa import cli
from fiqa.errors import InputError
from fiqa.files import refuse_existing, require_file, sha256_file, write_bytes


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("benchmarks", type=Path, nargs="+", help="files of edge_bench.run")
    parser.add_argument("--out", type=Path, required=True, help=".html, .md or .json")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, _report, argv)


def _report(args: Namespace) -> cli.Outcome:
    if args.out.suffix not in WRITERS:
        raise InputError(f"--out {args.out}", expected="a name that ends in " + ", ".join(WRITERS))
    refuse_existing(args.out, args.overwrite)
    benches = [_read(path) for path in args.benchmarks]
    write_bytes(args.out, WRITERS[args.out.suffix](benches).encode())
    status, sentence = headline(benches)
    document = {"out": str(args.out), "verdict": status, "says": sentence}
    return cli.Outcome(f"{status}: {sentence}\nwrote {args.out}", document)


def _read(path: Path) -> Bench:
    require_file(path, "a file of python -m edge_bench.run")
    return bench_of(read_result(path), path.name, sha256_file(path))


def markdown(benches: Sequence[Bench]) -> str:
    status, sentence = headline(benches)
    lines = [f"# {status}: {sentence}", ""]
    for bench in benches:
        lines += [
            f"- {bench.device} ({bench.result.source}): {verdict_sentence(bench, one)}"
            for one in bench.summary.judged
        ]
        lines += [f"- {bench.device}, warning: {text}" for text in bench.summary.warnings]
    shared = overview(benches)
    if len(benches) > 1 and shared.rows:
        lines += _markdown_table(shared, "##")
    for bench in benches:
        lines += ["", f"## {bench.device} ({bench.result.source}, {bench.summary.rigour})"]
        for table in tables(bench):
            lines += _markdown_table(table, "###")
    return "\n".join(lines) + "\n"


def _markdown_table(table: Table, level: str) -> list[str]:
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["", f"{level} {table.title}", "", *([table.note, ""] if table.note else []), *text]


def as_json(benches: Sequence[Bench]) -> str:
    status, sentence = headline(benches)
    document = {
        "verdict": status,
        "says": sentence,
        "benchmarks": [
            {"file": one.file, "sha256": one.sha256} | describe.document(one.result)
            for one in benches
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Sequence[Bench]], str]] = {
    ".html": page,
    ".md": markdown,
    ".json": as_json,
}

if __name__ == "__main__":
    raise SystemExit(main())

"""The whole job in minutes, on a CPU, on faces the code draws itself.

    python -m train.demo --out build/demo

Draws a labelled set and two unlabelled ones, scores it with trivial baselines, trains a teacher
and a student by self-training and distillation, and evaluates the student on people, and on
kinds of degradation, that nothing was trained on. Finished steps are not repeated.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.contract import PreprocessSpec
from fiqa.files import write_json
from fiqa.label_files import DATASET
from fiqa.labels import LabelSet, read_labels
from fiqa.records import to_plain
from train import evaluate, synth
from train.baselines import baseline_scores
from train.figures import agreement
from train.self_train import Step, chain, run_step

logger = logging.getLogger(__name__)

FINAL = ("test", "test_ood")
# 150 people of whom a third are for val and a third for the test: 1000 pictures in each.
LABELLED = ("--identities", "150", "--per-identity", "30", "--eval-share", "0.34")
UNLABELLED = {"u1": 1, "u2": 2}  # name: seed, so that each shows other people
Table = dict[str, dict[str, Any]]  # split: figure: estimate
UNLABELLED_PEOPLE, UNLABELLED_EACH = 20, 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    return cli.run(parser, _demo, argv)


def _demo(args: Namespace) -> cli.Outcome:
    started = time.monotonic()
    out: Path = args.out
    labelled = out / "data"
    draw(labelled, args.quiet, *LABELLED)
    for name, seed in UNLABELLED.items():
        draw(
            out / name, args.quiet, "--identities", str(UNLABELLED_PEOPLE), "--per-identity",
            str(UNLABELLED_EACH), "--eval-share", "0", "--seed", str(seed),
        )  # fmt: skip
    tables = baseline_table(read_labels(labelled))
    write_json(out / "baselines.json", tables)
    for step in chain(chain_arguments(out)):
        run_step(step, args.quiet)
    tables["student"] = evaluate_student(out, args.quiet)
    files = [
        out / "data" / "contact_sheet.png",
        out / "baselines.json",
        out / "chain" / "student",
        out / "evaluation",
    ]
    seconds = time.monotonic() - started
    text = [*describe(tables), "", f"made in {seconds:.0f} s:", *map(str, files)]
    document = {"figures": tables, "files": [str(path) for path in files]}
    return cli.Outcome("\n".join(text), document)


def draw(folder: Path, quiet: bool, *options: str) -> None:
    """Draw a set, unless it is there already."""
    if not (folder / DATASET).exists():
        run_step(
            Step(f"draw {folder.name}", synth.main, ("--out", str(folder), *options), folder), quiet
        )


def chain_arguments(out: Path) -> Namespace:
    """Everything small, in minutes. Only the teacher starts from ImageNet."""
    return Namespace(
        data=out / "data", root=None, scale=None, skip_bad=False,
        unlabelled=[out / "u1", out / "u2"], out=out / "chain",
        teacher_recipe="demo", teacher_init="pypi", student="mobilenetv3_small_100",
        student_init="random", recipe="demo", size=None, seed=0, device="cpu",
    )  # fmt: skip


def baseline_table(labels: LabelSet) -> dict[str, Table]:
    """Figures of each trivial baseline on the final splits, by name and split."""
    tables: dict[str, Table] = {}
    for split in FINAL:
        part = labels.select(split)
        for name, scores in baseline_scores(part, PreprocessSpec(size=160)).items():
            found = agreement(scores, part.scores, part.identities)
            tables.setdefault(name, {})[split] = to_plain(found)
    return tables


def evaluate_student(out: Path, quiet: bool) -> Table:
    """The student's figures by split; the plots and the whole report stay in `evaluation`."""
    arguments = (
        str(out / "chain" / "student"), "--data", str(out / "data"), "--split", *FINAL,
        "--out", str(out / "evaluation"), "--overwrite",
    )  # fmt: skip
    document = run_step(Step("evaluate", evaluate.main, arguments, out / "evaluation"), quiet)
    return {part["split"]: part["figures"] for part in document["evaluation"]["splits"]}


def describe(tables: dict[str, Table]) -> list[str]:
    """SRCC and PLCC on unseen people, with the kinds trained on and with others."""
    lines = [f"{'':10}" + "".join(f"{split + ' SRCC':>26}{'PLCC':>9}" for split in FINAL)]
    for name, table in tables.items():
        cells = ""
        for split in FINAL:
            srcc, plcc = table[split]["srcc"], table[split]["plcc"]
            cells += f"{srcc['value']:10.3f} [{srcc['low']:.3f}, {srcc['high']:.3f}]"
            cells += f"{plcc['value']:9.3f}"
        lines.append(f"{name:10}{cells}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())

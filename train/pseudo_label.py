"""Score an unlabelled set with a teacher, so that a student can learn from it.

    python -m train.pseudo_label --teacher runs/teacher --data u1 --fit faces.csv --out runs/u1
    python -m train.pseudo_label --teacher runs/teacher --data u1.parquet --root /pictures \\
        --fit faces.csv --out runs/u1 --engine ray

Raw scores are mapped to the labels' scale by a rising logistic, fitted on labelled pictures
that the teacher did not learn from. Writes Parquet shards and, last, dataset.json; fit_student
takes the folder with --pseudo. Start the same command again to go on where a run was stopped.
True scores that the set may carry are not written: dataset.json only tells how far off the
pseudo-labels are. docs/cluster.md tells of many machines.
"""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiqa import cli
from fiqa.decisions import score_shift
from fiqa.errors import InputError, ManifestError, MetricError, ToolkitError
from fiqa.files import write_json
from fiqa.label_files import DATASET, DATASET_SCHEMA
from fiqa.labels import KNOWN_SCALES, LabelSet, read_labels
from fiqa.logistic import LogisticFit, fit_logistic
from fiqa.manifest import Manifest, read_manifest, tool_versions
from fiqa.metrics import Metrics, evaluate_scores
from fiqa.progress import Progress
from fiqa.records import check_schema, from_plain, read_json, to_plain
from train.shard_engines import ScoringJob, TeacherScores, run_local, run_ray
from train.shards import Floats, Shard, ShardScores, cut_shards, read_shards
from train.training_run import DRAWN_SPLITS, claim_folder

logger = logging.getLogger(__name__)

SCHEMA = 1  # of the mapping
MAPPING = "mapping.json"
FEWEST_LABELS = 20  # four parameters are fitted; fewer pictures bend the curve at will
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Mapping:
    """The logistic from raw scores to labels, and how the raw scores agree with the labels."""

    logistic: LogisticFit
    fit: Metrics
    schema: int = SCHEMA


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "", prog="python -m train.pseudo_label")
    add = parser.add_argument
    add("--teacher", type=Path, required=True, help="checkpoint that scores")
    add("--data", type=Path, required=True, help="unlabelled set: folder, CSV or Parquet")
    add("--root", type=Path, help="the folder that picture names of --data refer to")
    add("--fit", type=Path, required=True, help="labelled set, for the scale of the scores")
    add("--fit-root", type=Path, help="the folder that picture names of --fit refer to")
    add("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="limits of --fit's labels")
    add("--fit-split", default="val", help="split the teacher did not learn from (%(default)s)")
    add("--out", type=Path, required=True, help="folder to write, or to go on with")
    add("--engine", choices=ENGINES, default="local", help="this process, or Ray workers")
    add("--address", help="a running Ray cluster (default: RAY_ADDRESS, or a Ray of our own)")
    add("--shard-size", type=int, default=2000, help="pictures a shard (%(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--skip-bad", action="store_true", help="leave out rows whose picture cannot be read")
    add("--overwrite", action="store_true", help="start anew in an existing --out")
    return cli.run(parser, _work, argv)


def _work(args: Namespace) -> cli.Outcome:
    teacher = read_manifest(args.teacher)
    fitting = _fitting_part(args, teacher)
    labels = read_labels(args.data, root=args.root, scored=False, skip_bad=args.skip_bad)
    shards = cut_shards(labels, args.shard_size, args.out)
    facts = {
        "command": "pseudo_label",
        "teacher_sha256": teacher.sha256,
        "data_sha256": labels.sha256,
        "root": _relative(labels.root, args.out),
        "fit": {"sha256": fitting.sha256, "split": args.fit_split},
        "shard_size": args.shard_size,
    }
    mapping = _claim(args, facts, fitting)
    if not (args.out / DATASET).exists():
        job = ScoringJob(args.teacher.absolute(), teacher.sha256, mapping.logistic, args.device)
        _finish_shards(args, job, shards)
        record = _record(labels, shards, mapping, facts, fitting)
        record["teacher"] = {"model": teacher.model, "sha256": teacher.sha256}
        write_json(args.out / DATASET, record)
    else:
        logger.info("%s is finished already", args.out)
    record = read_json(args.out / DATASET)
    try:
        text = _describe(record, args.out)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{args.out / DATASET} lacks {error}",
            expected="the record of a finished set",
            fix="delete it and start the same command again: finished shards are kept",
        ) from error
    return cli.Outcome(text, {"out": str(args.out), "dataset": record})


def _fitting_part(args: Namespace, teacher: Manifest) -> LabelSet:
    """Labelled pictures the teacher did not learn from, split as training splits them."""
    labels = read_labels(args.fit, root=args.fit_root, scale=args.scale, skip_bad=args.skip_bad)
    _check_scale(labels, teacher)
    if not any(labels.split_names):
        labels = labels.with_splits(DRAWN_SPLITS)
    part = labels.select(args.fit_split)
    if len(part) < FEWEST_LABELS:
        raise InputError(
            f"{args.fit} has {len(part)} pictures in split {args.fit_split!r}",
            expected=f"{FEWEST_LABELS} or more, to fit the logistic on",
            fix="label more pictures, or name another split with --fit-split",
        )
    return part


def _check_scale(labels: LabelSet, teacher: Manifest) -> None:
    """A scale that was declared for the teacher's labels is not guessed anew for these."""
    guessed = labels.scale
    if guessed is None or guessed.declared:
        return
    for record in teacher.datasets:
        known = record.scale
        if known and known.declared and (known.low, known.high) != (guessed.low, guessed.high):
            raise InputError(
                f"the scores of {labels.name} look like {guessed.low:g} to {guessed.high:g}; "
                f"the teacher learned {record.name} on {known.low:g} to {known.high:g}",
                expected="the limits of the labels, declared as they were for the teacher",
                fix=f"add --scale {known.low:g} {known.high:g}",
            )


def _claim(args: Namespace, facts: dict[str, Any], fitting: LabelSet) -> Mapping:
    """The mapping this run began with, else a new one. It stays the same for all shards."""
    if (args.out / MAPPING).exists() and not args.overwrite:
        claim_folder(args.out, facts, overwrite=False)
        return _read_mapping(args.out / MAPPING)
    mapping = fit_mapping(TeacherScores(args.teacher, args.device), fitting)
    claim_folder(args.out, facts, args.overwrite, (args.teacher, args.data, args.fit))
    write_json(args.out / MAPPING, to_plain(mapping))
    return mapping


def fit_mapping(teacher: TeacherScores, labels: LabelSet) -> Mapping:
    """Fit the logistic, and refuse one along which a better picture would get a lower score."""
    progress = Progress("fitting the scale", len(labels))
    raw = teacher(labels, progress)
    progress.finish()
    mapping = Mapping(fit_logistic(raw, labels.scores), evaluate_scores(raw, labels.scores))
    if not mapping.logistic.increasing:
        raise MetricError(
            f"the teacher's scores do not rise with the labels of {labels.name}: "
            f"SRCC {mapping.fit.srcc:.3f} on {len(labels)} pictures",
            expected="a logistic that rises from raw scores to labels",
            fix="check that labels mean quality (higher is better), or train the teacher longer",
        )
    return mapping


def _read_mapping(path: Path) -> Mapping:
    document = read_json(path)
    check_schema(document, SCHEMA, str(path))
    return from_plain(Mapping, document, str(path))


def _finish_shards(args: Namespace, job: ScoringJob, shards: Sequence[Shard]) -> None:
    pending = [shard for shard in shards if not shard.is_finished]
    if len(pending) < len(shards):
        logger.info("%d of %d shards are finished", len(shards) - len(pending), len(shards))
    if not pending:
        return
    progress = Progress("pseudo-labels", sum(len(shard.labels) for shard in pending))
    try:
        if args.engine == "ray":
            run_ray(job, pending, progress, args.address)
        else:
            run_local(job, pending, progress)
    finally:
        progress.finish()
    missing = [shard.number for shard in pending if not shard.is_finished]
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise ToolkitError(
            f"{len(missing)} of {len(shards)} shards are not finished: {shown}",
            expected="workers that live, and see --out at the same path",
            fix="start the same command again: it scores only these",
        )


def _record(
    labels: LabelSet,
    shards: Sequence[Shard],
    mapping: Mapping,
    facts: dict[str, Any],
    fitting: LabelSet,
) -> dict[str, Any]:
    """What dataset.json holds. No dates and no machine: the same command gives the same file."""
    scores = read_shards(shards)
    deciles = np.quantile(scores.mapped, np.linspace(0, 1, 11))
    record = {
        "schema": DATASET_SCHEMA,
        "name": labels.name,
        "root": facts["root"],
        "teacher": {},
        "data": to_plain(labels.record("unlabelled")),
        "logistic": to_plain(mapping.logistic),
        "fit": {"data": to_plain(fitting.record(facts["fit"]["split"])), **to_plain(mapping.fit)},
        "count": len(labels),
        "skipped": labels.skipped,
        "shards": len(shards),
        "shard_size": facts["shard_size"],
        "clipped": _clipped(scores, mapping.logistic),
        "score_deciles": [round(float(value), 4) for value in deciles],
        "tools": tool_versions("torch", "timm", "pyarrow"),
    }
    truth = _truth(labels)
    return record if truth is None else record | {"truth": how_far_off(scores.mapped, *truth)}


def _clipped(scores: ShardScores, logistic: LogisticFit) -> dict[str, int]:
    mapped = logistic(scores.raw)
    return {"below": int((mapped < 0).sum()), "above": int((mapped > 1).sum())}


def _truth(labels: LabelSet) -> tuple[Floats, tuple[float, float]] | None:
    """(true scores in 0..1, the scale they had), where every picture carries one."""
    scores = labels.scores
    if not np.isfinite(scores).all():
        return None
    scales = [one for one in KNOWN_SCALES if one[0] <= scores.min() and scores.max() <= one[1]]
    if not scales:
        logger.warning("the true scores of %s are on no known scale: not compared", labels.name)
        return None
    low, high = scales[0]
    return (scores - low) / (high - low), scales[0]


def how_far_off(scores: Floats, truth: Floats, scale: tuple[float, float]) -> dict[str, Any]:
    """Pseudo-labels against true scores, both in 0..1; `scale` is the truth's before that."""
    shift = score_shift(truth, scores)
    try:
        figures = evaluate_scores(scores, truth)
    except MetricError as error:  # too few pictures, or all alike
        return {"scale": list(scale), "mean_absolute": shift.mean_absolute, "reason": error.found}
    return {
        "count": figures.count,
        "scale": list(scale),
        "srcc": figures.srcc,
        "plcc": figures.plcc,
        "rmse": figures.rmse,
        "mean_absolute": shift.mean_absolute,
        "mean_signed": shift.mean_signed,
    }


def _relative(root: Path, folder: Path) -> str:
    """The pictures' folder seen from --out, so that both may move together."""
    return os.path.relpath(root.resolve(), folder.resolve())


def _describe(record: dict[str, Any], out: Path) -> str:
    fit, truth = record["fit"], record.get("truth", {})
    lines = [
        f"{record['count']} pictures in {record['shards']} shards, {record['skipped']} left out",
        f"scale: fitted on {fit['count']} labels, SRCC {fit['srcc']:.4f}, "
        f"RMSE {fit['rmse_fitted']:.4f} after the logistic",
    ]
    if "srcc" in truth:
        lines.append(
            f"against the true scores: SRCC {truth['srcc']:.4f}, PLCC {truth['plcc']:.4f}, "
            f"RMSE {truth['rmse']:.4f}, mean difference {truth['mean_absolute']:.4f}"
        )
    return "\n".join([*lines, f"wrote {out}"])


if __name__ == "__main__":
    raise SystemExit(main())

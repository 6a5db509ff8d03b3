"""Measure a checkpoint or an artifact on a label set: how good, where good, and who is misjudged.

    python -m train.evaluate runs/student --data data/demo/labels.csv --out build/report
    python -m train.evaluate student_int8.tflite --data faces.csv --baseline runs/student
    python -m train.evaluate student_int8.tflite --data faces.csv --split val \\
        --reject-rate 0.1 --save-threshold

Prints, for every split but train, the figures with 95 % intervals and the error per degradation
(a column `steps`, as train.synth writes it) and per range of label. --out adds evaluation.json,
scores.csv and plots. --reject-rate proposes a threshold on val; --save-threshold stores it in
the model's manifest, and python -m fiqa.score then accepts and rejects by it.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.engines import RUNTIMES
from fiqa.errors import InputError, MissingDependencyError
from fiqa.files import refuse_foreign, require_writable, write_json, writing_folder
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import Manifest, Measurement, update_manifest
from fiqa.records import to_plain
from fiqa.score import read_spec
from train.any_model import AnyModel, ModelFacts, open_model
from train.evaluation import (
    FEWEST_FOR_SRCC,
    Evaluation,
    Group,
    Proposal,
    Scored,
    SplitEvaluation,
    choose_splits,
    evaluate_split,
    is_for_testing,
    propose_threshold,
    seen_in_training,
    threshold_split,
)
from train.figures import Estimate
from train.recorded_steps import Kinds, read_kinds

logger = logging.getLogger(__name__)

DOCUMENT, SCORES = "evaluation.json", "scores.csv"
FIGURES = {
    "srcc": "SRCC",
    "krcc": "KRCC",
    "plcc": "PLCC",
    "plcc_fitted": "PLCC fitted",
    "score": "challenge",
    "rmse": "RMSE",
    "rmse_fitted": "RMSE fitted",
}
KINDS_SHOWN = 10  # the text stays on one screen a split
REJECTED_AT_THRESHOLD = "rejected_at_threshold"  # the measurement kept beside a stored threshold


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(_parser(), _evaluate, argv)


def _parser() -> cli.Parser:
    parser = cli.Parser(__doc__ or "", prog="python -m train.evaluate")
    add = parser.add_argument
    add("model", type=Path, help="a checkpoint folder, a .tflite or a .onnx file")
    add("--data", type=Path, required=True, help="label set")
    add("--root", type=Path, help="the folder that picture names refer to")
    add("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="limits of the labels")
    add("--skip-bad", action="store_true", help="go on without bad rows")
    add("--split", nargs="+", help="splits to measure (default: all but train)")
    add("--out", type=Path, help="folder for evaluation.json, scores.csv and plots")
    add("--overwrite", action="store_true", help="replace an evaluation in --out")
    add("--baseline", type=Path, help="another model, compared on the same pictures")
    add("--reject-rate", type=float, help="propose the threshold that rejects this share, on val")
    add("--save-threshold", action="store_true", help="store it in the manifest of the model")
    add("--preprocess", type=Path, help="JSON of a foreign model's contract")
    add("--baseline-preprocess", type=Path, help="the same for a foreign baseline")
    add("--device", default="auto", help="for checkpoints: auto, cpu or cuda")
    add("--runtime", choices=("auto", *RUNTIMES), default="auto", help="for artifacts")
    return parser


def _evaluate(args: Namespace) -> cli.Outcome:
    _check_flags(args)
    model = _open(args, args.model, args.preprocess)
    baseline = _open(args, args.baseline, args.baseline_preprocess) if args.baseline else None
    labels = read_labels(args.data, root=args.root, scale=args.scale, skip_bad=args.skip_bad)
    splits = choose_splits(labels, args.split)
    if args.save_threshold:
        _check_may_save(model, list(splits))
    warnings = [*_warnings(model, labels, splits), *_warnings(baseline, labels, splits)]
    parts = score_splits(splits, read_kinds(args.data), model, baseline)
    proposal = None if args.reject_rate is None else propose_threshold(parts, args.reject_rate)
    evaluation = Evaluation(
        model=model.facts,
        data=labels.record("evaluation"),
        splits=tuple(evaluate_split(scored) for scored in parts.values()),
        baseline=baseline.facts if baseline else None,
        proposal=proposal,
    )
    files = write_evaluation(args.out, evaluation, parts, model) if args.out else {}
    if proposal and args.save_threshold:
        save_threshold(model, proposal, labels.name)
    document = {
        "model": str(args.model),
        "evaluation": to_plain(evaluation),
        "pictures": [row for scored in parts.values() for row in picture_rows(scored)],
        "warnings": warnings,
        "threshold_saved": bool(args.save_threshold),
        "files": files,
    }
    text = [describe(evaluation, saved=args.save_threshold), *warnings, *files.values()]
    return cli.Outcome("\n".join(text), document)


def _warnings(
    model: AnyModel | None, labels: LabelSet, splits: Mapping[str, LabelSet]
) -> list[str]:
    """What makes the figures better than they would be on pictures the model never saw."""
    if model is None or model.manifest is None:
        return []
    seen = seen_in_training(model.manifest.datasets, labels, splits)
    if not seen:
        return []
    warning = (
        f"warning: {model.path} was trained on {seen} pictures of {labels.name} that are judged "
        "here: take pictures of other people, or a split column when training"
    )
    logger.warning(warning)
    return [warning]


def _open(args: Namespace, path: Path, contract: Path | None) -> AnyModel:
    spec = read_spec(contract) if contract else None
    return open_model(path, device=args.device, runtime=args.runtime, preprocess=spec)


def score_splits(
    splits: Mapping[str, LabelSet],
    kinds: Mapping[int, Kinds] | None,
    model: AnyModel,
    baseline: AnyModel | None,
) -> dict[str, Scored]:
    """Score all splits at once, then part them again."""
    together = dataclasses.replace(
        next(iter(splits.values())),
        rows=tuple(row for labels in splits.values() for row in labels.rows),
    )
    scores = model.score(together)
    others = baseline.score(together) if baseline else None
    parts, start = {}, 0
    for name, labels in splits.items():
        own = slice(start, start + len(labels))
        start += len(labels)
        parts[name] = Scored(
            name,
            labels,
            scores[own],
            None if others is None else others[own],
            None if kinds is None else [kinds[row.line] for row in labels.rows],
        )
    return parts


def picture_rows(scored: Scored) -> Iterator[dict[str, Any]]:
    """What scores.csv and --json tell of each picture."""
    for place, row in enumerate(scored.labels.rows):
        told: dict[str, Any] = {
            "image": row.image,
            "split": scored.split,
            "identity": row.identity,
            "label": row.score,
            "score": float(scored.scores[place]),
            "rank_error": float(scored.rank_errors[place]),
        }
        if scored.baseline is not None:
            told["baseline_score"] = float(scored.baseline[place])
        if scored.kinds is not None:
            told["degradations"] = " ".join(scored.kinds[place])
        yield told


def write_evaluation(
    out: Path, evaluation: Evaluation, parts: Mapping[str, Scored], model: AnyModel
) -> dict[str, str]:
    """The whole folder, or nothing; gives the paths of its files."""
    from train import plots

    both = list(zip(parts.values(), evaluation.splits, strict=True))
    with writing_folder(out) as folder:
        write_json(folder / DOCUMENT, to_plain(evaluation))
        _write_scores(folder / SCORES, [row for one in parts.values() for row in picture_rows(one)])
        plots.draw_scatter(folder / "scatter.png", both)
        plots.draw_discard(folder / "discard.png", evaluation.splits)
        plots.draw_breakdown(folder / "breakdown.png", evaluation.splits)
        plots.draw_worst(folder / "worst.png", both, model.spec)
    names = (DOCUMENT, SCORES, "scatter.png", "discard.png", "breakdown.png", "worst.png")
    return {Path(name).stem: str(out / name) for name in names}


def save_threshold(model: AnyModel, proposal: Proposal, data: str) -> Manifest:
    """Into the manifest, beside the share it rejected where it was chosen."""
    assert model.manifest is not None  # foreign artifacts are refused before scoring
    rejection = proposal.rejection
    rate = Measurement(
        REJECTED_AT_THRESHOLD, rejection.achieved_rate, data, proposal.split, rejection.count
    )
    kept = [one for one in model.manifest.metrics if one.name != REJECTED_AT_THRESHOLD]
    score = dataclasses.replace(model.manifest.score, threshold=rejection.threshold)
    changed = dataclasses.replace(model.manifest, score=score, metrics=(*kept, rate))
    return update_manifest(model.path, changed)


# ---------------------------------------------------------------- refusals, before any work


def _check_flags(args: Namespace) -> None:
    if args.save_threshold and args.reject_rate is None:
        raise InputError(
            "--save-threshold without --reject-rate",
            expected="the share of pictures to reject",
            fix="add --reject-rate 0.1",
        )
    if args.reject_rate is not None and not 0 < args.reject_rate < 1:
        raise InputError(f"--reject-rate {args.reject_rate}", expected="a share between 0 and 1")
    if args.baseline_preprocess and not args.baseline:
        raise InputError(
            "--baseline-preprocess without --baseline", expected="the model it belongs to"
        )
    if args.out:
        refuse_foreign(args.out, args.overwrite, DOCUMENT)
        require_writable(args.out)
        _check_plots()


def _check_plots() -> None:
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "the plots in --out need matplotlib",
            expected="matplotlib",
            fix="pip install 'fiqa-edge[train]', or leave --out away",
        )


def _check_may_save(model: AnyModel, splits: Sequence[str]) -> None:
    if model.manifest is None:
        raise InputError(
            f"{model.path} carries no manifest to store a threshold in",
            expected="a checkpoint or artifact made by fiqa-edge",
            fix="leave --save-threshold out, and give fiqa.score the --threshold",
        )
    split = threshold_split(splits)
    if is_for_testing(split):
        raise InputError(
            f"--save-threshold would choose a threshold on {split}",
            expected="a split that is not for testing; a test split is read for figures alone",
            fix="add --split val, or leave --save-threshold out",
        )


# ---------------------------------------------------------------- text


def describe(evaluation: Evaluation, *, saved: bool = False) -> str:
    """A compact table a split."""
    lines = [f"{_name(evaluation.model)} on {evaluation.data.name}"]
    if evaluation.baseline:
        lines.append(f"compared with {_name(evaluation.baseline)}")
    for found in evaluation.splits:
        lines += ["", *_split_lines(found)]
    if evaluation.proposal:
        lines += ["", _proposal_line(evaluation.proposal, saved)]
    return "\n".join(lines)


def _name(facts: ModelFacts) -> str:
    return f"{facts.name} ({facts.kind} {facts.sha256[:12]}, {facts.runtime})"


def _split_lines(found: SplitEvaluation) -> list[str]:
    people = f" of {found.people} people" if found.people else ""
    drawn = "people" if found.units == "identities" else "pictures"
    lines = [f"{found.split}: {found.count} pictures{people}; 95 % intervals over {drawn}"]
    lines += [_figure_line(title, found.figures[name]) for name, title in FIGURES.items()]
    for name, one in (found.advantage or {}).items():
        lines.append(_figure_line(f"{FIGURES[name]} gain", one, "+"))
    lines += _group_lines("by label", found.by_label)
    return lines + _degradation_lines(found.by_degradation)


def _degradation_lines(groups: Sequence[Group]) -> list[str]:
    """The kinds with the largest error; all of them stand in the document."""
    common = [group for group in groups if group.count >= FEWEST_FOR_SRCC]
    shown = sorted(common, key=lambda group: -(group.mae or 0.0))[:KINDS_SHOWN]
    lines = _group_lines("by degradation", shown)
    if len(shown) < len(groups):
        lines.append(f"  and {len(groups) - len(shown)} other kinds, with --json or --out")
    return lines


def _figure_line(title: str, one: Estimate, sign: str = "-") -> str:
    value = "      -" if one.value is None else f"{one.value:{sign}7.4f}"
    interval = "" if one.low is None else f"  [{one.low:{sign}.4f}, {one.high:{sign}.4f}]"
    reason = f"  {one.reason}" if one.reason else ""
    return f"  {title:15}{value}{interval}{reason}"


def _group_lines(title: str, groups: Sequence[Group]) -> list[str]:
    if not groups:
        return []
    head = f"  {title:20}{'n':>6}{'bias':>9}{'MAE':>8}{'SRCC':>8}"
    return [head, *(_group_line(group) for group in groups)]


def _group_line(group: Group) -> str:
    errors = "" if group.bias is None else f"{group.bias:+9.3f}{group.mae:8.3f}"
    srcc = f"  {group.reason}" if group.srcc is None else f"{group.srcc:8.3f}"
    return f"  {group.name:20}{group.count:6}{errors}{srcc}"


def _proposal_line(proposal: Proposal, saved: bool) -> str:
    rejection = proposal.rejection
    line = (
        f"threshold {rejection.threshold:.6g} rejects {rejection.rejected} of {rejection.count} "
        f"pictures of {proposal.split} ({100 * rejection.achieved_rate:.1f} %, "
        f"asked for {100 * rejection.requested_rate:.1f} %)"
    )
    if proposal.bad_share is not None and proposal.bad_share_of_rejected is not None:
        line += (
            f"; {100 * proposal.bad_share_of_rejected:.0f} % of these are bad, against "
            f"{100 * proposal.bad_share:.0f} % of all"
        )
    if proposal.reason:
        line += f"; {proposal.reason}"
    return line + ("; stored in the manifest" if saved else "")


def _write_scores(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())

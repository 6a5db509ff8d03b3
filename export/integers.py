"""Integer artifacts: quantised by a recipe, and judged by what it cost on labelled pictures.

Only a file whose whole interval of lost accuracy lies within the budget gets the name that was
asked for.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from export.assembly import Candidate, assemble, open_judges, outcome, timed
from export.attempts import WEIGHTS_ONLY, Attempt, attempts, stronger
from export.format import Format, IntegerJob, Score
from fiqa import cli
from fiqa.errors import InputError
from fiqa.files import refuse_existing
from fiqa.labels import LabelSet
from fiqa.manifest import Check, Manifest
from fiqa.progress import track
from fiqa.records import to_plain
from fiqa.vectors import Floats
from quantize.calibration import Calibration, read_calibration
from quantize.deployable import Deployable
from quantize.guard import GuardPolicy, Verdict
from quantize.verify import describe, judge
from train.data import PictureBank
from train.network import QualityNet
from train.predict import predict_set

logger = logging.getLogger(__name__)

AT_ONCE = 32  # pictures
Verdicts = dict[str, dict[str, Verdict]]  # by runtime and split


@dataclass(frozen=True)
class Sets:
    """Pictures for the verdict, and for the training that may follow it."""

    judged: LabelSet
    training: LabelSet | None


def check_integers(args: Namespace) -> None:
    """What an integer artifact cannot be made without, and what would be in its way."""
    needs = ("data",) if args.precision == WEIGHTS_ONLY else ("calibration", "data")
    missing = [f"--{name}" for name in needs if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"--precision {args.precision} without {' and '.join(missing)}",
            expected="pictures like those it will judge: --calibration for the ranges (labels "
            "are not read), --data, best labelled and of other people, for the verdict",
            fix="one label set with the splits train and val will do for both",
        )
    if args.train_data is not None and not args.recover:
        raise InputError(
            "--train-data without --recover", expected="the two together",
            fix="add --recover: it trains where the verdict is no",
        )  # fmt: skip
    for ending in ("inconclusive", *(["failed"] if args.keep_failed else [])):
        refuse_existing(_aside(args.out, ending), args.overwrite)


def export_integers(
    form: Format,
    args: Namespace,
    sets: Sets,
    network: QualityNet,
    source: Manifest,
    deployable: Deployable,
    folder: Path,
) -> cli.Outcome:
    """Quantise, build, judge; with --recover, again by stronger means until one passes."""
    calibration = None
    if args.precision != WEIGHTS_ONLY:
        with timed("reading the calibration"):
            calibration = read_calibration(args.calibration, deployable.spec)

    @cache  # for every runtime and attempt
    def before(part: LabelSet) -> Floats:
        return predict_set(network, source.preprocess, part, "float scores").scores.astype(float)

    policy = GuardPolicy(args.max_drop)
    for attempt in attempts(args, source, deployable, calibration, sets.training):
        found = _build(form, args, attempt, calibration, source, deployable, folder)
        verdicts, checks = _judge(form, found, before, sets.judged, policy)
        found = found.with_checks(checks)
        if found.ok or _unjudged(verdicts):
            break
        logger.info("%s: the verdict is no", attempt.name)
    return _finish(form, args, found, verdicts, attempt.name)


def _build(
    form: Format,
    args: Namespace,
    attempt: Attempt,
    calibration: Calibration | None,
    source: Manifest,
    deployable: Deployable,
    folder: Path,
) -> Candidate:
    with timed(f"quantising: {attempt.name}"):
        quantised = attempt.prepare()
    if quantised is None or calibration is None:
        job = IntegerJob(deployable, None, deployable.example, args.input, folder)
        kept = {}
    else:
        job = IntegerJob(deployable, quantised, calibration.pictures, args.input, folder)
        kept = {
            "quantisation": quantised.facts,
            "calibration": to_plain(calibration.record) | {"pictures": len(calibration.pictures)},
        }
    with timed(f"converting to {args.precision}"):
        body = form.integers[args.precision](job)
    return assemble(form, args, deployable, source, body, folder, kept)


def _judge(
    form: Format,
    found: Candidate,
    before: Callable[[LabelSet], Floats],
    labels: LabelSet,
    policy: GuardPolicy,
) -> tuple[Verdicts, list[Check]]:
    """The verdicts, and the checks they come to."""
    verdicts: Verdicts = {}
    checks = []
    for name, score in open_judges(form, found.path):
        if isinstance(score, Check):
            checks.append(score)
            continue
        after = _scores_of(score, found.manifest)
        with timed(f"judging in {name}"):
            verdicts[name] = judge(before, after, labels, policy)
        checks += [_check(name, split, one) for split, one in verdicts[name].items()]
    if not verdicts:
        checks.append(Check("verdict", "failed", "no runtime here can score the artifact"))
    return verdicts, checks


def _scores_of(score: Score, manifest: Manifest) -> Callable[[LabelSet], Floats]:
    def after(part: LabelSet) -> Floats:
        bank = PictureBank(part, manifest.preprocess, limit_bytes=0)
        starts = range(0, len(part), AT_ONCE)
        shown = track(starts, "integer scores", len(starts), "batches")
        return np.concatenate(
            [score(bank.get(np.arange(at, min(at + AT_ONCE, len(part))))) for at in shown]
        )

    return after


def _check(runtime: str, split: str, verdict: Verdict) -> Check:
    return Check(
        f"verdict on {split} in {runtime}",
        "passed" if verdict.ok else "failed",
        f"{verdict.status}: {verdict.reason}",
        verdict.drop.value if verdict.drop else None,
        verdict.policy.max_drop,
    )


def _finish(
    form: Format, args: Namespace, found: Candidate, verdicts: Verdicts, recipe: str
) -> cli.Outcome:
    """Write what passed; set what is undecided, or was asked for, aside under another name."""
    lines = [*found.lines, ""]
    for name, one in verdicts.items():
        lines += [f"in {name}:", describe(one)]
    manifest, aside = found.manifest, None
    if found.ok:
        manifest = found.write(args.out)
    else:
        is_open = _statuses(verdicts) <= {"pass", "inconclusive"} and bool(verdicts)
        if is_open or args.keep_failed:
            aside = _aside(args.out, "inconclusive" if is_open else "failed")
            found.write(aside)
            lines.append(f"set aside as {aside}")
        advice = _unjudged(verdicts) or stronger(form, recipe)
        lines.append(f"next: {advice}" + (", or more pictures" if is_open else ""))
    more = {
        "verdicts": {
            name: {split: to_plain(verdict) for split, verdict in one.items()}
            for name, one in verdicts.items()
        },
        "recipe": recipe,
        "set_aside": str(aside) if aside else None,
    }
    return outcome(args.out, manifest, lines, found.ok, more)


def _aside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}{out.suffix}")


def _statuses(verdicts: Verdicts) -> set[str]:
    return {verdict.status for one in verdicts.values() for verdict in one.values()}


def _unjudged(verdicts: Verdicts) -> str:
    """What to do where nothing could be judged, and no recipe helps; empty where it could."""
    if not verdicts:
        return "a machine with a runtime for the artifact"
    for one in verdicts.values():
        for verdict in one.values():
            if verdict.status == "unchecked":
                return f"more labelled pictures, or others: {verdict.reason}"
    return ""

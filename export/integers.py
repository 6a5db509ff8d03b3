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
from export.format import Format, IntegerJob, Score
from fiqa import cli
from fiqa.errors import InputError
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import Check, Manifest
from fiqa.progress import track
from fiqa.records import to_plain
from fiqa.vectors import Floats
from quantize.calibration import Calibration, read_calibration
from quantize.deployable import Deployable
from quantize.guard import GuardPolicy, Verdict
from quantize.learned_file import load_integers
from quantize.qat import Learning, learn
from quantize.recipes import Quantised, faithful, named, quantise
from quantize.verify import describe, judge
from train.data import PictureBank
from train.network import QualityNet
from train.predict import predict_set

logger = logging.getLogger(__name__)

WEIGHTS_ONLY = "dynamic"  # activations stay float: nothing to calibrate
LEARNED = "learned"  # by quantize.qat
NEXT = {
    "naive": "--recipe faithful",
    "fastest": "--recipe faithful",
    "faithful": "python -m quantize.qat, and --checkpoint what it wrote",
    LEARNED: "--precision dynamic",
    WEIGHTS_ONLY: "--precision fp16",
}
AT_ONCE = 32  # pictures


def check_integers(args: Namespace) -> None:
    """What an integer artifact cannot be made without."""
    needs = ("data",) if args.precision == WEIGHTS_ONLY else ("calibration", "data")
    missing = [f"--{name}" for name in needs if getattr(args, name) is None]
    if missing:
        raise InputError(
            f"--precision {args.precision} without {' and '.join(missing)}",
            expected="pictures like those it will judge: --calibration for the ranges (labels "
            "are not read), --data, best labelled and of other people, for the verdict",
            fix="one label set with the splits train and val will do for both",
        )


@dataclass(frozen=True)
class Attempt:
    """One way to the integers; `prepare` may take minutes."""

    name: str
    prepare: Callable[[], Quantised | None]  # None: weights alone


def export_integers(
    form: Format,
    args: Namespace,
    labels: LabelSet,
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
    for attempt in attempts(args, source, deployable, calibration):
        found = _build(form, args, attempt, calibration, source, deployable, folder)
        verdicts, checks = _judge(form, found, before, labels, policy)
        found = found.with_checks(checks)
        if found.ok:
            break
        logger.info("%s: the verdict is no", attempt.name)
    return _finish(args, found, verdicts, attempt.name)


def attempts(
    args: Namespace, source: Manifest, deployable: Deployable, calibration: Calibration | None
) -> list[Attempt]:
    """The ways that are tried, one after the other until the verdict is yes."""
    if calibration is None:
        return [Attempt(WEIGHTS_ONLY, lambda: None)]
    learned = load_integers(args.checkpoint, source, deployable)
    if learned is not None:
        return [Attempt(LEARNED, lambda: learned)]

    def by(recipe: str) -> Attempt:
        return Attempt(
            recipe,
            lambda: quantise(
                deployable.module, deployable.example, calibration.pictures, named(recipe)
            ),
        )

    ways = [by(args.recipe)]
    if args.recover and args.recipe != faithful.__name__:
        ways.append(by(faithful.__name__))
    if args.recover and args.train_data is not None:
        ways.append(Attempt(LEARNED, lambda: _learn(args, deployable)))
    return ways


def _learn(args: Namespace, deployable: Deployable) -> Quantised:
    """Training that knows about the rounding, in a folder beside --out that can be gone on with."""
    folder = args.out.with_name(f"{args.out.stem}_qat")
    labels = read_labels(args.train_data, scored=False)
    manifest = learn(args.checkpoint, labels, [], folder, Learning(size=args.size))
    found = load_integers(folder, manifest, deployable)
    assert found is not None  # that is what it learned
    return found


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
) -> tuple[dict[str, dict[str, Verdict]], list[Check]]:
    """Verdicts by runtime and split, and the checks they come to."""
    verdicts: dict[str, dict[str, Verdict]] = {}
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
        f"verdict on {split or 'all'} in {runtime}",
        "passed" if verdict.ok else "failed",
        f"{verdict.status}: {verdict.reason}",
        verdict.drop.value if verdict.drop else None,
        verdict.policy.max_drop,
    )


def _finish(
    args: Namespace, found: Candidate, verdicts: dict[str, dict[str, Verdict]], recipe: str
) -> cli.Outcome:
    """Write what passed; set what is undecided, or was asked for, aside under another name."""
    lines = [*found.lines, ""]
    for name, one in verdicts.items():
        lines += [f"in {name}:", describe(one)]
    manifest, aside = found.manifest, None
    if found.ok:
        manifest = found.write(args.out)
    else:
        is_open = all(
            verdict.status in ("pass", "inconclusive")
            for one in verdicts.values()
            for verdict in one.values()
        ) and bool(verdicts)
        if is_open or args.keep_failed:
            ending = "inconclusive" if is_open else "failed"
            aside = args.out.with_name(f"{args.out.stem}.{ending}{args.out.suffix}")
            found.write(aside)
            lines.append(f"set aside as {aside}")
        lines.append(f"next: {NEXT[recipe]}" + (", or more pictures" if is_open else ""))
    more = {
        "verdicts": {
            name: {split: to_plain(verdict) for split, verdict in one.items()}
            for name, one in verdicts.items()
        },
        "recipe": recipe,
        "set_aside": str(aside) if aside else None,
    }
    return outcome(args.out, manifest, lines, found.ok, more)

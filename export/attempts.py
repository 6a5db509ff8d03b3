"""The ways to an integer artifact, one after the other until a verdict is yes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.format import Format
from fiqa.errors import InputError, OutputError
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import Manifest
from quantize.calibration import Calibration
from quantize.deployable import Deployable
from quantize.learned_file import load_integers
from quantize.qat import Learning, check_learning, learn
from quantize.recipes import RECIPES, Quantised, faithful, named, quantise

WEIGHTS_ONLY = "dynamic"  # activations stay float: nothing to calibrate
LEARNED = "learned"  # by quantize.qat


@dataclass(frozen=True)
class Attempt:
    """One way to the integers; `prepare` may take minutes."""

    name: str
    prepare: Callable[[], Quantised | None]  # None: weights alone


def attempts(
    args: Namespace,
    source: Manifest,
    deployable: Deployable,
    calibration: Calibration | None,
    training: LabelSet | None,
) -> list[Attempt]:
    """The ways that are tried, one after the other until the verdict is yes."""
    if calibration is None:
        return [Attempt(WEIGHTS_ONLY, lambda: None)]
    learned = load_integers(args.checkpoint, source, deployable)
    if learned is not None:
        if args.recipe is not None:
            raise InputError(
                f"--recipe {args.recipe} for {args.checkpoint}, which holds learned integers",
                expected="a checkpoint without, whose integers a recipe makes",
                fix="leave --recipe out, or name the checkpoint they were learned from",
            )
        return [Attempt(LEARNED, lambda: learned)]

    def by(recipe: str) -> Attempt:
        return Attempt(
            recipe,
            lambda: quantise(
                deployable.module, deployable.example, calibration.pictures, named(recipe)
            ),
        )

    ways = [by(args.recipe or faithful.__name__)]
    if args.recover and ways[0].name != faithful.__name__:
        ways.append(by(faithful.__name__))
    if training is not None:
        ways.append(Attempt(LEARNED, lambda: _learn(args, training, deployable)))
    return ways


def _run_folder(args: Namespace) -> Path:
    return args.out.with_name(f"{args.out.stem}_qat")


def _learn(args: Namespace, labels: LabelSet, deployable: Deployable) -> Quantised:
    """Training that knows about the rounding, in a folder beside --out that can be gone on with."""
    folder = _run_folder(args)
    manifest = learn(args.checkpoint, labels, [], folder, Learning(size=args.size))
    found = load_integers(folder, manifest, deployable)
    assert found is not None  # that is what it learned
    return found


def stronger(form: Format, recipe: str) -> str:
    """What loses less than this recipe."""
    if recipe == faithful.__name__:
        return "python -m quantize.qat, and --checkpoint what it wrote"
    if recipe in RECIPES:
        return f"--recipe {faithful.__name__}"
    if recipe == LEARNED and WEIGHTS_ONLY in form.integers:
        return f"--precision {WEIGHTS_ONLY}"
    return "--precision fp16"


def read_training(args: Namespace) -> LabelSet | None:
    """The pictures of --train-data, where the training that may come could begin."""
    if args.train_data is None:
        return None
    labels, folder = read_labels(args.train_data, scored=False), _run_folder(args)
    try:
        check_learning(args.checkpoint, labels, folder, Learning(size=args.size))
    except OutputError as error:
        raise OutputError(
            error.found, expected=error.expected, fix=f"move {folder} away, or choose another --out"
        ) from error
    return labels

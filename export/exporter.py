"""What the export commands share: from a checkpoint to an artifact that was proved against it.

The artifact is built under a temporary name, opened in its real runtime and compared with the
checkpoint. Only what keeps its bound gets the name that was asked for.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from export.assembly import Candidate, assemble, open_judges, outcome, timed
from export.attempts import read_training
from export.format import Format
from export.integers import Sets, check_integers, export_integers
from export.parity import parity_check, parity_pictures, reference_scores
from fiqa import cli
from fiqa.errors import InputError
from fiqa.files import refuse_existing, require_writable
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import Check, Manifest
from quantize.deployable import make_deployable, open_network
from quantize.guard import GuardPolicy
from quantize.recipes import RECIPES
from train.network import QualityNet


def run_export(form: Format, description: str, argv: Sequence[str] | None) -> int:
    """The whole command."""
    parser = cli.Parser(description)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of a trained or imported network")
    add("--out", type=Path, required=True, help="file to write")
    add("--precision", choices=(*form.builders, *form.integers), default="fp32")
    add("--size", type=int, help="side of the pictures in pixels (default: the checkpoint's)")
    add("--batch", type=int, default=1, help="pictures at once")
    add("--data", type=Path, help="label set for the proof or the verdict (fp: faces are drawn)")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    integer = parser.add_argument_group("integers")
    add = integer.add_argument
    add("--calibration", type=Path, help="pictures for the ranges, labels unread (split train)")
    add("--recipe", choices=tuple(RECIPES), help="(faithful)")
    add("--max-drop", type=float, default=GuardPolicy().max_drop,
        help="budget of (SRCC + PLCC) / 2 (%(default)s)")  # fmt: skip
    add("--recover", action="store_true", help="where the verdict is no, try stronger means: the "
        "faithful recipe, then training with --train-data")  # fmt: skip
    add("--train-data", type=Path, help="label set with train and val, for --recover")
    add("--keep-failed", action="store_true", help="keep what failed, under another name")
    add("--input", choices=("uint8", "int8", "float"), default="uint8",
        help="what an integer .tflite takes (%(default)s)")  # fmt: skip
    return cli.run(parser, lambda args: export(form, args), argv)


def export(form: Format, args: Namespace) -> cli.Outcome:
    """Build, look, prove, and write what was proved."""
    _check(form, args)
    labels = read_labels(args.data, scored=False) if args.data else None
    training = read_training(args) if args.precision in form.integers else None
    with timed("reading the checkpoint"):
        network, source = open_network(args.checkpoint, args.size)
    with timed("rewriting its graph"):
        deployable = make_deployable(network, source.preprocess, args.batch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.precision in form.integers:
            assert labels is not None  # checked
            sets = Sets(labels, training)
            return export_integers(form, args, sets, network, source, deployable, folder)
        with timed(f"converting to {args.precision}"):
            body = form.builders[args.precision](deployable, folder)
        found = assemble(form, args, deployable, source, body, folder, {})
        with timed("comparing scores"):
            found = found.with_checks(_prove(form, found, network, source, labels))
        manifest = found.write(args.out) if found.ok else found.manifest
        return outcome(args.out, manifest, found.lines, found.ok, {})


# ---------------------------------------------------------------- the steps


def _check(form: Format, args: Namespace) -> None:
    if args.out.suffix != form.suffix:
        raise InputError(f"--out {args.out}", expected=f"a name that ends in {form.suffix}")
    if args.batch < 1:
        raise InputError(f"--batch {args.batch}", expected="1 or more")
    if args.precision in form.integers:
        check_integers(args)
    refuse_existing(args.out, args.overwrite)
    require_writable(args.out)


def _prove(
    form: Format,
    found: Candidate,
    network: QualityNet,
    source: Manifest,
    labels: LabelSet | None,
) -> list[Check]:
    pictures = parity_pictures(labels, source.preprocess)
    wanted = reference_scores(network, source.preprocess, pictures)
    precision = found.manifest.recipe["precision"]
    return [
        score
        if isinstance(score, Check)
        else parity_check(name, score(pictures), wanted, precision)
        for name, score in open_judges(form, found.path)
    ]

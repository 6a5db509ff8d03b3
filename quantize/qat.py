"""Training that knows about the rounding: a checkpoint's integers learn to give its float scores.

    python -m quantize.qat --checkpoint runs/student --data faces.csv --out runs/student_qat
    python -m export.tflite --checkpoint runs/student_qat --precision int8 \\
        --calibration faces.csv --data faces.csv --out student_int8.tflite

Starts from quantisation after training, on pictures of --data's split train, then simulates the
integer kernels and learns weights, biases and ranges until the scores agree with those of the
float network on the same pictures. Labels are not read: more pictures may come with
--unlabelled. The best epoch is chosen on val and val_ood, by agreement too. Start the same
command again to go on where a run was stopped.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import Manifest, read_manifest
from fiqa.records import to_plain
from quantize.calibration import calibration_from
from quantize.deployable import make_deployable, open_network
from quantize.learned import LearnedIntegers
from quantize.learned_file import NOTE, save_integers
from quantize.qat_task import IntegerTask
from quantize.recipes import RECIPES, faithful, named, quantise
from train.loop import Fitting, LoopConfig, fit
from train.stages import LABELS
from train.training_run import is_begun, is_finished, split_sources


@dataclass(frozen=True)
class Learning:
    """How integers are learned."""

    recipe: str = faithful.__name__  # to start from
    fitting: Fitting = Fitting(epochs=3, learning_rate=1e-3)
    pictures: int = 0  # an epoch; 0: all
    size: int | None = None  # of the pictures; None: the checkpoint's
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    usual = Learning()
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of a trained or imported network")
    add("--data", type=Path, required=True, help="label set with train and val, labels unread")
    add("--unlabelled", type=Path, nargs="*", default=[], help="more pictures to learn from")
    add("--out", type=Path, required=True, help="run folder, and checkpoint with integers")
    add("--recipe", choices=RECIPES, default=usual.recipe, help="to start from (%(default)s)")
    add("--epochs", type=int, default=usual.fitting.epochs, help="(%(default)s)")
    add("--learning-rate", type=float, default=usual.fitting.learning_rate, help="(%(default)s)")
    add("--pictures", type=int, default=usual.pictures, help="pictures an epoch shows (all)")
    add("--size", type=int, help="side of the pictures in pixels (default: the checkpoint's)")
    add("--seed", type=int, default=usual.seed)
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--overwrite", action="store_true", help="start anew in an existing --out")
    return cli.run(parser, _run, argv)


def _run(args: Namespace) -> cli.Outcome:
    labels = read_labels(args.data, scored=False)
    others = [read_labels(path, scored=False) for path in args.unlabelled]
    fitting = dataclasses.replace(
        Learning.fitting, epochs=args.epochs, learning_rate=args.learning_rate
    )
    plan = Learning(args.recipe, fitting, args.pictures, args.size, args.seed)
    manifest = learn(args.checkpoint, labels, others, args.out, plan, args.device, args.overwrite)
    learned = manifest.recipe[NOTE]
    lines = [f"{name:16} {value:.4f}" for name, value in learned["agreement"].items()]
    return cli.Outcome(
        "\n".join([*lines, f"wrote {args.out}"]), {"checkpoint": str(args.out), **learned}
    )


def learn(
    checkpoint: Path,
    labels: LabelSet,
    others: Sequence[LabelSet],
    out: Path,
    plan: Learning,
    device: str = "auto",
    overwrite: bool = False,
) -> Manifest:
    """Learn integers, or go on learning them, and write the checkpoint that holds them."""
    network, source = open_network(checkpoint, plan.size)
    sources, validation = split_sources(labels, others)
    facts = _facts(checkpoint, plan, sources, validation)
    reads = (checkpoint, *(one.root for one in (labels, *others)))
    if is_finished(out, facts, overwrite, reads, device):
        return read_manifest(out)
    deployable = make_deployable(network, source.preprocess)
    seen = calibration_from(sources[LABELS], deployable.spec).pictures
    start = quantise(deployable.module, deployable.example, seen, named(plan.recipe))
    learner = LearnedIntegers(start)
    task = IntegerTask(deployable, sources, validation, plan.fitting, plan.pictures, plan.seed)
    result = fit(learner, [lambda _: task], LoopConfig(out, plan.seed, device))
    learner.load_state_dict(result.tensors)
    facts |= {"size": deployable.spec.size, "agreement": result.metrics}
    if not result.is_first:
        return dataclasses.replace(source, recipe=source.recipe | {NOTE: facts})
    return save_integers(out, checkpoint, learner.cpu().quantised(), facts)


def check_learning(checkpoint: Path, labels: LabelSet, out: Path, plan: Learning) -> None:
    """The refusals of `learn`, for those who will start it later."""
    sources, validation = split_sources(labels, [])
    is_begun(out, _facts(checkpoint, plan, sources, validation))


def _facts(
    checkpoint: Path,
    plan: Learning,
    sources: dict[str, LabelSet],
    validation: dict[str, LabelSet],
) -> dict[str, Any]:
    """What tells a run from others."""
    records = [one.record("train") for one in sources.values()]
    records += [one.record(name) for name, one in validation.items()]
    return {
        "from_sha256": read_manifest(checkpoint).sha256,
        **to_plain(plan),
        "data": to_plain(records),
    }


if __name__ == "__main__":
    raise SystemExit(main())

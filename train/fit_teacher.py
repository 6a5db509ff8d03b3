"""Train a teacher on labels, and on pseudo-labels where there are some.

    python -m train.fit_teacher --data faces.csv --recipe small --init pypi --out runs/teacher
    python -m train.fit_teacher --data faces.csv --pseudo runs/u1.csv --init pypi \\
        --out runs/teacher_plus

Start the same command again to go on where a run was stopped.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence

import torch

from fiqa import cli
from train.network import QualityNet, cost_of
from train.teacher import TEACHERS
from train.training_run import (
    add_run_flags,
    check_run_flags,
    outcome,
    read_sources,
    train_checkpoint,
)

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    notes = "\n".join(f"  {name}: {recipe.note}" for name, recipe in TEACHERS.items())
    parser = cli.Parser(__doc__ or "", epilog=f"recipes:\n{notes}")
    add_run_flags(parser)
    parser.add_argument("--recipe", choices=TEACHERS, default="small")
    parser.add_argument("--backbone", help="any timm model (default: the recipe's)")
    return cli.run(parser, _fit, argv)


def _fit(args: Namespace) -> cli.Outcome:
    check_run_flags(args)
    recipe = TEACHERS[args.recipe]
    torch.manual_seed(args.seed)  # random start weights are part of a run that can be repeated
    sources, validation = read_sources(args)
    network = QualityNet(args.backbone or recipe.backbone, recipe.size)
    logger.info("%s: %s", network.name, cost_of(network, recipe.size))
    stages = recipe.stages(list(sources))
    manifest = train_checkpoint(args, network, stages, args.recipe, sources, validation)
    return outcome(args.out, manifest)


if __name__ == "__main__":
    raise SystemExit(main())

"""The whole chain of self-training and distillation, one step after the other.

    python -m train.self_train --data labelled --unlabelled u1 u2 --out runs/chain \\
        --teacher-init pypi --student tf_efficientnet_lite0 --student-init pypi

1. the teacher learns from the labels;        2. it labels the first unlabelled set, U1;
3. teacher+ learns from labels and U1;        4. it labels the second, U2;
5. the student learns from labels, U1 by the teacher and U2 by teacher+, and imitates teacher+.

Each step is a command of its own and is shown before it runs. Start the same command again to
go on where the chain was stopped: finished steps are not repeated.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shlex
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.errors import ToolkitError
from fiqa.records import parse_json
from train import fit_student, fit_teacher, pseudo_label
from train.stages import RECIPES, SIZES
from train.teacher import TEACHERS
from train.training_run import add_label_flags, label_flags

logger = logging.getLogger(__name__)


class StepError(ToolkitError):
    """A step of the chain that could not run; its own error stands above."""


@dataclass(frozen=True)
class Step:
    """One command of the chain and the folder it fills."""

    title: str
    main: Callable[[Sequence[str]], int]
    arguments: tuple[str, ...]
    out: Path

    @property
    def command(self) -> str:
        return shlex.join(["python", "-m", self.main.__module__, *self.arguments])


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add_label_flags(parser)
    parser.add_argument(
        "--unlabelled", type=Path, nargs=2, required=True, metavar=("U1", "U2"),
        help="two sets of other people; their scores, if any, are never trained on",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for all steps")
    parser.add_argument("--teacher-recipe", choices=TEACHERS, default="small")
    parser.add_argument("--teacher-init", required=True, help="random, timm, pypi or a file")
    parser.add_argument("--student", default="mobilenetv3_small_100")
    parser.add_argument("--student-init", required=True, help="random, timm, pypi or a file")
    parser.add_argument("--recipe", choices=RECIPES, default="mspt_fast", help="student's stages")
    parser.add_argument("--size", type=int, help="of the student's last stage (default: recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    return cli.run(parser, _run, argv)


def chain(args: Namespace) -> list[Step]:
    """The five steps with all their arguments."""
    common = (*label_flags(args), "--seed", args.seed, "--device", args.device)
    u1, u2 = args.unlabelled
    out: Path = args.out
    folders = {name: out / name for name in ("teacher", "u1", "teacher_plus", "u2", "student")}

    def teacher(name: str, *pseudo: str) -> Step:
        arguments = ("--data", args.data, "--recipe", args.teacher_recipe, *pseudo, "--init",
                     args.teacher_init, "--out", folders[name], *common)  # fmt: skip
        return _step(name, fit_teacher.main, arguments, folders[name])

    def pseudo(name: str, labeller: str, data: Path) -> Step:
        arguments = ("--teacher", folders[labeller], "--data", data, "--fit", args.data, "--out",
                     folders[name], *label_flags(args, "--fit-root"),
                     "--device", args.device)  # fmt: skip
        return _step(name, pseudo_label.main, arguments, folders[name])

    student = ("--data", args.data, "--pseudo", folders["u1"], folders["u2"], "--teacher",
               folders["teacher_plus"], "--student", args.student, "--init", args.student_init,
               "--recipe", args.recipe, "--out", folders["student"], *common,
               *(("--size", args.size) if args.size else ()))  # fmt: skip
    return [
        teacher("teacher"),
        pseudo("u1", "teacher", u1),
        teacher("teacher_plus", "--pseudo", str(folders["u1"])),
        pseudo("u2", "teacher_plus", u2),
        _step("student", fit_student.main, student, folders["student"]),
    ]


def run_step(step: Step, quiet: bool = False) -> dict[str, Any]:
    """Run a step and give its JSON document; its progress goes to stderr as always."""
    logger.info("\n== %s\n$ %s", step.title, step.command)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = step.main([*step.arguments, "--json", *(["--quiet"] if quiet else [])])
    if code == cli.COULD_NOT_RUN:
        raise StepError(
            f"the step {step.title} could not run",
            expected="the error above mended",
            fix="start the same command again: finished steps are kept",
        )
    if code not in (cli.DONE, cli.ANSWER_IS_NO):  # told as a code, like a shell's 130
        raise KeyboardInterrupt
    document: dict[str, Any] = parse_json(printed.getvalue(), step.title)
    return document


def _step(
    title: str, main: Callable[[Sequence[str]], int], arguments: Sequence[object], out: Path
) -> Step:
    return Step(title, main, tuple(map(str, arguments)), out)


def _run(args: Namespace) -> cli.Outcome:
    cli.within("--size", args.size, *SIZES)
    cli.within("--seed", args.seed, 0, cli.LARGEST_SEED)
    steps = chain(args)
    documents = {step.title: run_step(step, args.quiet) for step in steps}
    lines = [f"{step.title:13} {step.out}" for step in steps]
    return cli.Outcome("\n".join(lines), {"out": str(args.out), "steps": documents})


if __name__ == "__main__":
    raise SystemExit(main())

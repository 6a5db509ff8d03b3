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
from fiqa.errors import InputError, OutputError
from fiqa.files import writing
from fiqa.label_files import DATASET
from fiqa.labels import Row, draw_split, read_labels
from fiqa.records import read_json
from train import synth
from train.clean_faces import LEAST_ENLARGED, crop_side
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
    least = LEAST_ENLARGED * args.size  # synth refuses smaller ones
    rows = [row for row in people.rows if crop_side(people.root, row) >= least]
    logger.info("%d of %d portraits are large enough", len(rows), len(people))
    made = {}
    for name in SETS:
        folder = args.out / name
        made[name] = str(folder)
        if (folder / DATASET).exists():
            _check_settings(folder, args)
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


def _check_settings(folder: Path, args: Namespace) -> None:
    """A set that is there already is kept, if it was made as this command would make it."""
    record = read_json(folder / DATASET)
    settings = record.get("settings") if isinstance(record, dict) else None
    known = settings if isinstance(settings, dict) else {}
    wanted = {name: getattr(args, name) for name in ("per_identity", "size", "seed")}
    different = [name for name, value in wanted.items() if known.get(name) != value]
    if different:
        raise OutputError(
            f"{folder} was made otherwise: {', '.join(different)} differ",
            expected="the same command as before, or a free folder",
            fix="choose another --out, or remove the set",
        )


def set_of(row: Row) -> str:
    """The set a person belongs to."""
    if row.split == "test":
        return "labelled"
    share = _share_of(row)
    return "labelled" if share == "val" else share


def split_of(row: Row) -> str:
    """The split the person's pictures get in the set."""
    if row.split == "test":
        return "test"
    return "val" if _share_of(row) == "val" else "train"


def _share_of(row: Row) -> str:
    """Pictures of unknown people count as one person each."""
    return draw_split(row.identity or row.image, SHARES)


def write_boxes(path: Path, rows: Sequence[Row]) -> None:
    with writing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["image", "identity", "split", "box", "crop"])
        for row in rows:
            place = [" ".join(map(str, shape or ())) for shape in (row.box, row.crop)]
            writer.writerow([row.image, row.identity, split_of(row), *place])


if __name__ == "__main__":
    raise SystemExit(main())

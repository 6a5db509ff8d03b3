"""Make a labelled face quality set without annotators: clean faces, degraded and measured.

    python -m train.synth --out data/demo
    python -m train.synth --out data/mine --faces portraits --boxes portraits.csv

Draws people (or takes clean portraits), degrades each picture by a random chain, and labels it
0..1 by full-reference measures against its clean source. Writes images/, labels.csv,
dataset.json and contact_sheet.png (pictures in order of score: look at it). People never
stand on two of the sides train, val and test; a third of the pictures of val and test people
suffer kinds of degradation that training never shows, in the splits val_ood and test_ood.
Prints counts and scores per split. docs/data.md explains labels and kinds.
"""

from __future__ import annotations

import csv
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import fiqa
from fiqa.cli import LARGEST_SEED, Outcome, Parser, run, within
from fiqa.errors import InputError
from fiqa.files import refuse_foreign, sha256_bytes, sha256_file, write_json, writing_folder
from fiqa.label_files import DATASET, DATASET_SCHEMA
from fiqa.labels import read_labels
from fiqa.progress import track
from train.clean_faces import drawn_people, portrait_people
from train.contact_sheet import write_contact_sheet
from train.degrade import GROUPS, kinds_of
from train.reference import POWERS
from train.samples import Labelled, PictureSettings, Plan, make_all

SPLITS = ("train", "val", "val_ood", "test", "test_ood")
PEOPLE, PER_PERSON = 208, 30  # gives 3120 to train on, 1040 in val and 520 in val_ood
EVAL_SHARE = 0.25
SHEET_PICTURES = 144


def write_labels(path: Path, rows: Sequence[Labelled]) -> None:
    columns = ["image", "score", "identity", "split", "steps", *asdict(rows[0].measures)]
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            measures = [f"{value:.6f}" for value in asdict(row.measures).values()]
            score = f"{row.measures.score:.6f}"
            writer.writerow([row.image, score, row.identity, row.split, row.steps, *measures])


def describe(rows: Sequence[Labelled]) -> dict[str, Any]:
    """Per split: pictures, people and the deciles of the score."""
    described = {}
    for split in SPLITS:
        part = [row for row in rows if row.split == split]
        if part:
            deciles = np.quantile([row.measures.score for row in part], np.linspace(0, 1, 11))
            described[split] = {
                "pictures": len(part),
                "people": len({row.identity for row in part}),
                "score_deciles": [round(float(value), 4) for value in deciles],
            }
    return described


def dataset_record(
    name: str, settings: dict[str, Any], rows: Sequence[Labelled], labels: Path
) -> dict[str, Any]:
    """What dataset.json holds. No dates and no machine: the same command gives the same file."""
    images = "".join(f"{row.sha256}  {row.image}\n" for row in rows)
    used = Counter(step.split(":")[0] for row in rows for step in row.steps.split())
    return {
        "schema": DATASET_SCHEMA,
        "name": name,
        "settings": settings,
        "splits": describe(rows),
        "kinds": {
            group: {kind.name: used[kind.name] for kind in kinds_of(group)} for group in GROUPS
        },
        "score_powers": POWERS,
        "sha256": {
            "labels.csv": sha256_file(labels),
            "images": sha256_bytes(
                images.encode()
            ),  # of lines "<sha256>  <image>" as in labels.csv
        },
        "versions": {
            "fiqa": fiqa.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def in_order_of_score(rows: Sequence[Labelled], count: int) -> list[Labelled]:
    """At most `count` rows from the worst to the best, evenly spaced by rank."""
    ordered = sorted(rows, key=lambda row: (row.measures.score, row.image))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[round(place)] for place in places]


def synthesise(
    plan: Plan, out: Path, settings: dict[str, Any], workers: int = 1, overwrite: bool = False
) -> dict[str, Any]:
    """Write the whole folder, or nothing; returns the content of dataset.json."""
    refuse_foreign(out, overwrite, DATASET)
    with writing_folder(out) as folder:
        made = make_all(plan, folder, workers)
        rows = list(track(made, f"synthesising {out.name}", plan.count))
        rows.sort(key=lambda row: SPLITS.index(row.split))  # stable: people and index stay
        write_labels(folder / "labels.csv", rows)
        record = dataset_record(out.name, settings, rows, folder / "labels.csv")
        write_json(folder / DATASET, record)
        shown = in_order_of_score(rows, SHEET_PICTURES)
        captions = [(folder / row.image, f"{row.measures.score:.2f} {row.split}") for row in shown]
        write_contact_sheet(folder / "contact_sheet.png", captions)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(__doc__ or "", prog="python -m train.synth")
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to write")
    add("--faces", type=Path, help="folder of clean portraits (default: draw people)")
    add("--boxes", type=Path, help="CSV of the portraits: image, box or crop, identity, split")
    add("--identities", type=int, help=f"people (default: {PEOPLE} drawn, all of --faces)")
    add("--per-identity", type=int, default=PER_PERSON, help="pictures of each (%(default)s)")
    add("--eval-share", type=float, default=EVAL_SHARE, help="of people, for val, and for test")
    add("--size", type=int, default=160, help="side of the pictures in pixels (%(default)s)")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=_cores(), help="processes (%(default)s)")
    add("--overwrite", action="store_true", help="replace a set in --out")
    return parser


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(args: Any) -> Outcome:
    _check(args)
    refuse_foreign(args.out, args.overwrite, DATASET)  # before the portraits are read
    settings = {
        "source": "drawn",
        "per_identity": args.per_identity,
        "eval_share": args.eval_share,
        "size": args.size,
        "seed": args.seed,
    }
    if args.faces is None:
        people = drawn_people(args.identities or PEOPLE, args.eval_share, args.seed)
    else:
        root = os.path.abspath(args.faces)  # workers may start in another folder
        labels = read_labels(args.boxes or args.faces, root=root, scored=False)
        people = portrait_people(labels, args.size, args.eval_share, args.identities)
        settings |= {"source": labels.name, "source_sha256": labels.sha256}
    settings["identities"] = len(people)
    plan = Plan(tuple(people), args.per_identity, PictureSettings(args.seed, args.size))
    started = time.perf_counter()
    record = synthesise(plan, args.out, settings, args.workers, args.overwrite)
    speed = {
        "workers": args.workers,
        "pictures_per_s": plan.count / (time.perf_counter() - started),
    }
    files = {
        "labels": str(args.out / "labels.csv"),
        "record": str(args.out / DATASET),
        "contact_sheet": str(args.out / "contact_sheet.png"),
    }
    return Outcome(
        _table(record, files),
        {"out": str(args.out), "files": files, "speed": speed, "dataset": record},
    )


def _check(args: Any) -> None:
    within("--identities", args.identities, 1, 1_000_000)
    within("--per-identity", args.per_identity, 1, 1000)
    within("--size", args.size, 96, 512)
    within("--seed", args.seed, 0, LARGEST_SEED)
    within("--workers", args.workers, 1, 256)
    within("--eval-share", args.eval_share, 0.0, 0.45)
    if args.boxes is not None and args.faces is None:
        raise InputError(
            f"--boxes {args.boxes} without --faces",
            expected="the folder of the portraits that the boxes belong to",
            fix="add --faces DIR",
        )
    if args.faces is not None and not args.faces.is_dir():
        raise InputError(f"{args.faces} is not a folder", expected="a folder of clean portraits")


def _table(record: dict[str, Any], files: dict[str, str]) -> str:
    lines = [f"{'split':10}{'pictures':>9}{'people':>8}{'10%':>7}{'50%':>7}{'90%':>7}  (score)"]
    for split, part in record["splits"].items():
        low, middle, high = (part["score_deciles"][place] for place in (1, 5, 9))
        counts = f"{split:10}{part['pictures']:9}{part['people']:8}"
        lines.append(f"{counts}{low:7.2f}{middle:7.2f}{high:7.2f}")
    return "\n".join([*lines, *files.values()])


if __name__ == "__main__":
    raise SystemExit(main())

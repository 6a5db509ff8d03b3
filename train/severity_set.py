"""A set degraded by torchvision and labelled by severity alone: a recipe that is not ours.

    python -m train.severity_set --faces portraits --boxes portraits.csv --out data/severity

A network that learned train.synth's own kinds and labels may have learned the recipe. Here are
other kernels with other labels: each picture suffers one or two of torchvision's transforms,
each of a severity between 0 and 1, and its score is the product of what they leave (1 - severity).
Only people of the test split are shown. For measuring, never for training.
"""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fiqa import cli
from fiqa.contract import Bytes
from fiqa.errors import InputError
from fiqa.files import refuse_foreign, write_json, writing_folder
from fiqa.label_files import DATASET, DATASET_SCHEMA
from fiqa.labels import read_labels
from fiqa.progress import track
from train.clean_faces import Person, numbers, portrait_people
from train.samples import file_stem
from train.timm_loader import load_timm

TWO_KINDS = 0.4  # share of pictures that suffer two

Transform = Callable[[Any, float], Any]  # (3, S, S) uint8 tensor, severity -> the same


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("--faces", type=Path, required=True, help="folder of clean portraits")
    add("--boxes", type=Path, required=True, help="CSV with box or crop, identity and split")
    add("--out", type=Path, required=True, help="folder to write")
    add("--per-identity", type=int, default=10, help="pictures of each person")
    add("--size", type=int, default=224, help="side of the pictures in pixels")
    add("--seed", type=int, default=0)
    add("--overwrite", action="store_true", help="replace a set in --out")
    return cli.run(parser, _make, argv)


def _make(args: Namespace) -> cli.Outcome:
    cli.within("--per-identity", args.per_identity, 1, 1000)
    cli.within("--size", args.size, 32, 1024)
    cli.within("--seed", args.seed, 0, cli.LARGEST_SEED)
    refuse_foreign(args.out, args.overwrite, DATASET)
    people = read_labels(args.boxes, root=args.faces, scored=False)
    if "test" not in people.split_names:
        raise InputError(f"{args.boxes} has no test people", expected="a split column with test")
    shown = portrait_people(people.select("test"), args.size, 0.0, None)
    transforms = _transforms()
    with writing_folder(args.out) as folder:
        (folder / "images").mkdir()
        places = [(person, index) for person in shown for index in range(args.per_identity)]
        rows = [
            _write(person, index, args, transforms, folder)
            for person, index in track(places, "degrading", len(places))
        ]
        with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["image", "score", "identity", "split", "steps"])
            writer.writerows(rows)
        record = {"schema": DATASET_SCHEMA, "name": args.out.name, "root": "."}
        write_json(folder / DATASET, record)
    return cli.Outcome(f"wrote {len(rows)} pictures to {args.out}", {"out": str(args.out)})


def _write(
    person: Person, index: int, args: Namespace, transforms: dict[str, Transform], folder: Path
) -> tuple[str, ...]:
    clean = person.source.clean(person.identity, index, args.seed, args.size).image
    rng = numbers(person.identity, index, args.seed, "severity")
    picture, steps = degrade(clean, rng, transforms)
    name = f"images/{file_stem(person.identity)}_{index:02d}.png"
    Image.fromarray(picture).save(folder / name)
    score = float(np.prod([1 - severity for _, severity in steps]))
    told = " ".join(f"{kind}:{severity:.2f}" for kind, severity in steps)
    return name, f"{score:.6f}", person.identity, "test", told


def degrade(
    clean: Bytes, rng: np.random.Generator, transforms: dict[str, Transform]
) -> tuple[Bytes, list[tuple[str, float]]]:
    """(picture, [(kind, severity)]), one kind or two different ones."""
    import torch

    count = 2 if rng.random() < TWO_KINDS else 1
    kinds = rng.choice(list(transforms), count, replace=False)
    steps = [(str(kind), float(rng.random())) for kind in kinds]
    torch.manual_seed(int(rng.integers(2**31)))  # torchvision's transforms draw from torch
    picture = torch.from_numpy(np.array(clean)).permute(2, 0, 1).contiguous()
    for kind, severity in steps:
        picture = transforms[kind](picture, severity)
    return picture.permute(1, 2, 0).contiguous().numpy(), steps


def _transforms() -> dict[str, Transform]:
    """From nothing at severity 0 to hardly a face at 1."""
    load_timm()  # makes torchvision importable beside any torch
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as F

    def smaller(picture: Any, severity: float) -> Any:
        side = picture.shape[-1]
        low = F.resize(picture, [max(round(side * (1 - severity) + side / 12 * severity), 8)] * 2)
        return F.resize(low, [side, side])

    def blur(picture: Any, severity: float) -> Any:
        sigma = 0.1 + severity * picture.shape[-1] / 40
        return F.gaussian_blur(picture, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)

    def noise(picture: Any, severity: float) -> Any:
        noisy = F.gaussian_noise(picture / 255.0, 0.0, 0.3 * severity)
        return (noisy * 255).round().byte()

    def erase(picture: Any, severity: float) -> Any:
        if severity < 0.02:  # RandomErasing knows no smaller share
            return picture
        share = 0.5 * severity
        return v2.RandomErasing(1.0, (share, share), (0.7, 1.4), "random")(picture)

    return {
        "blur": blur,
        "smaller": smaller,
        "noise": noise,
        "jpeg": lambda picture, severity: F.jpeg(picture, round(95 - 92 * severity)),
        "dark": lambda picture, severity: F.adjust_brightness(picture, 1 - 0.92 * severity),
        "bright": lambda picture, severity: F.adjust_brightness(picture, 1 + 2.5 * severity),
        "flat": lambda picture, severity: F.adjust_contrast(picture, 1 - 0.9 * severity),
        "few_colours": lambda picture, severity: F.posterize(picture, round(8 - 7 * severity)),
        "erase": erase,
    }


if __name__ == "__main__":
    raise SystemExit(main())

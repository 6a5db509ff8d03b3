"""Label sets of a few tiny pictures, and networks small enough to train on them in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from train.portraits import draw_portrait

TINY = "mobilenetv4_conv_small_035"


def make_set(folder: Path, people: int, offset: int = 0, splits: bool = True) -> Path:
    """Pictures whose quality is their contrast: four of each person."""
    folder.mkdir()
    rng = np.random.default_rng(offset)
    rows = ["image,score,identity" + (",split" if splits else "")]
    for person in range(offset, offset + people):
        for index, score in enumerate((0.1, 0.4, 0.7, 0.95)):
            noise = rng.normal(0, 100 * score, (40, 40, 3))
            pixels = np.clip(128 + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{person}_{index}.png")
            split = ("," + ("val" if person % 3 == 0 else "train")) if splits else ""
            rows.append(f"{person}_{index}.png,{score},p{person}{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_portraits(folder: Path, people: int, test_every: int) -> Path:
    """Clean drawn portraits, every so many of them for the test; gives the CSV beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,identity,split,crop"]
    for number in range(people):
        Image.fromarray(draw_portrait(number, 0, 0, 112).image).save(folder / f"{number}.png")
        split = "test" if number % test_every == 0 else "train"
        rows.append(f"{number}.png,p{number},{split},0 0 112")
    boxes = folder / "boxes.csv"
    boxes.write_text("\n".join(rows) + "\n")
    return boxes

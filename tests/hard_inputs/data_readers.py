"""Pictures, and label sets of every kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from fiqa.contract import Box, PreprocessSpec, check_picture, load_picture
from fiqa.labels import read_labels
from fiqa.sources import read_sources
from tests.hard_inputs import damage, fields
from tests.hard_inputs.reader import Reader, rewrite, write

# ---------------------------------------------------------------- pictures

PICTURES = {
    "jpg": {}, "png": {}, "webp": {}, "bmp": {}, "gif": {}, "tiff": {"compression": "tiff_lzw"},
    "ppm": {}, "jp2": {}, "avif": {}, "tif": {"compression": "jpeg"},
}  # fmt: skip


def make_pictures(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = []
    for ending, options in PICTURES.items():
        paths.append(folder / f"a.{ending}")
        extra = {"exif": exif} if ending in ("jpg", "webp", "png") else {}
        Image.fromarray(pixels).save(paths[-1], **options, **extra)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        paths.append(folder / f"{mode.replace(';', '')}.png")
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
        (picture if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save(paths[-1])
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels).save(folder / "progressive.jpg", progressive=True)
    frames = [Image.fromarray(pixels // n) for n in (2, 3)]
    Image.fromarray(pixels).save(folder / "moving.gif", save_all=True, append_images=frames)
    return [*paths, folder / "cmyk.jpg", folder / "progressive.jpg", folder / "moving.gif"]


def read_picture(path: Path) -> object:
    check_picture(path.read_bytes(), path.name)
    return PreprocessSpec(size=16).to_bytes(load_picture(path), Box(8, 8, 9, 9)).sum()


# ---------------------------------------------------------------- label sets


def _faces(folder: Path, names: Sequence[str]) -> None:
    rng = np.random.default_rng(1)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name)


NAMES = [f"{number}.png" for number in range(6)]
HEADER = "image,score,identity,split,box,weight,steps\n"
ROW = "{0}.png,0.{0},p{0},train,2 2 10 10,1.5,jpeg:0.4 noise:0.2\n"


def make_label_files(folder: Path) -> list[Path]:
    """With a header, without, GFIQA-20k, and a folder with a dataset.json of ours."""
    _faces(folder, [*NAMES, *(f"g/image/{n}" for n in NAMES), *(f"d/{n}" for n in NAMES)])
    rows = "".join(map(ROW.format, range(6)))
    files = {
        "full.csv": HEADER + rows,
        "short.csv": HEADER.replace("image", "bioguide") + rows.replace("2 2 10 10", ""),
        "columns.csv": "path;mos;x;y;w;h\n" + "".join(f"{n};{n}0;1;1;9;9\n" for n in range(6)),
        "bare.csv": "".join(f"{n},{50 + n}\n" for n in range(6)),
        "g/mos_val_rating.csv": "img_name,mos\n" + "".join(f"{n}.png,0.{n}\n" for n in range(6)),
        "d/labels.csv": HEADER + rows,
        "d/dataset.json": json.dumps({"schema": 1, "root": "", "people": {"a": [1]}}),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def change_label_file(path: Path, rng: Random) -> None:
    change = damage.json_changed if path.suffix == ".json" else damage.csv_changed
    write(path, change(path.read_bytes(), rng))


def read_label_file(path: Path) -> object:
    from train.recorded_steps import read_kinds

    source = path.parent if path.parent.name in ("g", "d") else path
    found = [one.path for one in read_sources(source, None)]
    for scored in (True, False):
        labels = read_labels(source, scored=scored, skip_bad=True)
        labels.record("train")
        labels.with_splits({"train": 0.5, "val": 0.5})
    return found, read_kinds(source)


def make_parquet(folder: Path) -> list[Path]:
    import pyarrow
    from pyarrow import parquet

    _faces(folder, [*NAMES, *(f"shards/{name}" for name in NAMES)])
    table = pyarrow.table(
        {
            "image": NAMES, "score": [0.1 * n for n in range(6)], "identity": list("abcdef"),
            "split": ["train"] * 6, "box": ["2 2 10 10"] * 6, "weight": [1.0] * 6,
            "steps": ["jpeg:0.5"] * 6,
        }
    )  # fmt: skip
    parquet.write_table(table, folder / "a.parquet")
    (folder / "shards").mkdir(exist_ok=True)
    parquet.write_table(table, folder / "shards" / "b.parquet", compression="zstd")
    return [folder / "a.parquet", folder / "shards" / "b.parquet"]


def change_parquet(path: Path, rng: Random) -> None:
    """One column of another name or type, or one cell of it."""
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path)
    place = rng.randrange(table.num_columns)
    name, values = table.column_names[place], table.column(place).to_pylist()
    way = rng.randrange(4)
    if way == 0:
        names = [*table.column_names]
        names[place] = rng.choice(("", "image", "Score", "x" * 9000, "\0", "path"))
        table = table.rename_columns(names)
    elif way == 1:
        table = table.remove_column(place)
    else:
        hostile = rng.choice(
            (None, b"\xff\xfe", [1, 2], {"a": 1}, 2**62, -1.0, float("nan"), True, "x" * 100_000,
             "../a.png", "\0", "é" * 200, "1 2 3 4 5", "1e400 0 1 1")
        )  # fmt: skip
        changed = [hostile] * len(values) if way == 2 else [*values[:-1], hostile]
        try:
            column = pyarrow.array(changed)
        except pyarrow.ArrowException:
            column = pyarrow.array([hostile] * len(values))
        table = table.set_column(place, name, column)
    parquet.write_table(table, path)


def read_parquet(path: Path) -> object:
    return read_label_file(path if path.parent.name != "shards" else path.parent)


READERS = {
    "pictures": Reader(make_pictures, rewrite(fields.picture_changed), read_picture),
    "labels": Reader(make_label_files, change_label_file, read_label_file),
    "parquet": Reader(make_parquet, change_parquet, read_parquet),
}

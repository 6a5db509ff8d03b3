"""A folder with every file that the pages' cheap commands name: tiny models, few pictures."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

from edge_bench.result import write_result
from fiqa.contract import PreprocessSpec
from tests.doubles import bench_results, picture_sets, tiny_models
from tests.doubles.checkpoints import save_network
from tests.doubles.page_commands import REPOSITORY
from tests.doubles.photos import photo
from tests.doubles.tiny_sets import TINY
from train.network import QualityNet

SIZE = 32  # pixels, of the checkpoint
FLOAT = ("MODEL", "FLOAT", "student.tflite", "float.tflite", "build/student.tflite",
         "build/demo/student.tflite")  # fmt: skip
INTEGER = ("INT8", "int8.tflite", "student_int8.tflite", "build/int8.tflite")
LABELS = ("LABELS", "faces.csv", "val.csv", "data/faces.csv")
BENCHES = ("bench.json", "phone.json", "board.json", "old.json", "new.json", "pi.json", "app.json")


def make_world(folder: Path) -> None:
    for name in ("build/demo", "data", "faces", "photos", "pictures"):
        (folder / name).mkdir(parents=True)
    for name in FLOAT:
        tiny_models.write_tflite(folder / name)
    for name in INTEGER:
        tiny_models.write_tflite(folder / name, "uint8")
    shutil.copytree(REPOSITORY / "models", folder / "models")
    _write_labels(folder)
    face = photo(320, 240, [(80, 40)])
    for name in ("photo.jpg", "a.jpg", "b.jpg", "faces/a.png", "faces/b.png", "photos/party.png"):
        Image.fromarray(face).save(folder / name)
    (folder / "people.csv").write_text("image,score\nparty.png,0.5\n")
    save_network(folder / "runs" / "student", QualityNet(TINY, SIZE), PreprocessSpec(size=SIZE))
    result = bench_results.result()
    for name in BENCHES:
        write_result(folder / name, result)


def _write_labels(folder: Path) -> None:
    """The same pictures under every name, from wherever the list lies."""
    labels = picture_sets.write_set(folder / "pictures", people=30)
    with open(labels, newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    for name in LABELS:
        path = folder / name
        for row in rows[1:]:
            shutil.copy(folder / "pictures" / Path(row[0]).name, path.parent)
        path.write_text("".join(",".join(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "world"
    make_world(folder)
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world to work in."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    return folder

"""quantize.verify: a verdict a split on any pair of artifacts, and its exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ai_edge_litert", reason="needs the extra `litert`")

from quantize import verify
from tests.doubles import tiny_models

SIDE = 16  # of the tiny models


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that the tiny model tells apart, labelled by its own scores and some noise."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    light = rng.integers(0, 256, (160, 1, 1, 3))
    pictures = np.broadcast_to(light, (160, SIDE, SIDE, 3)).astype(np.uint8)
    scores = tiny_models.expected_score(pictures)
    noise = rng.normal(0, 0.1 * scores.std(), len(scores))
    labels = (scores + noise - scores.min()) / np.ptp(scores)
    with open(folder / "labels.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "score", "identity", "split"])
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            Image.fromarray(picture).save(folder / f"{number}.png")
            split = ("train", "val", "val_ood", "test")[number % 4]
            person = f"{split}-{number % 10}"
            writer.writerow([f"{number}.png", np.clip(label, 0, 1), person, split])
    tiny_models.write_tflite(folder / "float.tflite", "float32")
    tiny_models.write_tflite(folder / "uint8.tflite", "uint8")
    return folder


def run(world: Path, *arguments: object) -> int:
    return verify.main([*map(str, arguments), "--data", str(world / "labels.csv"), "--quiet"])


def test_pair_passes_on_both_validation_splits(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world, world / "float.tflite", world / "uint8.tflite", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["verdicts"]) == ["val", "val_ood"]
    assert {one["status"] for one in document["verdicts"].values()} == {"pass"}
    assert document["verdicts"]["val"]["count"] == 40


def test_failure_exits_1_and_shows_the_figures(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_models.write_tflite(tmp_path / "m.tflite", "uint8", sign=-1)
    assert run(world, world / "float.tflite", other, "--split", "test") == 1
    text = capsys.readouterr().out
    assert "test: FAIL" in text
    assert "SRCC, PLCC" in text


def test_pictures_without_scores_are_judged_by_agreement(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = world / "plain.csv"
    plain.write_text("image\n" + "".join(f"{number}.png\n" for number in range(160)))
    arguments = [world / "float.tflite", world / "uint8.tflite", "--data", plain, "--quiet"]
    assert verify.main(list(map(str, arguments))) == 0
    assert "no labels" in capsys.readouterr().out

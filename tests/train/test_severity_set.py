"""The outside recipe: worse with severity, labelled by it, test people only, the same each time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="needs the extra `train`")

from fiqa.labels import read_labels
from tests.doubles.tiny_sets import write_portraits
from train import severity_set


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("severity")
    boxes = write_portraits(folder / "faces", people=6, test_every=2)
    assert severity_set.main(command(folder, boxes, "first")) == 0
    return folder


def command(folder: Path, boxes: Path, out: str) -> list[str]:
    return ["--faces", str(folder / "faces"), "--boxes", str(boxes), "--out", str(folder / out),
            "--per-identity", "8", "--size", "96", "--quiet"]  # fmt: skip


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "labels.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def test_only_test_people_are_shown_and_scores_are_what_severity_leaves(made: Path) -> None:
    labels = read_labels(made / "first")
    with open(made / "faces" / "boxes.csv", newline="") as handle:
        kept = {row["identity"] for row in csv.DictReader(handle) if row["split"] == "test"}
    assert {row.identity for row in labels.rows} == kept
    assert len(labels) == 8 * len(kept)
    for row in rows_of(made / "first"):
        steps = [float(step.split(":")[1]) for step in row["steps"].split()]
        assert float(row["score"]) == pytest.approx(np.prod([1 - s for s in steps]), abs=0.011)


def test_same_command_gives_the_same_pictures(made: Path) -> None:
    assert severity_set.main(command(made, made / "faces" / "boxes.csv", "again")) == 0
    assert (made / "first" / "labels.csv").read_bytes() == (
        made / "again" / "labels.csv"
    ).read_bytes()
    for path in (made / "first" / "images").iterdir():
        assert path.read_bytes() == (made / "again" / "images" / path.name).read_bytes()


@pytest.mark.parametrize("kind", severity_set._transforms())
def test_every_kind_takes_more_away_the_more_severe_it_is(kind: str) -> None:
    import torch

    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.integers(40, 216, (1, 3, 16, 16)).astype(np.float32))
    clean = torch.nn.functional.interpolate(coarse, size=96, mode="bilinear")[0].byte()
    transform = severity_set._transforms()[kind]
    torch.manual_seed(0)
    errors = [
        float((transform(clean, severity).float() - clean.float()).pow(2).mean())
        for severity in (0.0, 0.3, 0.6, 1.0)
    ]
    assert errors[0] < 30
    assert errors == sorted(errors)
    assert errors[-1] > 100 + 2 * errors[0]


def test_set_without_test_people_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (made / "faces" / "boxes.csv").read_text().replace("test", "train")
    (made / "train.csv").write_text(text)
    assert severity_set.main(command(made, made / "train.csv", "none")) == 2
    assert "no test people" in capsys.readouterr().err
    assert not (made / "none").exists()


def test_only_an_earlier_set_is_replaced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = made / "mine"
    (mine / "holiday").mkdir(parents=True)
    assert severity_set.main([*command(made, made / "none.csv", "mine"), "--overwrite"]) == 2
    assert "holds no dataset.json" in capsys.readouterr().err
    assert (mine / "holiday").is_dir()


@pytest.mark.parametrize("wrong", [("--size", "4"), ("--seed", "-1"), ("--per-identity", "0")])
def test_numbers_out_of_range_are_named(
    made: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = made / "faces" / "boxes.csv"
    assert severity_set.main([*command(made, boxes, "wrong"), *wrong]) == 2
    assert " is ".join(wrong) in capsys.readouterr().err

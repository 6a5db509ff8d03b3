"""Portraits cut into labelled, u1 and u2: nobody stands in two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fiqa.labels import Row, read_labels
from tests.doubles.tiny_sets import write_portraits
from train import portrait_sets


@pytest.fixture
def portraits(tmp_path: Path) -> Path:
    boxes = write_portraits(tmp_path, people=40, test_every=10)
    rows = boxes.read_text().splitlines()
    boxes.write_text("\n".join([*rows[:-1], rows[-1].replace("112", "50")]) + "\n")
    return tmp_path


def make(portraits: Path, out: Path) -> int:
    return portrait_sets.main(
        ["--faces", str(portraits), "--boxes", str(portraits / "boxes.csv"), "--out", str(out),
         "--per-identity", "3", "--size", "112", "--quiet"]
    )  # fmt: skip


def test_sets_show_different_people_and_small_faces_are_left_out(
    portraits: Path, tmp_path: Path
) -> None:
    assert make(portraits, tmp_path / "out") == 0
    people = {}
    for name in portrait_sets.SETS:
        labels = read_labels(tmp_path / "out" / name)
        people[name] = {row.identity for row in labels.rows}
        if name == "labelled":
            splits = {row.identity: row.split.split("_")[0] for row in labels.rows}
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 39
    assert {identity for identity, split in splits.items() if split == "test"} == {
        "p0", "p10", "p20", "p30",
    }  # fmt: skip
    assert {"train", "val", "test"} == set(splits.values())


def test_finished_sets_are_not_made_again(portraits: Path, tmp_path: Path) -> None:
    assert make(portraits, tmp_path / "out") == 0
    record = tmp_path / "out" / "u1" / "dataset.json"
    before = record.stat().st_mtime_ns
    assert make(portraits, tmp_path / "out") == 0
    assert record.stat().st_mtime_ns == before


def test_collection_without_test_people_is_refused(
    portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = portraits / "boxes.csv"
    boxes.write_text(boxes.read_text().replace(",test,", ",train,"))
    assert make(portraits, tmp_path / "out") == 2
    assert "keeps nobody for the test" in capsys.readouterr().err


def test_sets_made_with_other_settings_are_not_taken_for_these(
    portraits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "labelled").mkdir(parents=True)
    settings = {"per_identity": 3, "size": 112, "seed": 7}
    (out / "labelled" / "dataset.json").write_text(json.dumps({"settings": settings}))
    assert make(portraits, out) == 2
    assert "made otherwise: seed differ" in capsys.readouterr().err


def test_pictures_of_unknown_people_are_shared_out_one_by_one() -> None:
    rows = [Row(line, f"{line}.png") for line in range(40)]
    assert {portrait_sets.set_of(row) for row in rows} == set(portrait_sets.SETS)
    assert {portrait_sets.split_of(row) for row in rows} == {"train", "val"}


def test_portraits_without_a_box_are_measured_whole(portraits: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 200)).save(portraits / "thin.png")
    boxes = portraits / "boxes.csv"
    boxes.write_text(boxes.read_text() + "thin.png,thin,test,\n")
    assert make(portraits, tmp_path / "out") == 0
    labels = read_labels(tmp_path / "out" / "labelled")
    assert "thin" not in {row.identity for row in labels.rows}

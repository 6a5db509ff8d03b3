"""Portraits cut into labelled, u1 and u2: nobody stands in two of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiqa.labels import read_labels
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

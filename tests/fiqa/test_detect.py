"""python -m fiqa.detect: boxes that a label set takes, one document, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiqa import detect
from fiqa.labels import read_labels
from tests.doubles.photos import photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos with no, one and two faces, one of them in a folder of its own."""
    (tmp_path / "photos" / "party").mkdir(parents=True)
    save(tmp_path / "photos" / "empty.png", np.full((200, 200, 3), 99, np.uint8))
    save(tmp_path / "photos" / "one.png", photo(300, 240, [(40, 30)]))
    two = photo(600, 300, [(20, 30), (330, 60)], side=200)
    save(tmp_path / "photos" / "party" / "two.png", two)
    return tmp_path


def save(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_folder_becomes_boxes_that_a_label_set_takes(folder: Path) -> None:
    out = folder / "boxes.csv"
    assert detect.main([str(folder / "photos"), "--out", str(out), "--quiet"]) == 0
    labels = read_labels(out, root=folder / "photos", scored=False)
    assert [row.image for row in labels.rows] == ["one.png", "party/two.png", "party/two.png"]
    assert all(row.box and row.box.width > 50 for row in labels.rows)
    assert out.read_text().splitlines()[0] == "image,box,confidence"


def test_document_counts_faces_and_pictures_without(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert detect.main([str(folder / "photos"), "--json", "--quiet"]) == 0
    found = document(capsys)
    assert (found["count"], found["faces"], found["without"], found["failed"]) == (3, 3, 1, 0)


def test_largest_takes_one_face_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect.main([str(folder / "photos"), "--largest", "--json", "--quiet"]) == 0
    assert document(capsys)["faces"] == 2


def test_what_a_list_says_of_its_pictures_is_kept(folder: Path) -> None:
    people = folder / "people.csv"
    people.write_text(
        "image,identity,split,score\none.png,Ann,train,0.5\nparty/two.png,Bo,test,1\n"
    )
    out = folder / "boxes.csv"
    arguments = [str(people), "--root", str(folder / "photos"), "--largest", "--out", str(out)]
    assert detect.main(arguments) == 0
    labels = read_labels(out, root=folder / "photos", scale=(0, 1))
    assert [(row.identity, row.split, row.score) for row in labels.rows] == [
        ("Ann", "train", 0.5),
        ("Bo", "test", 1.0),
    ]


def test_unreadable_picture_is_told_and_the_rest_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photos" / "bad.jpg").write_bytes(b"no picture")
    assert detect.main([str(folder / "photos"), "--json", "--quiet"]) == 1
    found = document(capsys)
    assert (found["faces"], found["failed"], found["without"]) == (3, 1, 1)


def test_no_face_at_all_exits_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "boxes.csv"
    assert detect.main([str(folder / "photos" / "empty.png"), "--out", str(out)]) == 1
    assert capsys.readouterr().out.startswith("no face")
    assert not out.exists()


def test_existing_boxes_are_kept_unless_told(folder: Path) -> None:
    out = folder / "boxes.csv"
    out.write_text("mine")
    arguments = [str(folder / "photos" / "one.png"), "--out", str(out)]
    assert detect.main(arguments) == 2
    assert out.read_text() == "mine"
    assert detect.main([*arguments, "--overwrite"]) == 0


def test_drawing_frames_the_face_and_leaves_the_rest(folder: Path) -> None:
    out = folder / "drawn.png"
    assert detect.main([str(folder / "photos" / "one.png"), "--draw", str(out)]) == 0
    before = np.asarray(Image.open(folder / "photos" / "one.png"))
    drawn = np.asarray(Image.open(out))
    assert drawn.shape == before.shape
    changed = np.argwhere((drawn != before).any(axis=2))
    top, left = changed.min(axis=0)
    bottom, right = changed.max(axis=0)
    assert 40 < left < right < 200
    assert 20 < top < bottom < 190
    assert len(changed) < 0.4 * (right - left) * (bottom - top)

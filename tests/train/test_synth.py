"""The set as a whole: reproducible from numbers, people kept apart, whole or absent."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from fiqa.contract import Square
from fiqa.errors import LabelError
from fiqa.files import sha256_bytes, sha256_file
from fiqa.labels import Row, read_labels
from train import samples, synth
from train.clean_faces import (
    DrawnPerson,
    PortraitPerson,
    drawn_people,
    face_ellipse,
    portrait_people,
)
from train.degrade import KINDS
from train.reference import compare
from train.samples import (
    CLEAN_INDEX,
    WORTH_WORKERS,
    PictureSettings,
    Plan,
    file_stem,
    make_all,
    make_sample,
    split_of,
)
from train.synth import main

ROOT = Path(__file__).parents[2]


def draw_portraits(folder, count=6, side=130):
    """Files that decode, differ and are large enough; nobody needs to look at them."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (9, 9, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (side, side + 20), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"p{number}.png"), np.clip(picture, 0, 255).astype(np.uint8))
    return folder


def write_boxes(path, rows, columns="image,box,identity,split"):
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


@pytest.fixture
def portraits(tmp_path):
    return draw_portraits(tmp_path / "faces")


def make(out, *extra, per_identity="9", size="96", workers="1"):
    arguments = ["--out", str(out), "--size", size, "--per-identity", per_identity]
    return main([*arguments, "--workers", workers, "--quiet", *extra])


def read_rows(folder):
    with open(folder / "labels.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- one sample -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["drawn", "portrait"])
def test_sample_depends_on_identity_index_seed_and_group_alone(source, portraits):
    if source == "drawn":
        person = DrawnPerson(3)
    else:
        person = PortraitPerson(portraits, (Row(2, "p1.png"), Row(3, "p2.png")))
    first = make_sample(person, "ann", 4, 0, "trained", 96)
    make_sample(person, "ann", 5, 0, "trained", 96)
    again = make_sample(person, "ann", 4, 0, "trained", 96)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.measures == again.measures
    for changed in (("ann", 5, 0), ("ann", 4, 1), ("bob", 4, 0)):
        other = make_sample(person, *changed, "trained", 96)
        assert other.degraded.steps != first.degraded.steps


def test_a_picture_that_lost_everything_is_drawn_again(
    portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All black is the same picture for all people, and no label set may hold it twice."""
    first = iter([np.zeros((96, 96, 3), np.uint8)])

    def degrade_to_black(image, *rest):  # type: ignore[no-untyped-def]
        return samples.Degraded(next(first, image), ())

    monkeypatch.setattr(samples, "degrade", degrade_to_black)
    person = PortraitPerson(portraits, (Row(2, "p1.png"),))
    assert make_sample(person, "ann", 4, 0, "trained", 96).image.std() > 5


def test_sample_is_labelled_against_its_own_clean_source(portraits):
    sample = make_sample(PortraitPerson(portraits, (Row(2, "p1.png"),)), "ann", 1, 0, "trained", 96)
    measured = compare(sample.clean.image, sample.image, sample.clean.face)
    assert sample.score == measured.score < 1
    untouched = make_sample(
        PortraitPerson(portraits, (Row(2, "p1.png"),)), "ann", CLEAN_INDEX, 0, "trained", 96
    )
    np.testing.assert_array_equal(untouched.image, untouched.clean.image)
    assert untouched.score == pytest.approx(1, abs=1e-5)


def test_portraits_are_cut_inside_the_given_crop_and_shaken(tmp_path):
    picture = np.zeros((200, 240, 3), np.uint8)
    picture[50:170, 60:180] = (0, 200, 0)  # the crop is green, all around is black
    picture[50:170, 60:120, 2] = 90  # in the file blue, green, red: the left half is tinted
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    person = PortraitPerson(tmp_path, (Row(2, "a.png", crop=Square(60, 50, 120)),))
    cuts = [person.clean("a", index, 0, 96).image for index in range(12)]
    for cut in cuts:
        assert cut[8:-8, 8:-8, 1].min() > 150
    assert len({cut.tobytes() for cut in cuts}) > 8
    left_tinted = [cut[48, 20, 0] > cut[48, 75, 0] for cut in cuts]
    assert {True, False} == set(left_tinted)  # mirrored or not


def test_face_ellipse_weighs_the_middle_and_not_the_corners():
    face = face_ellipse(160)
    assert face.shape == (160, 160)
    assert face[80, 80] == 1
    assert face[0, 0] == face[80, 0] == 0
    assert 0.2 < face.mean() < 0.35
    np.testing.assert_allclose(face, face[:, ::-1], atol=1e-6)


# --- sides and splits -------------------------------------------------------------------------


def test_no_two_clean_pictures_of_a_drawn_person_are_the_same():
    (person,) = drawn_people(1, 0.25, 0)
    cleans = [person.source.clean(person.identity, index, 0, 96) for index in range(6)]
    assert len({clean.image.tobytes() for clean in cleans}) == 6
    np.testing.assert_array_equal(cleans[0].image[:, ::-1], cleans[1].image)
    np.testing.assert_array_equal(cleans[0].face[:, ::-1], cleans[1].face)


def test_each_seed_draws_other_people():
    names = [{person.identity for person in drawn_people(9, 0.25, seed)} for seed in (0, 1)]
    assert not names[0] & names[1]


def test_drawn_people_keep_their_side_whatever_the_count():
    few, many = drawn_people(40, 0.25, 0), drawn_people(400, 0.25, 0)
    assert [(p.identity, p.side) for p in few] == [(p.identity, p.side) for p in many[:40]]
    sides = [person.side for person in many]
    assert sides.count("val") == pytest.approx(100, abs=2)
    assert sides.count("test") == pytest.approx(100, abs=2)


def test_default_set_has_a_thousand_val_pictures():
    people = drawn_people(synth.PEOPLE, synth.EVAL_SHARE, 0)
    splits = [split_of(p.side, i) for p in people for i in range(synth.PER_PERSON)]
    assert splits.count("val") >= 1000
    assert splits.count("val_ood") >= 500
    assert splits.count("train") >= 3000


def test_given_splits_are_kept_and_val_is_cut_out_of_train(tmp_path):
    folder = draw_portraits(tmp_path / "faces", 60)
    rows = [f"p{n}.png,,person{n},{'test' if n < 15 else 'train'}" for n in range(60)]
    labels = read_labels(write_boxes(tmp_path / "b.csv", rows), root=folder, scored=False)
    sides = {person.identity: person.side for person in portrait_people(labels, 96, 0.25, None)}
    assert {n for n in range(60) if sides[f"person{n}"] == "test"} == set(range(15))
    assert 4 <= list(sides.values()).count("val") <= 20
    fewer = {person.identity: person.side for person in portrait_people(labels, 96, 0.25, 20)}
    assert len(fewer) == 20
    assert fewer.items() <= sides.items()


def test_given_val_split_is_left_alone(tmp_path, portraits):
    splits = ["train", "train", "train", "val", "val", "test"]
    rows = [f"p{n}.png,,person{n},{split}" for n, split in enumerate(splits)]
    labels = read_labels(write_boxes(tmp_path / "b.csv", rows), root=portraits, scored=False)
    assert [person.side for person in portrait_people(labels, 96, 0.45, None)] == splits


# --- the written set --------------------------------------------------------------------------


def test_set_is_complete_consistent_and_readable_as_labels(tmp_path, portraits):
    out = tmp_path / "set"
    assert make(out, "--faces", str(portraits), "--eval-share", "0.3") == 0
    rows = read_rows(out)
    assert len(rows) == 6 * 9
    labels = read_labels(out / "labels.csv")
    assert len(labels) == len(rows)
    assert labels.scores.min() >= 0
    assert labels.scores.max() == pytest.approx(1, abs=1e-5)
    for row in rows:
        group = row["split"] if "ood" in row["split"] else "trained"
        groups = {KINDS[step.split(":")[0]].group for step in row["steps"].split()}
        assert groups <= {group, "trained"}
        assert group in groups or not groups
        picture = cv2.imread(str(out / row["image"]))
        assert picture.shape == (96, 96, 3)
    sides = defaultdict(set)
    for row in rows:
        sides[row["identity"]].add(row["split"].split("_")[0])
    assert all(len(side) == 1 for side in sides.values())
    assert cv2.imread(str(out / "contact_sheet.png")) is not None


def test_record_proves_the_files(tmp_path, portraits):
    out = tmp_path / "set"
    make(out, "--faces", str(portraits))
    record = json.loads((out / "dataset.json").read_text())
    assert record["schema"] == 1
    assert record["name"] == "set"
    assert record["sha256"]["labels.csv"] == sha256_file(out / "labels.csv")
    images = [row["image"] for row in read_rows(out)]
    lines = "".join(f"{sha256_file(out / image)}  {image}\n" for image in images)
    assert record["sha256"]["images"] == sha256_bytes(lines.encode())
    assert sum(part["pictures"] for part in record["splits"].values()) == 54
    assert record["settings"]["identities"] == 6
    assert set(record["kinds"]) == {"trained", "val_ood", "test_ood"}
    assert str(tmp_path) not in (out / "dataset.json").read_text()


def test_set_is_the_same_with_one_worker_or_two_and_holds_any_smaller_one(tmp_path, portraits):
    one, two, small = (tmp_path / name / "set" for name in ("one", "two", "small"))
    faces = ("--faces", str(portraits))
    make(one, *faces, per_identity="20")
    make(two, *faces, per_identity="20", workers="2")
    make(small, *faces, per_identity="4")  # so small that it's made without workers
    assert 6 * 4 < WORTH_WORKERS < 6 * 20
    assert contents(one) == contents(two)
    pictures = {name: data for name, data in contents(small).items() if name.parts[0] == "images"}
    assert pictures.items() <= contents(one).items()


def test_drawn_people_make_a_set(tmp_path, capsys):
    assert make(tmp_path / "set", "--identities", "2", "--json", per_identity="2") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "done"
    assert document["dataset"]["settings"]["source"] == "drawn"
    assert len(read_rows(tmp_path / "set")) == 4


def test_existing_set_is_replaced_only_on_request(tmp_path, portraits, capsys):
    out = tmp_path / "set"
    out.mkdir()
    (out / "dataset.json").write_text("{}")
    (out / "old.txt").write_text("old")
    assert make(out, "--faces", str(portraits)) == 2
    assert (out / "old.txt").exists()
    assert "--overwrite" in capsys.readouterr().err
    assert make(out, "--faces", str(portraits), "--overwrite") == 0
    assert not (out / "old.txt").exists()


def test_portraits_are_never_overwritten_by_their_set(portraits, capsys):
    before = contents(portraits)
    assert make(portraits, "--faces", str(portraits), "--overwrite") == 2
    assert "holds no dataset.json" in capsys.readouterr().err
    assert contents(portraits) == before


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--per-identity", "0"], "--per-identity is 0"),
        (["--size", "64"], "--size is 64"),
        (["--seed", "-1"], "--seed is -1"),
        (["--eval-share", "0.6"], "--eval-share is 0.6"),
        (["--eval-share", "nan"], "--eval-share is nan"),
        (["--boxes", "boxes.csv"], "without --faces"),
        (["--faces", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, capsys, extra, told):
    assert main(["--out", str(tmp_path / "set"), *extra]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_small_and_unreadable_portraits_are_named(tmp_path, capsys):
    folder = draw_portraits(tmp_path / "faces", 3, side=50)
    assert make(tmp_path / "set", "--faces", str(folder)) == 2
    told = capsys.readouterr().err
    assert "p0.png: 50 px" in told
    assert "at least 58 px" in told
    (folder / "p1.png").write_bytes(b"no picture")
    assert make(tmp_path / "set", "--faces", str(folder)) == 2
    assert "p1.png" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_portrait_whose_name_is_no_text_is_named(tmp_path, capsys):
    folder = draw_portraits(tmp_path / "faces", 3)
    os.rename(folder / "p1.png", os.fsencode(folder) + b"/p\xff.png")
    assert make(tmp_path / "set", "--faces", str(folder)) == 2
    assert "is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_small_faces_in_large_pictures_are_told_by_their_box(tmp_path):
    folder = draw_portraits(tmp_path / "faces", 1, side=400)
    boxes = write_boxes(tmp_path / "b.csv", ["p0.png,100 100 20 30,a,train"])
    labels = read_labels(boxes, root=folder, scored=False)
    with pytest.raises(LabelError, match=r"p0\.png: 44 px"):
        portrait_people(labels, 96, 0.25, None)


def test_file_names_are_safe_and_distinct():
    assert file_stem("A000014") == "A000014"
    names = ["a/b", "a_b", "a b", "..", ".x", "é", "x" * 90, "x" * 91, ""]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(stems)
    assert all("/" not in stem and not stem.startswith(".") for stem in stems)


def test_failure_in_the_middle_leaves_nothing(tmp_path, portraits, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synth, "write_labels", broken)
    assert make(tmp_path / "set", "--faces", str(portraits)) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


def test_rows_come_in_order_of_people_and_index(tmp_path, portraits):
    labels = read_labels(portraits, scored=False)
    plan = Plan(tuple(portrait_people(labels, 96, 0.25, None)), 2, PictureSettings(0, 96))
    rows = list(make_all(plan, tmp_path, workers=1))
    names = [row.image for row in rows]
    assert names == [f"images/p{n}_{index:03d}.png" for n in range(6) for index in range(2)]


@contextmanager
def heeding_interrupts():
    """Processes started meanwhile heed Ctrl-C, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_leaves_no_half_made_set(tmp_path, portraits):
    command = [sys.executable, "-m", "train.synth", "--out", str(tmp_path / "set"), "--faces"]
    command += [str(portraits), "--per-identity", "1000", "--workers", "2", "--quiet"]
    with heeding_interrupts():
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob(".set.*/images/*.png")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to workers as well
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told.strip() == "interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]

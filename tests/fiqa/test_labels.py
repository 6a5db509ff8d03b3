"""Label sets: every layout that is read, and every bad row that is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiqa.contract import Box, Square
from fiqa.errors import InputError, LabelError, ToolkitError
from fiqa.labels import LabelSet, draw_split, read_labels, side_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six different pictures, 40 x 30."""
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def write(root: Path, text: str, name: str = "labels.csv") -> Path:
    (root / name).write_text(text)
    return root / name


def reasons(path: Path, **options: object) -> str:
    with pytest.raises(LabelError) as caught:
        read_labels(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_csv_with_header_is_read_whole(root: Path) -> None:
    path = write(
        root,
        "score,image,identity,split,box,weight\n"
        "0.25,0.png,anna,train,5 6 20 20,2\n"
        '1,1.png,ben,validation,"[5, 6, 20, 20]",\n'
        "0,2.png,cleo,test,,1\n",
    )
    labels = read_labels(path)
    assert labels.scores.tolist() == [0.25, 1.0, 0.0]
    assert [row.split for row in labels.rows] == ["train", "val", "test"]
    assert labels.rows[0].box == labels.rows[1].box == Box(5, 6, 20, 20)
    assert [row.weight for row in labels.rows] == [2.0, 1.0, 1.0]
    assert labels.identities == ["anna", "ben", "cleo"]
    assert labels.select("val").paths == [root / "1.png"]
    record = labels.record("train")
    assert (record.count, record.identities, record.splits["test"]) == (3, 3, 1)


def test_vquala_headerless_csv_is_read_and_names_get_their_ending(root: Path) -> None:
    labels = read_labels(write(root, "0,0.5\n1.png,0.75\n", "train.csv"))
    assert [row.image for row in labels.rows] == ["0.png", "1.png"]
    assert labels.identities is None


def test_gfiqa_folder_is_read_with_its_splits(root: Path) -> None:
    (root / "image").mkdir()
    for number in range(3):
        (root / f"{number}.png").rename(root / "image" / f"{number}.png")
    write(root, "img_name,mos\n0.png,0.1\n1.png,0.2\n", "mos_train_rating.csv")
    write(root, "img_name,mos\n2.png,0.9\n", "mos_val_rating.csv")
    labels = read_labels(root)
    assert sorted(labels.scores.tolist()) == [0.1, 0.2, 0.9]
    assert labels.select("val").rows[0].image == "2.png"


def test_parquet_file_and_shards_are_read(root: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"image": ["0.png", "1.png"], "mos": [10.0, 90.0], "x": [1, 2]})
    parquet.write_table(table, root / "a.parquet")
    assert read_labels(root / "a.parquet").scores.tolist() == [0.1, 0.9]
    parquet.write_table(pa.table({"image": ["2.png"], "mos": [50.0]}), root / "b.parquet")
    assert read_labels(root).scores.tolist() == [0.1, 0.9, 0.5]


def test_a_number_0_in_parquet_is_a_value_like_any_other(root: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    columns = {"image": [0, 1, None], "score": [0.5] * 3, "identity": [0, 1, None],
               "split": [0, 1, None], "x": [0, 3, None], "y": [0, 3, None],
               "w": [20, 20, None], "h": [20, 20, None]}  # fmt: skip
    parquet.write_table(pa.table(columns).slice(0, 2), root / "a.parquet")
    labels = read_labels(root / "a.parquet")
    assert [row.image for row in labels.rows] == ["0.png", "1.png"]
    assert labels.identities == labels.split_names == ["0", "1"]
    assert [row.box for row in labels.rows] == [Box(0, 0, 20, 20), Box(3, 3, 20, 20)]
    parquet.write_table(pa.table(columns | {"image": [0, 1, 2]}), root / "b.parquet")
    last = read_labels(root / "b.parquet").rows[2]
    assert (last.identity, last.split, last.box) == ("", "", None)


def test_damaged_parquet_is_refused(root: Path) -> None:
    pytest.importorskip("pyarrow")
    assert "cannot be read" in reasons(write(root, "PAR1 no", "a.parquet"))


def test_a_name_longer_than_any_file_has_is_a_bad_row(root: Path) -> None:
    path = write(root, f"image,score\n{'x' * 300},1\n0.png,0.5\n")
    assert "File name too long" in reasons(path)


def test_folder_of_pictures_is_an_unlabelled_set(root: Path) -> None:
    labels = read_labels(root, scored=False)
    assert len(labels) == 6
    assert labels.scale is None
    assert math.isnan(labels.rows[0].score)
    assert "no column of scores" in reasons(root)


def test_root_may_be_written_with_dots_and_relative(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "sub").mkdir()
    monkeypatch.chdir(root / "sub")
    write(root, "image,score\n0.png,0.5\nsub/../1.png,0.25\n")
    labels = read_labels("../labels.csv")
    assert [row.image for row in labels.rows] == ["0.png", "1.png"]
    assert len(read_labels("../labels.csv", root="..")) == 2


def test_portrait_crops_are_read_from_separate_columns(root: Path) -> None:
    (root / "lists").mkdir()
    path = write(
        root / "lists", "bioguide,split,crop_x0,crop_y0,crop_side\n0,train,3,2,20\n1,test,0,0,30\n"
    )
    labels = read_labels(path, root=root, scored=False)
    assert labels.rows[0].crop == Square(3, 2, 20)
    assert [row.image for row in labels.rows] == ["0.png", "1.png"]
    assert labels.identities == ["0", "1"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (["0", "1"], [0, 1]),
        (["1", "3.5"], [0, 0.625]),
        (["12", "90"], [0.12, 0.9]),
    ],
)
def test_scales_are_recognised_and_recorded(
    root: Path, scores: list[str], expected: list[float]
) -> None:
    labels = read_labels(write(root, f"image,score\n0.png,{scores[0]}\n1.png,{scores[1]}\n"))
    assert labels.scores.tolist() == pytest.approx(expected)
    assert labels.scale is not None
    assert not labels.scale.declared


@pytest.mark.parametrize("scores", [("0.5", "3"), ("-1", "1"), ("1", "1"), ("3", "300")])
def test_scales_that_are_not_plain_must_be_declared(root: Path, scores: tuple[str, str]) -> None:
    path = write(root, f"image,score\n0.png,{scores[0]}\n1.png,{scores[1]}\n")
    assert "--scale LOW HIGH" in reasons(path)


def test_declared_scale_is_used_and_held(root: Path) -> None:
    path = write(root, "image,score\n0.png,2\n1.png,7\n")
    labels = read_labels(path, scale=(0, 10))
    assert labels.scores.tolist() == [0.2, 0.7]
    assert labels.scale is not None
    assert labels.scale.declared
    assert "within the declared" in reasons(path, scale=(0, 5))
    with pytest.raises(InputError, match="--scale"):
        read_labels(path, scale=(5, 5))


def test_every_bad_row_is_told_in_one_report(root: Path) -> None:
    (root / "cut.png").write_bytes((root / "3.png").read_bytes()[:200])
    (root / "twin.png").write_bytes((root / "0.png").read_bytes())
    path = write(
        root,
        "image,score,identity,split,box,weight\n"
        "0.png,0.5,anna,train,,\n"
        "none.png,0.5,,,,\n"
        "cut.png,0.5,,,,\n"
        "0.png,0.6,,,,\n"
        "twin.png,0.6,,,,\n"
        "1.png,nan,,,,\n"
        "1.png,good,,,,\n"
        "../outside.png,0.5,,,,\n"
        "/etc/passwd,0.5,,,,\n"
        "2.png,0.5,,,1 2 3,\n"
        "4.png,0.5,,,900 2 3 3,\n"
        "3.png,0.5,anna,test,,\n"
        "5.png,0.5,,,,-1\n"
        ",0.5,,,,\n",
    )
    text = reasons(path)
    for wanted in (
        "13 of 14 rows are bad",
        "row 3: ",
        "none.png does not exist",
        "row 4: cut.png cannot be decoded",
        "row 5: 0.png is the picture of row 2",
        "row 6: twin.png is the picture of row 2",
        "row 7: score is nan",
        "row 8: score 'good' is not a number",
        "row 9: ../outside.png leaves the root",
        "row 10: /etc/passwd leaves the root",
        "row 11: box '1 2 3' has 3 numbers",
        "row 12: box x=900",
        "row 13: identity 'anna' stands in train already, here in test",
        "row 14: weight -1.0 is not above zero",
        "row 15: no picture is named",
        "--skip-bad",
    ):
        assert wanted in text, wanted
    labels = read_labels(path, skip_bad=True)
    assert [row.image for row in labels.rows] == ["0.png"]
    assert labels.record("train").skipped == 13


def test_long_reports_are_cut_after_twenty_rows(root: Path) -> None:
    rows = "".join(f"none{number}.png,0.5\n" for number in range(50))
    text = reasons(write(root, "image,score\n" + rows))
    assert "... and 30 more" in text
    assert text.count("\n  row ") == 20


def test_all_rows_bad_is_an_error_even_when_skipping(root: Path) -> None:
    assert "1 of 1" in reasons(write(root, "image,score\nnone.png,0.5\n"), skip_bad=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"image,score\n", "no rows"),
        (b"a,b,c\n1,2,3\n", "has the columns a, b, c"),
        (b"\xff\xfe\x00image", "UTF-8"),
    ],
)
def test_files_that_are_no_label_set_are_refused(root: Path, content: bytes, message: str) -> None:
    (root / "labels.csv").write_bytes(content)
    assert message in reasons(root / "labels.csv")


def test_byte_order_mark_semicolons_and_backslashes_are_read(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "0.png").rename(root / "sub" / "0.png")
    path = write(root, "\ufeffimage;score\nsub\\0.png;0.5\n1.png;0.25\n")
    assert read_labels(path).rows[0].image == "sub/0.png"


def test_val_may_share_people_with_val_ood_but_not_with_test(root: Path) -> None:
    text = "image,score,identity,split\n0.png,0.5,anna,val\n1.png,0.5,anna,val_ood\n"
    assert len(read_labels(write(root, text))) == 2
    assert side_of("test_ood") == "test"
    assert "stands in val already" in reasons(write(root, text + "2.png,0.5,anna,test\n"))


def test_drawn_splits_keep_people_apart_and_do_not_depend_on_others(root: Path) -> None:
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    drawn = [draw_split(f"person{number}", shares) for number in range(2000)]
    assert drawn.count("train") == pytest.approx(1200, abs=80)
    text = "image,score,identity\n0.png,0.5,anna\n1.png,0.5,anna\n2.png,0.5,ben\n"
    labels: LabelSet = read_labels(write(root, text)).with_splits(shares)
    assert labels.rows[0].split == labels.rows[1].split == draw_split("anna", shares)


def test_hash_changes_with_a_score_and_with_a_pixel(root: Path) -> None:
    path = write(root, "image,score\n0.png,0.5\n1.png,0.25\n")
    first = read_labels(path).sha256
    assert read_labels(path).sha256 == first
    write(root, "image,score\n0.png,0.5\n1.png,0.26\n")
    second = read_labels(path).sha256
    pixels = np.array(Image.open(root / "0.png"))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(root / "0.png")
    assert len({first, second, read_labels(path).sha256}) == 3


def test_missing_root_and_file_say_so(root: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_labels(root / "none.csv")
    path = write(root, "image,score\n0.png,0.5\n")
    with pytest.raises(InputError, match="not a folder"):
        read_labels(path, root=root / "none")


def test_a_folder_with_labels_is_read_as_they_say(root: Path) -> None:
    (root / "images").mkdir()
    for number in range(3):
        (root / f"{number}.png").rename(root / "images" / f"{number}.png")
    write(root, "image,score\nimages/0.png,0.1\nimages/2.png,0.9\n")
    labels = read_labels(root)
    assert labels.scores.tolist() == [0.1, 0.9]
    assert labels.paths == [root / "images/0.png", root / "images/2.png"]
    assert labels.name == root.name


@pytest.mark.parametrize("absolute", [False, True])
def test_dataset_json_says_where_the_pictures_of_a_folder_lie(root: Path, absolute: bool) -> None:
    folder = root / "sets" / "u1"
    folder.mkdir(parents=True)
    write(folder, "image,score\n0.png,0.1\n1.png,0.9\n")
    declared = str(root) if absolute else "../.."
    write(folder, json.dumps({"schema": 1, "root": declared}), "dataset.json")
    assert read_labels(folder).paths == [root / "0.png", root / "1.png"]
    assert read_labels(folder, root=root).paths == [root / "0.png", root / "1.png"]


@pytest.mark.parametrize(
    ("record", "message"),
    [('{"schema": 2}', "schema 2"), ('{"schema": 1, "root": 3}', "root is 3"), ("{", "JSON")],
)
def test_dataset_json_that_cannot_be_followed_is_refused(
    root: Path, record: str, message: str
) -> None:
    write(root, "image,score\n0.png,0.1\n1.png,0.9\n")
    write(root, record, "dataset.json")
    with pytest.raises(ToolkitError, match=message):
        read_labels(root)


def test_a_foreign_dataset_json_and_an_unfinished_folder(root: Path) -> None:
    write(root, "image,score\n0.png,0.1\n1.png,0.9\n")
    write(root, '{"root": "elsewhere", "made_by": "others"}', "dataset.json")
    assert read_labels(root).root == root
    (root / "dataset.json").rename(root / "run.json")
    assert "not finished" in reasons(root)

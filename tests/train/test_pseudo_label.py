"""Pseudo-labels: the scale they get, what is never written, and runs that are cut short."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa.contract import PreprocessSpec, Square
from fiqa.errors import MissingDependencyError
from fiqa.labels import read_labels
from fiqa.logistic import LogisticFit, fit_logistic
from fiqa.manifest import read_manifest, update_manifest
from fiqa.metrics import evaluate_scores

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `train`")

from tests.doubles.checkpoints import save_network  # noqa: E402
from train import pseudo_label, shard_engines  # noqa: E402
from train.network import QualityNet  # noqa: E402
from train.shard_engines import TeacherScores  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = PreprocessSpec(size=32)
LABELLED, UNLABELLED, SHARD = 40, 12, 5  # U1 makes three shards, the last one smaller


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """What a Ray worker gets too: other numbers of threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> QualityNet:
    """Random, but with scores that spread, as a trained teacher's do."""
    torch.manual_seed(0)
    network = QualityNet("mobilenetv3_small_050", SPEC.size).eval()
    torch.nn.init.normal_(network.head.weight, 0, 1.0)
    return network


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, network: QualityNet) -> Path:
    """teacher/, inverted/ (a teacher that ranks the wrong way), labelled/ and u1/."""
    folder = tmp_path_factory.mktemp("material")
    save_network(folder / "teacher", network, SPEC)
    network.head.weight.data.neg_()
    save_network(folder / "inverted", network, SPEC)
    network.head.weight.data.neg_()
    write_pictures(folder / "labelled", LABELLED, seed=1)
    write_pictures(folder / "u1", UNLABELLED, seed=2)
    rng = np.random.default_rng(3)
    for name in ("labelled", "u1"):
        raw = raw_scores(folder, folder / name / "images")
        noise = rng.normal(0, 0.1, len(raw))
        truth = 0.1 + 0.8 / (1 + np.exp(-2 * (raw - raw.mean()) / raw.std())) + noise
        write_labels(folder / name, np.clip(truth, 0, 1))
    return folder


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Noise over one colour each: pictures that a random network tells apart."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        colour, spread = rng.integers(0, 255, 3), rng.uniform(0, 80)
        pixels = np.clip(rng.normal(colour, spread, (48, 56, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number:02d}.png")


def write_labels(folder: Path, scores: np.ndarray) -> None:
    """labels.csv as train.synth writes it; people and crops with it."""
    lines = [
        f"images/{number:02d}.png,{score:.6f},p{number // 2},val,2.25 3 40\n"
        for number, score in enumerate(scores)
    ]
    (folder / "labels.csv").write_text("image,score,identity,split,crop\n" + "".join(lines))


def raw_scores(material: Path, data: Path) -> np.ndarray:
    return TeacherScores(material / "teacher", "cpu")(read_labels(data, scored=False))


def command(material: Path, out: Path, **changes: Any) -> list[str]:
    flags: dict[str, Any] = {
        "teacher": material / "teacher",
        "data": material / "u1",
        "fit": material / "labelled",
        "out": out,
        "shard-size": SHARD,
        "device": "cpu",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()]
    return [*words, "--quiet", "--json"]


def run(material: Path, out: Path, **changes: Any) -> int:
    return pseudo_label.main(command(material, out, **changes))


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def columns(out: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for path in sorted(out.glob("*.parquet")):
        for name, values in parquet.read_table(path).to_pydict().items():
            found.setdefault(name, []).extend(values)
    return found


@pytest.fixture(scope="module")
def finished(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of the local engine."""
    out = tmp_path_factory.mktemp("runs") / "u1"
    assert run(material, out) == 0
    return out


def test_scores_go_through_the_logistic_of_the_labelled_pictures(
    material: Path, finished: Path
) -> None:
    labelled = read_labels(material / "labelled")
    raw = TeacherScores(material / "teacher", "cpu")(labelled)
    expected = fit_logistic(raw, labelled.scores)
    record = json.loads((finished / "dataset.json").read_text())
    assert LogisticFit(**record["logistic"]) == expected
    assert expected.increasing
    figures = evaluate_scores(raw, labelled.scores)
    assert record["fit"]["srcc"] == figures.srcc
    assert record["fit"]["rmse_fitted"] == figures.rmse_fitted
    assert (record["fit"]["count"], record["count"], record["shards"]) == (40, 12, 3)
    written = columns(finished)
    assert written["score"] == np.clip(expected(written["raw_score"]), 0, 1).tolist()
    by_raw = np.argsort(written["raw_score"])
    assert (np.diff(np.array(written["score"])[by_raw]) >= 0).all()


def test_the_folder_is_a_label_set_of_the_same_faces(material: Path, finished: Path) -> None:
    labels, source = read_labels(finished), read_labels(material / "u1")
    assert labels.paths == source.paths
    assert labels.identities == source.identities
    assert {row.crop for row in labels.rows} == {Square(2.25, 3, 40)}
    assert labels.scores.tolist() == columns(finished)["score"]
    assert labels.split_names == [""]  # all of it is for training
    again = TeacherScores(material / "teacher", "cpu")(source)
    np.testing.assert_allclose(columns(finished)["raw_score"], again, rtol=1e-5)


def test_true_scores_are_told_apart_and_never_written(material: Path, finished: Path) -> None:
    truth = read_labels(material / "u1").scores
    written = columns(finished)
    assert set(written) == {"image", "score", "raw_score", "identity", "box", "crop", "weight"}
    assert not set(written["score"] + written["raw_score"]) & set(truth.tolist())
    off = json.loads((finished / "dataset.json").read_text())["truth"]
    figures = evaluate_scores(written["score"], truth)
    assert (off["srcc"], off["plcc"], off["rmse"]) == (figures.srcc, figures.plcc, figures.rmse)
    assert off["mean_absolute"] == pytest.approx(np.abs(truth - written["score"]).mean())


def test_the_same_pictures_without_true_scores_get_the_same_pseudo_labels(
    material: Path, finished: Path, tmp_path: Path
) -> None:
    lines = (material / "u1/labels.csv").read_text().splitlines()
    blind = [",".join([cells[0], *cells[2:]]) for cells in (line.split(",") for line in lines)]
    (tmp_path / "blind.csv").write_text("\n".join(blind))
    out = tmp_path / "out"
    assert run(material, out, data=tmp_path / "blind.csv", root=material / "u1") == 0
    assert columns(out) == columns(finished)
    assert "truth" not in json.loads((out / "dataset.json").read_text())


def test_true_scores_on_another_scale_are_compared_in_the_unit_of_scores(
    material: Path, finished: Path, tmp_path: Path
) -> None:
    data = (material / "u1/labels.csv").read_text().splitlines()
    rows = [line.split(",") for line in data[1:]]
    scaled = [",".join([row[0], f"{100 * float(row[1]):.4f}", *row[2:]]) for row in rows]
    (tmp_path / "mos.csv").write_text("\n".join([data[0], *scaled]))
    assert run(material, tmp_path / "out", data=tmp_path / "mos.csv", root=material / "u1") == 0
    ours, theirs = (
        json.loads((out / "dataset.json").read_text())["truth"]
        for out in (tmp_path / "out", finished)
    )
    assert ours.pop("scale") == [0, 100]
    assert theirs.pop("scale") == [0, 1]
    assert ours == pytest.approx(theirs)


def test_a_run_that_was_cut_goes_on_and_leaves_finished_shards_alone(
    material: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "u1"
    finish = shard_engines.ShardScorer.finish

    def die_at_the_second(self: Any, shard: Any, progress: Any = None) -> None:
        if shard.number == 1:
            raise KeyboardInterrupt
        finish(self, shard, progress)

    with monkeypatch.context() as patch:
        patch.setattr(shard_engines.ShardScorer, "finish", die_at_the_second)
        assert run(material, out) == 130
    first = out / "shard-000000.parquet"
    before = (first.stat().st_mtime_ns, first.read_bytes())
    assert sorted(path.name for path in out.iterdir()) == [
        "mapping.json", "run.json", "shard-000000.parquet",
    ]  # fmt: skip
    capsys.readouterr()
    assert run(material, out) == 0
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    assert answer(capsys)["dataset"]["shards"] == 3
    for path in finished.iterdir():
        if path.suffix == ".parquet":
            assert (out / path.name).read_bytes() == path.read_bytes()
    ours, theirs = (json.loads((one / "dataset.json").read_text()) for one in (out, finished))
    assert (ours.pop("root"), theirs.pop("root")) != (None, None)  # out lies elsewhere
    assert ours == theirs


def test_an_unfinished_folder_is_no_label_set(
    material: Path, finished: Path, tmp_path: Path
) -> None:
    from fiqa.errors import LabelError

    for name in ("run.json", "shard-000000.parquet"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(LabelError, match="not finished"):
        read_labels(tmp_path, root=material / "u1")


def test_a_finished_run_is_recognised_and_not_repeated(
    material: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a teacher was loaded again")

    monkeypatch.setattr(shard_engines, "load_checkpoint", refuse)
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    assert run(material, finished) == 0
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_another_command_is_refused_in_the_same_folder(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "u1"
    assert run(material, out) == 0
    capsys.readouterr()
    assert run(material, out, shard_size=4) == 2
    error = answer(capsys)["error"]
    assert error["type"] == "OutputError"
    assert "shard_size" in error["found"]
    assert len(list(out.glob("*.parquet"))) == 3
    assert run(material, out, shard_size=4, overwrite=True) == 0
    assert read_labels(out).scores.size == UNLABELLED
    assert answer(capsys)["dataset"]["shard_size"] == 4


def test_a_teacher_that_ranks_the_wrong_way_is_refused(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(material, tmp_path / "u1", teacher=material / "inverted") == 2
    error = answer(capsys)["error"]
    assert error["type"] == "MetricError"
    assert "do not rise with the labels" in error["found"]
    assert "SRCC -0." in error["found"]
    assert not (tmp_path / "u1").exists()


def test_a_scale_declared_for_the_teacher_is_not_guessed_anew(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (material / "labelled/labels.csv").read_text()
    (tmp_path / "ten.csv").write_text(
        re.sub(r"(?<=png,)[^,]+", lambda score: f"{10 * float(score[0]):.5f}", text)
    )
    folder = tmp_path / "teacher"
    shutil.copytree(material / "teacher", folder)
    manifest = read_manifest(folder)
    learned = read_labels(tmp_path / "ten.csv", root=material / "labelled", scale=(0, 10))
    update_manifest(folder, replace(manifest, datasets=(learned.record("train"),)))
    options = {"teacher": folder, "fit": tmp_path / "ten.csv", "fit_root": material / "labelled"}
    assert run(material, tmp_path / "u1", **options) == 2
    assert answer(capsys)["error"]["fix"] == "add --scale 0 10"
    words = [*command(material, tmp_path / "u1", **options), "--scale", "0", "10"]
    assert pseudo_label.main(words) == 0
    deciles = answer(capsys)["dataset"]["score_deciles"]
    assert deciles[5] > 0.2  # of 0..100 they would all lie below 0.1


def test_a_few_labelled_pictures_are_not_enough_for_the_scale(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (material / "labelled/labels.csv").read_text().splitlines(keepends=True)
    (tmp_path / "few.csv").write_text("".join(lines[:20]))  # a header and 19 pictures
    options = {"fit": tmp_path / "few.csv", "fit_root": material / "labelled"}
    assert run(material, tmp_path / "u1", **options) == 2
    assert "19 pictures in split 'val'" in answer(capsys)["error"]["found"]


def test_an_unreadable_picture_stops_the_run_or_is_counted(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "u1", 6, seed=5)
    (tmp_path / "u1/images/03.png").write_bytes(b"no picture")
    data = tmp_path / "u1/images"  # a plain folder: no scores, people or crops
    assert run(material, tmp_path / "out", data=data) == 2
    assert "03.png" in answer(capsys)["error"]["found"]
    assert run(material, tmp_path / "out", data=data, skip_bad=True) == 0
    record = answer(capsys)["dataset"]
    assert (record["count"], record["skipped"]) == (5, 1)
    assert "03.png" not in columns(tmp_path / "out")["image"]
    assert len(read_labels(tmp_path / "out")) == 5


def test_a_picture_that_vanishes_in_the_middle_loses_no_finished_shard(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_pictures(tmp_path / "u1", 12, seed=5)
    data, picture = tmp_path / "u1/images", tmp_path / "u1/images/07.png"
    content = picture.read_bytes()
    cut = pseudo_label.cut_shards
    monkeypatch.setattr(  # the set is checked by then
        pseudo_label, "cut_shards", lambda *given: (picture.unlink(), cut(*given))[1]
    )
    assert run(material, tmp_path / "out", data=data) == 2
    error = answer(capsys)["error"]
    assert error["type"] == "PictureError"
    assert "07.png does not exist" in error["found"]
    assert [path.name for path in (tmp_path / "out").glob("*.parquet")] == ["shard-000000.parquet"]
    monkeypatch.undo()
    picture.write_bytes(content)
    assert run(material, tmp_path / "out", data=data) == 0


def test_a_damaged_shard_or_record_is_named(material: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    out = tmp_path / "u1"
    assert run(material, out) == 0
    capsys.readouterr()
    (out / "dataset.json").write_text('{"schema": 1, "fit": []}')
    assert run(material, out) == 2
    assert "dataset.json lacks" in answer(capsys)["error"]["found"]
    (out / "dataset.json").unlink()
    shard = out / "shard-000001.parquet"
    shard.write_bytes((out / "shard-000000.parquet").read_bytes())
    assert run(material, out) == 2
    assert "shard-000001.parquet holds other pictures" in answer(capsys)["error"]["found"]
    shard.write_bytes(b"PAR1")
    assert run(material, out) == 2
    assert "shard-000001.parquet cannot be read" in answer(capsys)["error"]["found"]


def test_missing_ray_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError) as raised:
        shard_engines._load_ray()
    assert "fiqa-edge[scale]" in raised.value.fix


# A worker that dies as if killed, once: the flag outlives it.
DYING = """
import os, sys
from pathlib import Path
import torch
from train import pseudo_label, shard_engines

torch.set_num_threads(1)
FLAG, POISON = Path({flag!r}), {poison!r}

class DyingWorker(shard_engines.RayWorker):
    def __call__(self, row):
        if row["shard"].number == 1 and (POISON or not FLAG.exists()):
            FLAG.touch()
            os._exit(9)
        return super().__call__(row)

if __name__ == "__main__":
    shard_engines.RayWorker = DyingWorker
    raise SystemExit(pseudo_label.main(sys.argv[1:]))
"""


def run_ray(material: Path, out: Path, poison: bool) -> subprocess.CompletedProcess[str]:
    script = out.parent / "dying.py"
    script.write_text(DYING.format(flag=str(out.parent / "died"), poison=poison))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(
        [sys.executable, str(script), *command(material, out, engine="ray")],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_ray_worker_costs_nothing_but_its_shards_time(
    material: Path, finished: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs the extra `scale`")
    done = run_ray(material, tmp_path / "u1", poison=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    assert json.loads(done.stdout)["dataset"]["shards"] == 3
    assert columns(tmp_path / "u1") == columns(finished)


@pytest.mark.slow
def test_a_shard_that_kills_every_ray_worker_is_told_and_the_next_start_takes_it_up(
    material: Path, finished: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs the extra `scale`")
    out = tmp_path / "u1"
    done = run_ray(material, out, poison=True)
    assert done.returncode == 2
    assert "1 of 3 shards are not finished: 1" in json.loads(done.stdout)["error"]["found"]
    assert len(list(out.glob("*.parquet"))) == 2
    assert run(material, out) == 0  # the other engine goes on with the same run
    assert columns(out) == columns(finished)

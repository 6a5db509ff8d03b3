"""The fit commands on a tiny set: they learn, they resume, they refuse what makes no sense."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import read_manifest
from tests.doubles.tiny_sets import TINY, make_set
from train import fit_student, fit_teacher, stage_task, stages, teacher
from train.checkpoint import load_checkpoint
from train.distributed import World, pick_device
from train.loop import Fitting
from train.network import QualityNet
from train.predict import predict_set
from train.stage_task import Learner, StageTask, Study, Teacher
from train.stages import Distillation, Guards, Stage


@pytest.fixture(autouse=True)
def _tiny_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stages.RECIPES, "demo", tiny_stages)
    small = teacher.TeacherRecipe(TINY, {32: Fitting(1, 1e-3, 8)}, "tiny")
    monkeypatch.setitem(teacher.TEACHERS, "demo", small)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def tiny_stages(sources: Any) -> list[Stage]:
    return [
        dataclasses.replace(stage, size=32 * (1 + number // 2), fitting=Fitting(1, 1e-3, 8))
        for number, stage in enumerate(stages.mspt_fast(sources))
    ]


def fit(data: Path, out: Path, *more: str) -> int:
    arguments = ["--data", str(data), "--out", str(out), "--init", "random", "--recipe", "demo",
                 "--student", TINY, "--device", "cpu", "--quiet", *more]  # fmt: skip
    return fit_student.main(arguments)


def test_student_is_trained_and_its_manifest_tells_how(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 9)
    assert fit(data, tmp_path / "run") == 0
    manifest = read_manifest(tmp_path / "run")
    assert manifest.preprocess.size == 64
    assert [stage["size"] for stage in manifest.recipe["stages"]] == [32, 32, 64]
    assert {record.role: record.count for record in manifest.datasets} == {"train": 24, "val": 12}
    assert {one.name for one in manifest.metrics} == {"score", "srcc", "plcc"}
    network, _ = load_checkpoint(tmp_path / "run")
    labels = read_labels(data).select("val")
    from fiqa.metrics import srcc

    scores = predict_set(network, manifest.preprocess, labels).scores
    measured = next(one.value for one in manifest.metrics if one.name == "srcc")
    assert srcc(scores, labels.scores) == pytest.approx(measured, abs=1e-6)


def test_finished_run_is_not_repeated_and_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run") == 0
    weights = tmp_path / "run" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert fit(data, tmp_path / "run") == 0
    assert weights.stat().st_mtime_ns == before
    assert fit(data, tmp_path / "run", "--seed", "1") == 2
    assert "holds another run: seed" in capsys.readouterr().err
    assert fit(data, tmp_path / "run", "--seed", "1", "--overwrite") == 0
    assert weights.stat().st_mtime_ns != before


def test_same_command_gives_the_same_weights_from_random_ones(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 6)
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert fit(data, tmp_path / name, "--seed", seed) == 0
    hashes = [read_manifest(tmp_path / name).sha256 for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_zero_epochs_leave_the_network_untrained(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run", "--epochs", "0", "--seed", "5") == 0
    torch.manual_seed(5)
    untrained = QualityNet(TINY, 64).state_dict()
    network, _ = load_checkpoint(tmp_path / "run")
    for name, value in network.state_dict().items():
        assert torch.equal(value, untrained[name])


def test_bad_rows_stop_the_run_before_it_starts_unless_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    (data / "1_0.png").write_bytes(b"no picture")
    assert fit(data, tmp_path / "run") == 2
    assert "add --skip-bad" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert fit(data, tmp_path / "run", "--skip-bad") == 0
    assert read_manifest(tmp_path / "run").datasets[0].skipped == 1


def test_a_teacher_inside_the_folder_that_is_written_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run") == 0
    kept = (tmp_path / "run" / "weights.safetensors").read_bytes()
    assert fit(data, tmp_path / "run", "--teacher", str(tmp_path / "run"), "--overwrite") == 2
    assert "which this run reads" in capsys.readouterr().err
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == kept


def test_foreign_folder_is_never_cleared(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 6)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_text("x")
    assert fit(data, tmp_path / "photos", "--overwrite") == 2
    assert fit(data, tmp_path / "photos") == 2
    assert (tmp_path / "photos" / "dear.jpg").read_text() == "x"


def test_people_of_validation_may_not_stand_in_a_pseudo_labelled_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    shared = make_set(tmp_path / "u1", 2, offset=3, splits=False)
    assert fit(data, tmp_path / "run", "--pseudo", str(shared)) == 2
    assert "p3" in capsys.readouterr().err


def test_large_student_is_refused_until_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run", "--student", "resnet18") == 2
    assert "--allow-large" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [("--epochs", "-1"), ("--pictures", "-5"), ("--size", "4"), ("--size", "-8"), ("--size", "0"),
     ("--seed", "-1"), ("--patience", "-1"), ("--cache-gb", "nan")],
)  # fmt: skip
def test_numbers_out_of_range_are_named(
    tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path / "data", tmp_path / "run", *wrong) == 2
    assert " is ".join(wrong) in capsys.readouterr().err


@pytest.mark.parametrize("kept", [2, 8], ids=["too few", "all alike"])
def test_validation_that_defines_no_figure_is_refused_before_the_training(
    kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    header, *lines = (data / "labels.csv").read_text().splitlines()
    train = [line for line in lines if line.endswith("train")]
    val = [line for line in lines if line.endswith("val")][:kept]
    if kept > 2:
        val = [re.sub(r"(?<=png,)[^,]+", "0.5", line) for line in val]
    (data / "labels.csv").write_text("\n".join([header, *train, *val]) + "\n")
    assert fit(data, tmp_path / "run") == 2
    assert "split val of data cannot choose the best weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_pseudo_labelled_set_without_train_in_its_splits_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    measured = make_set(tmp_path / "severity", 2, offset=30)
    labels = measured / "labels.csv"
    labels.write_text(labels.read_text().replace("train", "test").replace("val", "test"))
    assert fit(data, tmp_path / "run", "--pseudo", str(measured)) == 2
    assert "severity has no rows in split 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "backbone",
    ["test_vit", pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)],
)
def test_network_of_a_fixed_size_trains_on_whole_pictures(tmp_path: Path, backbone: str) -> None:
    data = make_set(tmp_path / "data", 6)
    arguments = ["--data", str(data), "--out", str(tmp_path / "run"), "--init", "random",
                 "--backbone", backbone, "--recipe", "demo", "--pictures", "8",
                 "--device", "cpu", "--quiet"]  # fmt: skip
    assert fit_teacher.main(arguments) == 0
    (one,) = read_manifest(tmp_path / "run").recipe["stages"]
    assert (one["size"], one["augment"]["crop"]) == (32, 0.0)


def test_network_of_a_fixed_size_takes_no_stages_of_other_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run", "--student", "test_vit") == 2
    told = capsys.readouterr().err
    assert "test_vit is built for 64 x 64 pixels, stage stage1@128 shows 32" in told
    assert not (tmp_path / "run").exists()


def test_only_the_first_of_many_processes_claims_the_folder_and_tells_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run") == 0
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    second = World(1, 2, torch.device("cpu"))
    monkeypatch.setattr(World, "start", lambda device: second)
    monkeypatch.setattr(World, "agree", lambda self, work: True)  # the first found it finished
    monkeypatch.setenv("RANK", "1")
    assert fit(data, tmp_path / "run", "--overwrite", "--json") == 0
    assert capsys.readouterr().out == ""
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_each_process_of_torchrun_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)
    assert pick_device("cpu") == torch.device("cpu")


def test_teacher_then_student_with_pseudo_labels(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", 6)
    u1 = make_set(tmp_path / "u1", 3, offset=50, splits=False)
    arguments = ["--data", str(data), "--out", str(tmp_path / "teacher"), "--init", "random",
                 "--recipe", "demo", "--device", "cpu", "--json", "--quiet"]  # fmt: skip
    assert fit_teacher.main(arguments) == 0
    assert fit(data, tmp_path / "run", "--pseudo", str(u1), "--teacher",
               str(tmp_path / "teacher")) == 0  # fmt: skip
    manifest = read_manifest(tmp_path / "run")
    assert manifest.recipe["teacher_sha256"] == read_manifest(tmp_path / "teacher").sha256
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    told = {record["stage"]: set(record) for record in map(json.loads, lines)}
    wanted = {"label", "teacher", "features", "data_wait_share"}
    assert all(wanted <= names for names in told.values())
    assert ["snapshot" in names for names in told.values()] == [False, True, False]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, LabelSet]:
    return {
        name: read_labels(make_set(tmp_path / name, 2, offset=10 * number, splits=False))
        for number, name in enumerate(("labels", "u1"))
    }


def study(sources: dict[str, LabelSet], **more: Any) -> Study:
    return Study(sources, {"val": sources["labels"]}, PreprocessSpec(size=32), **more)


def stage(name: str, **more: Any) -> Stage:
    return Stage(name, 32, {name: 1.0}, Fitting(1, 1e-3, 4), **more)


def test_snapshot_pulls_replayed_pictures_only(sources: dict[str, LabelSet]) -> None:
    learner = Learner(QualityNet(TINY, 32))
    task = StageTask([stage("labels"), stage("u1")], study(sources), learner)
    replayed = task.targets["replayed"]
    assert replayed.tolist() == [0.0] * 8 + [1.0] * 8  # u1 first: the stage's own source
    expected = predict_set(learner.student, PreprocessSpec(size=32), sources["labels"]).scores
    np.testing.assert_allclose(task.targets["snapshot"][8:], expected, atol=1e-6)
    off = stage("u1", guards=Guards(snapshot=0))
    task = StageTask([stage("labels"), off], study(sources), learner)
    assert "snapshot" not in task.targets


def test_teacher_targets_are_the_teachers_scores(sources: dict[str, LabelSet]) -> None:
    spec = PreprocessSpec(size=48)
    wise = Teacher(QualityNet(TINY, 48).eval(), spec, "wise")
    learner = Learner(QualityNet(TINY, 32), wise.network.width)
    task = StageTask([stage("labels")], study(sources, teacher=wise), learner)
    expected = predict_set(wise.network, spec, sources["labels"])
    np.testing.assert_allclose(task.targets["teacher"], expected.scores, atol=1e-6)
    batch = task.batch(np.arange(4), np.random.default_rng(0))
    loss, parts = task.loss(learner, batch)
    share = Distillation()
    total = (1 - share.score) * parts["label"] + share.score * parts["teacher"]
    assert float(loss.detach()) == pytest.approx(
        float((total + share.features * parts["features"]).detach()), rel=1e-5
    )


def test_kept_answers_spare_the_teacher_a_second_look(
    sources: dict[str, LabelSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, network = PreprocessSpec(size=48), QualityNet(TINY, 48).eval()
    first = Teacher(network, spec, "wise", tmp_path / "kept").on("labels", sources["labels"])
    Teacher(network, spec, "other", tmp_path / "kept").on("labels", sources["labels"])
    (kept, _) = sorted((tmp_path / "kept").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    monkeypatch.setattr(stage_task, "predict_set", None)
    again = Teacher(network, spec, "wise", tmp_path / "kept").on("labels", sources["labels"])
    np.testing.assert_array_equal(again.scores, first.scores)
    np.testing.assert_array_equal(again.features, first.features)
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        Teacher(network, spec, "wise", tmp_path / "kept").on("labels", sources["labels"])


def test_mspt_reaches_640_in_a_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published resolution, on pictures that carry nothing there: that it runs, no more."""
    small = [
        dataclasses.replace(one, fitting=Fitting(1, 1e-3, 2)) for one in stages.mspt(["labels"])
    ]
    monkeypatch.setitem(stages.RECIPES, "mspt", lambda _: small)
    data = make_set(tmp_path / "data", 6)
    assert fit(data, tmp_path / "run", "--recipe", "mspt", "--pictures", "4") == 0
    manifest = read_manifest(tmp_path / "run")
    assert manifest.preprocess.size == 640
    assert [stage["size"] for stage in manifest.recipe["stages"]] == [224, 384, 640]


def test_batch_holds_the_pictures_its_targets_belong_to(sources: dict[str, LabelSet]) -> None:
    plain = Stage("labels", 40, {"labels": 1, "u1": 1}, Fitting(1, 1e-3, 4))
    plain = dataclasses.replace(plain, augment=stages.Augment(flip=False, crop=0))
    task = StageTask([plain], study(sources), Learner(QualityNet(TINY, 32)))
    batch = task.batch(np.array([9, 2]), np.random.default_rng(0))
    assert batch.targets["label"].tolist() == pytest.approx(
        [sources["u1"].scores[1], sources["labels"].scores[2]]
    )
    picture = np.array(Image.open(sources["u1"].paths[1]))
    np.testing.assert_allclose(batch.pictures[0, :, 5, 7] * 128 + 128, picture[5, 7], atol=1e-3)

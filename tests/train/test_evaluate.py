"""train.evaluate: the figures, the breakdowns, the threshold it stores, and what it refuses."""

from __future__ import annotations

import csv
import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa import metrics, score
from fiqa.bootstrap import bootstrap_difference, bootstrap_interval
from fiqa.contract import PreprocessSpec
from fiqa.labels import LabelSet, Row, read_labels
from fiqa.manifest import read_manifest, split_artifact, update_manifest
from tests.doubles import tiny_models
from train import evaluate, evaluation, recorded_steps
from train.evaluation import read_evaluation
from train.figures import advantage, agreement

STEPS = ("blur:0.50", "jpeg:0.20 blur:0.10", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """63 plain pictures of 21 people with noisy labels; train, val and test; a tiny artifact."""
    folder = tmp_path_factory.mktemp("world")
    tiny_models.write_tflite(folder / "m.tflite", "uint8")
    rng = np.random.default_rng(3)
    with open(folder / "labels.csv", "w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["image", "score", "identity", "split", "steps"])
        for number in range(63):
            light = int(rng.integers(40, 210))
            picture = np.full((16, 16, 3), (light, number, 128), np.uint8)
            Image.fromarray(picture).save(folder / f"{number}.png")
            label = tiny_models.expected_score(picture[None])[0] + rng.normal(0, 0.12)
            person = number // 3
            split = "train" if person == 20 else "val" if person < 10 else "test"
            label = round(float(np.clip(label, 0, 1)), 4)
            table.writerow([f"{number}.png", label, f"p{person}", split, STEPS[number % 3]])
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch", reason="checkpoints need torch")
    from tests.doubles.checkpoints import save_network
    from train.network import QualityNet

    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "student"
    network = QualityNet("mobilenetv3_small_050", 32).train()
    with torch.no_grad():
        for _ in range(20):  # statistics of plain pictures: without them all scores are 0.5
            network(torch.rand(8, 3, 1, 1).expand(-1, -1, 32, 32) * 2 - 1)
    return save_network(folder, network, PreprocessSpec(size=32))


@pytest.fixture
def artifact(world: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    path = tmp_path / "m.tflite"
    path.write_bytes((world / "m.tflite").read_bytes())
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = evaluate.main([*map(str, arguments), "--json", "--quiet"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    assert evaluate.main([*map(str, arguments), "--json", "--quiet"]) == 2
    return json.loads(capsys.readouterr().out)["error"]


def pictures_of(document: dict[str, Any], split: str) -> tuple[Any, Any, list[str]]:
    rows = [row for row in document["pictures"] if row["split"] == split]
    scores, labels = ([row[name] for row in rows] for name in ("score", "label"))
    return np.array(scores), np.array(labels), [row["identity"] for row in rows]


# ---------------------------------------------------------------- figures


def test_figures_are_those_of_fiqa_metrics_with_intervals_over_people(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run(capsys, world / "m.tflite", "--data", world / "labels.csv")
    found = {one["split"]: one for one in document["evaluation"]["splits"]}
    assert list(found) == ["test", "val"]  # never train, unless asked for
    for split, one in found.items():
        scores, labels, people = pictures_of(document, split)
        expected = vars(metrics.evaluate_scores(scores, labels))
        assert one["count"] == expected.pop("count") == 30
        assert (one["people"], one["units"]) == (10, "identities")
        assert {name: e["value"] for name, e in one["figures"].items()} == pytest.approx(expected)
        for name in ("srcc", "plcc", "score"):
            interval = bootstrap_interval(name, scores, labels, identities=people)
            stated = one["figures"][name]
            assert (stated["low"], stated["high"]) == pytest.approx((interval.low, interval.high))
        for name, stated in one["figures"].items():
            assert stated["low"] < stated["value"] < stated["high"], name


def test_scores_are_the_artifacts_own(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys, world / "m.tflite", "--data", world / "labels.csv", "--split", "val")
    for row in document["pictures"]:
        data = np.asarray(Image.open(world / row["image"]))[None]
        assert row["score"] == pytest.approx(float(tiny_models.expected_score(data)[0]), abs=1e-5)


def test_checkpoint_is_measured_on_its_own_predictions(
    world: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from train.checkpoint import load_checkpoint
    from train.predict import predict_set

    document = run(
        capsys, checkpoint, "--data", world / "labels.csv", "--split", "val", "--device", "cpu"
    )
    network, manifest = load_checkpoint(checkpoint)
    labels = read_labels(world / "labels.csv").select("val")
    expected = predict_set(network, manifest.preprocess, labels).scores
    assert np.ptp(expected) > 0.001
    np.testing.assert_allclose(pictures_of(document, "val")[0], expected, rtol=1e-6)
    assert document["evaluation"]["model"]["sha256"] == manifest.sha256
    assert document["evaluation"]["model"]["kind"] == "checkpoint"


def test_undefined_figures_are_none_with_the_reason() -> None:
    found = agreement(np.full(5, 0.4), np.linspace(0, 1, 5))
    assert found["srcc"].value is None
    assert "all 5 scores equal 0.4" in found["srcc"].reason
    assert found["rmse"].value == pytest.approx(metrics.rmse([0.4] * 5, np.linspace(0, 1, 5)))
    few = agreement(np.array([0.1, 0.2]), np.array([0.3, 0.5]))
    assert few["krcc"].reason == "2 scores"


def test_scores_that_fall_keep_a_negative_plcc_and_fit_a_positive_one() -> None:
    labels = np.linspace(0, 1, 20)
    found = agreement(1 - labels**2, labels)
    assert found["plcc"].value is not None
    assert found["plcc"].value < -0.9
    assert found["plcc_fitted"].value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["krcc", "rmse"])
def test_slow_intervals_are_wider_over_people_than_over_their_copies(name: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(20), 6)
    scores = labels + np.repeat(rng.normal(0, 0.3, 20), 6)
    people = [f"p{place // 6}" for place in range(120)]
    one, many = agreement(scores, labels, people)[name], agreement(scores, labels)[name]
    assert one.value == many.value
    assert one.high - one.low > 1.7 * (many.high - many.low)  # type: ignore[operator]


def test_advantage_is_positive_for_the_better_scores_and_turns_with_the_roles() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(80)
    good, poor = labels + rng.normal(0, 0.05, 80), labels + rng.normal(0, 0.6, 80)
    for name, one in advantage(good, poor, labels).items():
        expected = bootstrap_difference(name, good, poor, labels)  # type: ignore[arg-type]
        assert (one.value, one.low) == (expected.estimate, expected.low)
        assert one.low > 0  # type: ignore[operator]
        assert advantage(poor, good, labels)[name].high < 0  # type: ignore[operator]


def test_baseline_is_compared_on_the_same_pictures(
    world: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", world / "labels.csv", "--split", "val")
    document = run(capsys, world / "m.tflite", "--baseline", checkpoint, *data)
    (found,) = document["evaluation"]["splits"]
    scores, labels, _ = pictures_of(document, "val")
    other = [row["baseline_score"] for row in document["pictures"]]
    gain = metrics.srcc(scores, labels) - metrics.srcc(other, labels)
    assert found["advantage"]["srcc"]["value"] == pytest.approx(gain)
    assert document["evaluation"]["baseline"]["kind"] == "checkpoint"
    alone = run(capsys, checkpoint, *data)
    np.testing.assert_allclose(pictures_of(alone, "val")[0], other, rtol=1e-6)


# ---------------------------------------------------------------- breakdowns


def test_breakdown_by_label_counts_edges_once_and_states_what_is_missing() -> None:
    labels = np.array([0.0, 0.2, 0.2, 0.35, 0.8, 1.0])
    scores = labels + np.array([0.1, 0.3, -0.1, 0.1, -0.2, 0.0])
    groups = evaluation.by_label(scores, labels)
    assert [group.name for group in groups] == [
        "0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0"
    ]  # fmt: skip
    assert [group.count for group in groups] == [1, 3, 0, 0, 2]
    assert groups[1].bias == pytest.approx(0.1)
    assert groups[1].mae == pytest.approx(0.5 / 3)
    assert (groups[1].srcc, groups[1].reason) == (None, "too few")
    assert (groups[2].bias, groups[2].mae, groups[2].reason) == (None, None, "empty")


def test_breakdown_by_degradation_counts_a_picture_for_each_of_its_kinds() -> None:
    kinds = [("blur",), ("jpeg", "blur", "blur"), (), ("jpeg",)]
    labels, scores = np.array([0.1, 0.2, 0.9, 0.4]), np.array([0.2, 0.4, 0.8, 0.1])
    groups = {group.name: group for group in evaluation.by_degradation(scores, labels, kinds)}
    assert list(groups) == ["(none)", "blur", "jpeg"]
    assert [group.count for group in groups.values()] == [1, 2, 2]
    assert groups["blur"].bias == pytest.approx((0.1 + 0.2) / 2)
    assert groups["jpeg"].bias == pytest.approx((0.2 - 0.3) / 2)
    assert groups["jpeg"].mae == pytest.approx((0.2 + 0.3) / 2)
    assert evaluation.by_degradation(scores, labels, None) == ()


def test_rank_correlation_within_a_group_needs_ten_pictures_that_differ() -> None:
    def blurred(scores: Any, labels: Any) -> evaluation.Group:
        return evaluation.by_degradation(scores, labels, [("blur",)] * len(labels))[0]

    labels = np.linspace(0, 1, 10)
    assert blurred(labels**2, labels).srcc == 1
    assert blurred(labels[:9], labels[:9]).reason == "too few"
    assert blurred(labels, 1 - labels * 1e-4).reason == "no variation"
    assert blurred(labels * 0, labels).reason == "no variation"


def test_recorded_steps_reach_the_breakdown_by_line(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run(capsys, world / "m.tflite", "--data", world / "labels.csv", "--split", "val")
    (found,) = document["evaluation"]["splits"]
    counts = {group["name"]: group["count"] for group in found["by_degradation"]}
    assert counts == {"(none)": 10, "blur": 20, "jpeg": 10}
    rows = document["pictures"]
    scores = np.array([row["score"] - row["label"] for row in rows])
    jpeg = np.array([int(row["image"].split(".")[0]) % 3 == 1 for row in rows])
    stated = next(group for group in found["by_degradation"] if group["name"] == "jpeg")
    assert stated["bias"] == pytest.approx(float(scores[jpeg].mean()))


@pytest.mark.parametrize(
    ("cell", "kinds"),
    [
        ("blur:0.50 jpeg:0.20", ("blur", "jpeg")),
        ("blur:0.5;jpeg:0.2", ("blur", "jpeg")),
        ("blur, blur", ("blur", "blur")),
        ("", ()),
    ],
)
def test_steps_are_told_apart(cell: str, kinds: tuple[str, ...]) -> None:
    assert recorded_steps.parse_kinds(cell) == kinds


def test_kinds_are_read_by_the_lines_that_label_rows_have(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image;Steps;score\n\na.png;blur:1;0.1\nb.png;;0.2\n")
    assert recorded_steps.read_kinds(path) == {3: ("blur",), 4: ()}
    assert recorded_steps.read_kinds(tmp_path) == {3: ("blur",), 4: ()}  # the folder's table
    path.write_text("image,score\na.png,0.1\n")
    assert recorded_steps.read_kinds(path) is None


def test_kinds_are_read_from_parquet_shards(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from pyarrow import parquet

    for number, steps in enumerate((["blur:1", None], ["jpeg:1 blur:1"])):
        table = pyarrow.table({"image": [f"{number}.png"] * len(steps), "steps": steps})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    parquet.write_table(pyarrow.table({"image": ["2.png"]}), tmp_path / "00.parquet")
    kinds = recorded_steps.read_kinds(tmp_path)
    assert kinds == {1: ("blur",), 2: (), 3: (), 4: ("jpeg", "blur")}


def test_worst_pictures_are_farthest_from_their_rank() -> None:
    labels = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    scores = np.array([0.9, 0.2, 0.3, 0.4, 0.5])
    rows = tuple(Row(n, f"{n}.png", float(label)) for n, label in enumerate(labels))
    scored = evaluation.Scored("val", LabelSet("set", Path(), rows, ""), scores)
    first, second = evaluation.worst_of(scored, 2)
    assert (first.image, first.rank_error) == ("0.png", pytest.approx(0.8))
    assert second.rank_error == pytest.approx(-0.2)


# ---------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (["test", "test_ood", "val", "val_ood"], "val"),
        (["test", "val_ood"], "val_ood"),
        (["all"], "all"),
        (["test"], "test"),
    ],
)
def test_threshold_is_chosen_on_val_or_else_never_on_test(splits: list[str], chosen: str) -> None:
    assert evaluation.threshold_split(splits) == chosen


def test_stored_threshold_is_what_score_then_rejects_by(
    world: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = split_artifact(artifact.read_bytes(), artifact.name)
    document = run(
        capsys, artifact, "--data", world / "labels.csv", "--reject-rate", 0.2, "--save-threshold"
    )
    proposal = document["evaluation"]["proposal"]
    assert (proposal["split"], proposal["rejection"]["rejected"]) == ("val", 6)
    manifest = read_manifest(artifact)
    assert manifest.score.threshold == proposal["rejection"]["threshold"]
    (rate,) = manifest.metrics
    assert (rate.name, rate.value, rate.split) == ("rejected_at_threshold", 0.2, "val")
    assert split_artifact(artifact.read_bytes(), artifact.name)[0] == before
    val = [world / row["image"] for row in document["pictures"] if row["split"] == "val"]
    assert score.main([str(artifact), *map(str, val), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert sum(not row["accepted"] for row in results) == 6


def test_storing_again_replaces_the_threshold_and_its_rate(
    world: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (0.2, 0.5):
        data = ("--data", world / "labels.csv", "--split", "val")
        run(capsys, artifact, *data, "--reject-rate", rate, "--save-threshold")
    (stored,) = read_manifest(artifact).metrics
    assert stored.value == 0.5


def test_checkpoint_stores_a_threshold_too(
    world: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = read_manifest(checkpoint).sha256
    data = ("--data", world / "labels.csv", "--split", "val")
    document = run(capsys, checkpoint, *data, "--reject-rate", 0.1, "--save-threshold")
    manifest = read_manifest(checkpoint)
    proposal = document["evaluation"]["proposal"]
    assert manifest.score.threshold == proposal["rejection"]["threshold"]
    assert manifest.sha256 == sha256


def test_shares_of_bad_pictures_are_counted_below_the_lowest_fifth() -> None:
    labels = np.linspace(0, 0.9, 10)
    scores = labels.copy()
    scores[[1, 5]] = scores[[5, 1]]  # one of the two bad ones looks good
    rows = tuple(Row(n, f"{n}.png", float(label)) for n, label in enumerate(labels))
    scored = evaluation.Scored("val", LabelSet("set", Path(), rows, ""), scores)
    proposal = evaluation.propose_threshold({"val": scored}, 0.25)
    assert proposal.rejection.rejected == 2
    assert proposal.bad_share == pytest.approx(0.2)
    assert proposal.bad_share_of_rejected == pytest.approx(0.5)
    assert proposal.rejected_share_of_bad == pytest.approx(0.5)
    nothing = evaluation.propose_threshold({"val": scored}, 0.05)
    assert nothing.bad_share_of_rejected is None
    assert "nothing is rejected" in nothing.reason


def test_threshold_from_a_test_split_is_told_but_never_stored(
    world: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = artifact.read_bytes()
    data = ("--data", world / "labels.csv", "--split", "test", "--reject-rate", "0.1")
    error = refused(capsys, artifact, *data, "--save-threshold")
    assert error["type"] == "InputError"
    assert "on test" in error["found"]
    assert run(capsys, artifact, *data)["evaluation"]["proposal"]["split"] == "test"
    assert artifact.read_bytes() == before


def test_foreign_artifact_is_measured_by_a_named_contract_and_stores_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(tiny_models.tflite_body("uint8"))
    (tmp_path / "spec.json").write_text(json.dumps({"size": 16, "std": [1.0, 1.0, 1.0]}))
    data = ("--data", world / "labels.csv", "--split", "val")
    assert refused(capsys, foreign, *data)["type"] == "ManifestError"
    named = (*data, "--preprocess", tmp_path / "spec.json")
    document = run(capsys, foreign, *named)
    assert document["evaluation"]["model"]["name"] == "foreign"
    stored = refused(capsys, foreign, *named, "--reject-rate", "0.1", "--save-threshold")
    assert "no manifest" in stored["found"]


# ---------------------------------------------------------------- splits and flags


def write_rows(folder: Path, world: Path, splits: list[str]) -> Path:
    lines = [f"{number}.png,0.{number},{split}" for number, split in enumerate(splits, 1)]
    path = folder / "own.csv"
    path.write_text("\n".join(["image,score,split", *lines]))
    for number in range(1, len(splits) + 1):
        (folder / f"{number}.png").write_bytes((world / f"{number}.png").read_bytes())
    return path


def test_set_without_splits_is_measured_whole(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path, world, [""] * 4)
    (found,) = run(capsys, world / "m.tflite", "--data", data)["evaluation"]["splits"]
    assert (found["split"], found["count"], found["units"]) == ("all", 4, "pictures")


def test_pictures_that_the_model_learned_from_are_told(
    world: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path, world, [""] * 4)
    learned = read_labels(data).with_splits({"train": 1.0}).record("train")
    update_manifest(artifact, replace(read_manifest(artifact), datasets=(learned,)))
    (warning,) = run(capsys, artifact, "--data", data)["warnings"]
    assert "trained on 4 pictures of own that are judged here" in warning
    assert evaluate.main([str(artifact), "--data", str(data), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert warning in captured.out
    assert warning in captured.err
    other = write_rows(tmp_path, world, ["", "", "", "", ""])
    assert run(capsys, artifact, "--data", other)["warnings"] == []


def test_held_out_splits_of_the_set_it_was_trained_on_are_no_reason_to_warn(
    world: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path, world, ["train"] * 3 + ["val"] * 3)
    learned = read_labels(data).select("train").record("train")
    update_manifest(artifact, replace(read_manifest(artifact), datasets=(learned,)))
    assert run(capsys, artifact, "--data", data)["warnings"] == []
    (warning,) = run(capsys, artifact, "--data", data, "--split", "train")["warnings"]
    assert "trained on 3 pictures" in warning


def test_training_pictures_are_measured_only_when_asked_for(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path, world, ["train"] * 4)
    assert "--split train" in refused(capsys, world / "m.tflite", "--data", data)["fix"]
    document = run(capsys, world / "m.tflite", "--data", data, "--split", "train")
    assert document["evaluation"]["splits"][0]["count"] == 4


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--save-threshold"], "--save-threshold without --reject-rate"),
        (["--reject-rate", "1.5"], "--reject-rate 1.5"),
        (["--split", "valid2"], "no rows in split 'valid2'"),
        (["--baseline-preprocess", "x.json"], "without --baseline"),
    ],
)
def test_flags_that_contradict_are_refused(
    world: Path, flags: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, world / "m.tflite", "--data", world / "labels.csv", *flags)
    assert found in error["found"]


# ---------------------------------------------------------------- files, streams, imports


def test_folder_holds_document_scores_and_plots(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    out = tmp_path / "report"
    document = run(capsys, world / "m.tflite", "--data", world / "labels.csv", "--out", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "breakdown.png", "discard.png", "evaluation.json", "scatter.png", "scores.csv", "worst.png"
    ]  # fmt: skip
    assert {Path(path).name for path in document["files"].values()} == {
        path.name for path in out.iterdir()
    }
    text = (out / "evaluation.json").read_text()
    assert json.loads(text) == document["evaluation"]
    assert str(world) not in text  # says what was measured, not where
    read = read_evaluation(out / "evaluation.json")
    assert read.schema == 1
    assert read.model.sha256 == read_manifest(world / "m.tflite").sha256
    assert read.data.sha256 == read_labels(world / "labels.csv").sha256
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [float(row["score"]) for row in rows] == [row["score"] for row in document["pictures"]]


def test_failed_write_leaves_the_old_folder_as_it_was(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plots = pytest.importorskip("train.plots", reason="plots need matplotlib")
    out = tmp_path / "report"
    out.mkdir()
    (out / "evaluation.json").write_text("{}")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(plots, "draw_worst", full)
    command = (world / "m.tflite", "--data", world / "labels.csv", "--split", "val")
    error = refused(capsys, *command, "--out", out, "--overwrite")
    assert "no space left" in error["found"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert [path.name for path in out.iterdir()] == ["evaluation.json"]


def test_only_an_earlier_evaluation_is_replaced(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (world / "m.tflite", "--data", world / "labels.csv", "--out", tmp_path)
    (tmp_path / "precious.txt").write_text("mine")
    assert "exists already" in refused(capsys, *command)["found"]
    assert "no evaluation.json" in refused(capsys, *command, "--overwrite")["found"]
    assert (tmp_path / "precious.txt").exists()


def test_text_names_figures_and_hides_rare_kinds(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(world / "m.tflite"), "--data", str(world / "labels.csv"), "--split", "val"]
    assert evaluate.main([*command, "--reject-rate", "0.2", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "val: 30 pictures of 10 people; 95 % intervals over people" in text
    for title in ("SRCC", "KRCC", "PLCC fitted", "challenge", "by degradation", "too few"):
        assert title in text
    assert "rejects 6 of 30 pictures of val (20.0 %, asked for 20.0 %)" in text


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "train.evaluate", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_exit_codes_and_one_document_on_stdout(world: Path) -> None:
    done = command(world / "m.tflite", "--data", world / "labels.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"
    failed = command(world / "none.tflite", "--data", world / "labels.csv", "--json")
    assert failed.returncode == 2
    assert json.loads(failed.stdout)["error"]["type"] == "InputError"
    assert "none.tflite does not exist" in failed.stderr


def test_neither_matplotlib_nor_torch_loads_for_an_artifact_without_plots(world: Path) -> None:
    code = (
        "import sys; from train import evaluate; "
        f"assert evaluate.main(['{world}/m.tflite', '--data', '{world}/labels.csv']) == 0; "
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)

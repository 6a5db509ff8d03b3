"""Which student at which size: what may be compared, what decides, and steps that are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_bench import pareto
from edge_bench.pareto import PAIRS, Step, StepError, main, run_step, start_weights
from edge_bench.pareto_table import (
    CORES,
    SPLITS,
    Aim,
    Precision,
    Row,
    Training,
    aim_of,
    comparable,
    read_pareto,
    table_of,
)
from edge_bench.plan import Setup
from edge_bench.result import Count, write_result
from fiqa.errors import InputError
from fiqa.files import write_json
from fiqa.manifest import SIDECAR, WEIGHTS, Check, DataRecord, Manifest, read_manifest
from fiqa.records import to_plain
from tests.doubles import bench_results, tiny_models
from tests.doubles.tiny_sets import make_set
from train.any_model import ModelFacts
from train.evaluation import Evaluation, SplitEvaluation
from train.figures import Estimate

TRAINING = Training((8, 6, 6), (0, 0, 0), ("a", "b"), "teacher", from_random=False)


def precision(kind: str, score: float, instructions: float) -> Precision:
    scores = {name: Estimate(score, score - 0.01, score + 0.01) for name in SPLITS}
    counts = dict.fromkeys(CORES, instructions)
    return Precision(kind, "0" * 64, 2_000_000, "faithful", "pass", scores, {}, counts, 1.5)


def row(student: str, size: int, *found: Precision, **changes: Any) -> Row:
    made = Row(student, size, False, "weights.safetensors", TRAINING, found)
    return dataclasses.replace(made, **changes)


REFERENCE = row("big", 640, precision("float", 0.960, 200e6), is_reference=True)


def aim(*rows: Row) -> Aim:
    return aim_of(comparable(rows))


@pytest.mark.parametrize(
    ("score", "instructions", "status"),
    [
        (0.9571, 20e6, "reached"),
        (0.9569, 20e6, "missed"),  # more than .003 behind
        (0.9600, 20.1e6, "missed"),  # more than a tenth of the instructions
    ],
)
def test_the_aim_is_near_the_best_reference_at_a_tenth(
    score: float, instructions: float, status: str
) -> None:
    small = row(
        "small", 160, precision("float", 0.97, 30e6), precision("int8", score, instructions)
    )
    assert aim(small, REFERENCE).status == status


def test_the_test_split_decides_nothing() -> None:
    good = precision("int8", 0.96, 20e6)
    worse_on_test = good.scores | dict.fromkeys(("test", "test_ood"), Estimate(0.1))
    small = row("small", 160, dataclasses.replace(good, scores=worse_on_test))
    assert aim(small, REFERENCE).status == "reached"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"from_random": True}, "random start weights"),
        ({"data": ("a",)}, "other pictures"),
        ({"teacher": "other"}, "another teacher"),
        ({"epochs": (1, 1, 1)}, "another budget"),
        ({"pictures": (9, 9, 9)}, "another budget"),
    ],
)
def test_a_reference_of_another_training_decides_nothing(
    change: dict[str, Any], reason: str
) -> None:
    small = row("small", 160, precision("int8", 0.5, 1e6))
    other = dataclasses.replace(REFERENCE, training=dataclasses.replace(TRAINING, **change))
    assert [one.not_comparable for one in comparable([small, other])] == ["", reason]
    assert aim(small, other).status == "unchecked"


def test_start_weights_are_for_all_or_for_one_student() -> None:
    assert start_weights(["timm", "lite=pypi"]) == {"": "timm", "lite": "pypi"}
    with pytest.raises(InputError, match="twice"):
        start_weights(["timm", "random"])


def test_a_step_that_cannot_run_stops_the_comparison() -> None:
    with pytest.raises(StepError, match="exit code 2"):
        run_step(Step(("fiqa.score", "none.tflite", "none.jpg"), lambda: False), quiet=True)


# ---------------------------------------------------------------- steps


class Commands:
    """In the place of the commands: writes what they would, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, step: Step, quiet: bool) -> None:
        module, words = step.words[0], list(step.words[1:])
        self.asked.append(module)
        out = Path(words[words.index("--out") + 1])
        make: dict[str, Callable[[list[str], Path], None]] = {
            "train.fit_student": fit, "export.tflite": export, "train.evaluate": evaluate,
            "edge_bench.run": bench,
        }  # fmt: skip
        make[module](words, out)


def fit(words: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(str(out).encode())
    digest = hashlib.sha256(str(out).encode()).hexdigest()
    stages = [{"fitting": {"epochs": 2}, "pictures": 0}]
    recipe = {"stages": stages, "init": "random", "teacher_sha256": "t"}
    manifest = Manifest("checkpoint", "tiny", digest, tiny_models.SPEC, recipe=recipe)
    write_json(out / SIDECAR, to_plain(manifest))


def export(words: list[str], out: Path) -> None:
    parent = read_manifest(Path(words[words.index("--checkpoint") + 1])).sha256
    if "int8" not in words:
        tiny_models.write_tflite(out, parent_sha256=parent)
        return
    checks = (Check("verdict on val in the TFLite runtime", "failed", "inconclusive: too few"),)
    aside = out.with_name(f"{out.stem}.inconclusive.tflite")
    tiny_models.write_tflite(aside, dtype="int8", parent_sha256=parent, checks=checks)


def evaluate(words: list[str], out: Path) -> None:
    facts = ModelFacts("tiny", "tflite", read_manifest(Path(words[0])).sha256, "runtime")
    estimate = {"score": Estimate(0.9, 0.8, 0.95)}
    lost = {"score": Estimate(-0.01, -0.02, 0.005)} if "--baseline" in words else None
    splits = tuple(
        SplitEvaluation(name, 9, 3, "identities", estimate, (), (), (), None, lost)
        for name in SPLITS
    )
    record = DataRecord("faces", "6" * 64, "evaluation", 36)
    write_json(out / "evaluation.json", to_plain(Evaluation(facts, record, splits)))


def bench(words: list[str], out: Path) -> None:
    place = words.index("--artifact") + 1
    files = [Path(word) for word in words[place : words.index("--data")]]
    made = bench_results.result()
    models = tuple(
        dataclasses.replace(one, body_sha256=read_manifest(path).sha256)
        for one, path in zip(made.models, files, strict=False)
    )
    kept = {
        name: tuple(one for one in getattr(made, name) if one.model < len(models))
        for name in ("blocks", "passes", "host_scores")
    }
    made = dataclasses.replace(made, models=models, **kept)
    if "emulated" in words:
        setups = tuple(Setup(cores=core) for core in CORES)
        counts = tuple(
            Count(at, number, (10_000_000 * (at + 1) // (number + 1),), {})
            for at in range(len(CORES))
            for number in range(len(models))
        )
        plan = dataclasses.replace(made.plan, setups=setups)
        made = dataclasses.replace(made, plan=plan, counts=counts, blocks=(), passes=())
    write_result(out, made)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(pareto, "run_step", made)
    return made


def compare(folder: Path, *more: str) -> int:
    if not (folder / "data").exists():
        make_set(folder / "data", 3)
    return main(
        ["--data", str(folder / "data"), "--pseudo", "u1", "--teacher", "t", "--init", "random",
         "--out", str(folder / "out"), "--quiet", *more]
    )  # fmt: skip


def test_rows_are_made_once_and_the_rest_is_told_as_missing(
    commands: Commands, tmp_path: Path
) -> None:
    small, big = PAIRS[0].name, PAIRS[-1].name
    assert compare(tmp_path, "--rows", small, big) == 1  # no INT8 is small enough: aim missed
    assert commands.asked == [
        *("train.fit_student", "export.tflite", "train.evaluate", "export.tflite"),
        *("train.evaluate", "edge_bench.run", "edge_bench.run"),
        *("train.fit_student", "export.tflite", "train.evaluate"),  # published: float alone
        *("edge_bench.run", "edge_bench.run"),
    ]
    found = read_pareto(tmp_path / "out/pareto.json")
    assert [one.name for one in found.rows] == [
        "mobilenetv3_small_100 at 128", "edgenext_xx_small at 352",
    ]  # fmt: skip
    assert len(found.missing) == len(PAIRS) - 2
    integers = found.rows[0].artifacts[1]
    assert integers.verdict == "inconclusive"
    assert integers.lost["val"] == Estimate(0.01, -0.005, 0.02)
    assert integers.instructions == {"cortex-a53": 5e6, "cortex-a72": 10e6, "cortex-a76": 15e6}
    assert integers.latency_ms == 2.0
    assert (tmp_path / "out/pareto.md").read_text() == table_of(found)
    assert (tmp_path / "out/pareto.png").stat().st_size > 10_000

    commands.asked.clear()
    assert compare(tmp_path, "--rows", small) == 1
    assert commands.asked == ["train.fit_student"]  # which looks itself whether it is finished
    assert len(read_pareto(tmp_path / "out/pareto.json").rows) == 2


def test_what_no_longer_belongs_to_the_student_is_made_anew(
    commands: Commands, tmp_path: Path
) -> None:
    name = PAIRS[0].name
    compare(tmp_path, "--rows", name)
    tiny_models.write_tflite(tmp_path / "out" / name / "float.tflite", parent_sha256="0" * 64)
    commands.asked.clear()
    compare(tmp_path, "--rows", name)
    assert commands.asked == ["train.fit_student", "export.tflite"]


def test_start_weights_are_never_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    make_set(tmp_path / "data", 3)
    words = ["--data", str(tmp_path / "data"), "--pseudo", "u1", "--teacher", "t", "--out", "out"]
    assert main([*words, "--init", "edgenext_xx_small=random"]) == 2

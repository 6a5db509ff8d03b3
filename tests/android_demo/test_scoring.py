"""scoring/ on the JVM, with Android's own TensorFlow Lite library, beside Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiqa.contract import Box, PreprocessSpec
from fiqa.files import sha256_bytes
from fiqa.frames import Frame
from fiqa.manifest import split_artifact
from fiqa.runtime import Scorer
from tests.doubles.bench_files import bench_flags, contract_bytes, raw_outputs, words_of

pytestmark = pytest.mark.device  # Java and Maven's packages; the first run fetches them

SIZE = 224
LEAST_FRAMES, LEAST_SPREAD = 64, 0.05
FLOAT_BOUND = 0.002
INT8_STEPS, INT8_MEAN = 2, 0.002
Models = dict[str, Path]


def scored(jvm: Any, folder: Path, model: Path, out: Path, rounds: int = 1) -> dict[str, Any]:
    done = jvm(folder, "fiqa.scoring.ScoreFrames", model, out, rounds)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert isinstance(found, dict)
    return found


def python_scores(model: Path, frames: list[tuple[Frame, Box]]) -> np.ndarray:
    scorer = Scorer(model)
    return scorer.score_bytes(contract_bytes(frames, scorer.spec))


def test_kotlins_own_tests_pass(jvm: Any) -> None:
    from android_demo import build

    assert build.main(["test", "--quiet"]) == 0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_frames_score_as_in_python(
    jvm: Any, models: Models, frames: Any, tmp_path: Path, precision: str
) -> None:
    folder, made = frames
    found = scored(jvm, folder, models[precision], tmp_path / "out.json")
    wanted = python_scores(models[precision], made)
    assert found["fully_delegated"]
    differences = np.abs(np.array(found["scores"]) - wanted)
    assert len(wanted) >= LEAST_FRAMES
    assert wanted.std() > LEAST_SPREAD
    if precision == "fp32":
        print(f"largest difference {differences.max():.2g}")
        assert differences.max() <= FLOAT_BOUND
        return
    step = Scorer(models["int8"])._engine.output.scale
    assert step
    print(
        f"INT8: {np.mean(differences == 0):.0%} equal, at most {differences.max() / step:.0f} steps"
    )
    assert differences.max() <= INT8_STEPS * step + 1e-9
    assert differences.mean() <= INT8_MEAN


def test_int8_outputs_are_equal_bit_for_bit_given_equal_bytes(
    jvm: Any, models: Models, frames: Any, tmp_path: Path
) -> None:
    scorer = Scorer(models["int8"])
    pictures = contract_bytes(frames[1], scorer.spec)
    result = run_bench(jvm, tmp_path, models["int8"], pictures, "--mode", "score")
    assert result["outputs"] == raw_outputs(scorer, pictures)
    assert result["input"]["dtype"] == "int8"
    assert result["delegate"] == "xnnpack"


def test_timing_keeps_every_sample_and_proves_its_outputs(
    jvm: Any, models: Models, frames: Any, tmp_path: Path
) -> None:
    pictures = contract_bytes(frames[1][:4], PreprocessSpec(size=SIZE))
    flags = ("--mode", "time", "--runs", 25, "--warm-up", 3, "--count", 2)
    result = run_bench(jvm, tmp_path, models["fp32"], pictures, *flags)
    assert len(result["samples_us"]) == 25
    assert min(result["samples_us"]) > 0
    assert sum(result["samples_us"]) <= result["elapsed_us"]
    assert len(result["outputs"]) == 2
    scores = Scorer(models["fp32"]).score_bytes(pictures)[:2]
    np.testing.assert_allclose(result["outputs"], scores, atol=FLOAT_BOUND)


@pytest.mark.parametrize(
    ("changes", "code", "stage"),
    [
        ({"--mode": "dream"}, 2, "arguments"),
        ({"--nonsense": 1}, 2, "arguments"),
        ({"--lib": "/none.so"}, 3, "library"),
        ({"--model": "/none.tflite"}, 4, "model"),
        ({"--sha256": "0" * 64}, 4, "model"),
        ({"--pictures": "/none.rgb"}, 5, "pictures"),
        ({"--limit-s": 0.000001, "--runs": 100000, "--mode": "time"}, 6, "inference"),
        ({"--out": "/none/out.json"}, 7, "result"),
        ({"--cpus": "4711"}, 8, "processors"),
    ],
)
def test_each_failing_stage_has_its_exit_code(
    jvm: Any, models: Models, tmp_path: Path, changes: dict[str, Any], code: int, stage: str
) -> None:
    flags = bench_flags(tmp_path, models["fp32"], np.zeros((1, SIZE, SIZE, 3), np.uint8))
    flags |= {"--mode": "score"} | changes
    done = jvm(tmp_path, "fiqa.bench.Main", *words_of(flags))
    assert done.returncode == code, done.stderr[-1000:]
    told = json.loads(done.stderr.strip().splitlines()[-1])
    assert told["stage"] == stage
    assert told["message"]


def test_foreign_model_is_known_by_its_hash_alone(
    jvm: Any, models: Models, frames: Any, tmp_path: Path
) -> None:
    """Without a manifest, as other people's files are; and only some of the pictures are asked."""
    body, manifest = split_artifact(models["int8"].read_bytes(), "int8")
    assert manifest
    (tmp_path / "foreign.tflite").write_bytes(body)
    pictures = contract_bytes(frames[1][:8], PreprocessSpec(size=SIZE))
    flags = bench_flags(tmp_path, models["int8"], pictures)
    flags |= {"--model": tmp_path / "foreign.tflite", "--mode": "score", "--start": 2, "--count": 3}
    done = jvm(tmp_path, "fiqa.bench.Main", *words_of(flags))
    assert done.returncode == 4
    assert "carries no fiqa manifest" in done.stderr
    flags |= {"--sha256": sha256_bytes(body)}
    done = jvm(tmp_path, "fiqa.bench.Main", *words_of(flags))
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = json.loads((tmp_path / "out.json").read_text())["outputs"]
    assert outputs == raw_outputs(Scorer(models["int8"]), pictures)[2:5]


def test_preparing_a_frame_costs_no_more_than_the_inference(
    jvm: Any, models: Models, frames: Any, tmp_path: Path
) -> None:
    """One thread, one process; the median of each over all frames, once the JIT is warm."""
    found = scored(jvm, frames[0], models["int8"], tmp_path / "out.json", rounds=20)
    print(f"crop {found['crop_ms']:.2f} ms, score {found['score_ms']:.2f} ms")
    assert found["crop_ms"] <= found["score_ms"]


def run_bench(
    jvm: Any, folder: Path, model: Path, pictures: np.ndarray, *flags: object
) -> dict[str, Any]:
    words = words_of(bench_flags(folder, model, pictures))
    done = jvm(folder, "fiqa.bench.Main", *words, *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "out.json").read_text())
    assert result["run_id"] == "r1"
    return dict(result)

"""scoring/ on the JVM, with Android's own TensorFlow Lite library, beside Python."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from android_demo import build  # noqa: E402
from export.exporter import float_tensors  # noqa: E402
from export.parity import parity_pictures  # noqa: E402
from fiqa.contract import Box, PreprocessSpec  # noqa: E402
from fiqa.errors import MissingDependencyError  # noqa: E402
from fiqa.frames import Frame, Plane  # noqa: E402
from fiqa.manifest import Manifest, write_artifact  # noqa: E402
from fiqa.runtime import Scorer, to_tensor  # noqa: E402
from quantize.convert import to_tflite  # noqa: E402
from quantize.deployable import make_deployable  # noqa: E402
from tests.doubles.int8_models import write_int8  # noqa: E402
from tests.doubles.lively_networks import make_lively  # noqa: E402
from tests.doubles.photos import portrait  # noqa: E402
from train.data import to_input  # noqa: E402
from train.network import QualityNet  # noqa: E402

pytestmark = pytest.mark.device  # Java and Maven's packages; the first run fetches them

SIZE = 224
FRAMES = 64
SPREAD = 0.1  # standard deviation of the scores
FLOAT_BOUND = 0.002
INT8_STEPS, INT8_MEAN = 2, 0.002
Models = dict[str, Path]


@pytest.fixture(scope="session")
def jvm() -> Any:
    """Runs a main class of scoring/, and gives the process that ended."""
    try:
        build.jvm_command()
    except MissingDependencyError as error:
        pytest.skip(str(error))

    def run(golden: Path, *words: object) -> subprocess.CompletedProcess[str]:
        command = [*build.jvm_command(golden), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, frames: Any) -> Models:
    """Untrained, but its scores differ over the frames as a trained network's would."""
    folder = tmp_path_factory.mktemp("models")
    spec = PreprocessSpec(size=SIZE)
    faces = np.stack([frame.to_bytes(spec, box) for frame, box in frames[1]])
    torch.manual_seed(0)
    network = make_lively(QualityNet("mobilenetv3_small_100", SIZE), SIZE).eval()
    with torch.no_grad():
        scores = network(to_input(faces, spec))
        network.head.weight *= SPREAD / scores.std()
        network.head.bias += 0.5 - network(to_input(faces, spec)).mean()
    deployable = make_deployable(network, spec, 1)
    out = folder / "fp32.tflite"
    tensors = dict(
        zip(("inputs", "outputs"), [(one,) for one in float_tensors(deployable)], strict=True)
    )
    write_artifact(
        out, to_tflite(deployable), Manifest("tflite", "m", "", deployable.spec, **tensors)
    )
    return {"fp32": out, "int8": write_int8(folder / "int8.tflite", out, faces)}


def written_frames(folder: Path) -> list[tuple[Frame, Box]]:
    """FRAMES camera frames of drawn faces, as files of the golden vectors' form."""
    made, cases = [], []
    for number in range(FRAMES):
        rng = np.random.default_rng(number)
        width, height = (640, 480) if number % 4 else (333, 251)
        luma, *chroma = planes(width, height, number)
        turn, mirrored = 90 * (number % 4), bool(number % 3)
        (folder / f"{number}.yuv").write_bytes(b"".join(p.tobytes() for p in (luma, *chroma)))
        half = -(-width // 2)
        strides = (width, half, half)
        frame = Frame(
            width, height,
            *(Plane(p.ravel(), s) for p, s in zip((luma, *chroma), strides, strict=True)),
            turn, mirrored,
        )  # type: ignore[arg-type]  # fmt: skip
        side = rng.uniform(40, 120)
        w, h = frame.size
        box = Box(w / 2 + rng.uniform(-20, 20) - side / 2, h / 2 - side / 2, side, 1.2 * side)
        offsets = np.cumsum([0, luma.size, chroma[0].size])
        cases.append(
            {
                "kind": "frame", "name": str(number), "data": f"{number}.yuv",
                "width": width, "height": height, "turn": turn, "mirrored": mirrored,
                "planes": [
                    {"offset": int(at), "length": plane.size, "row_stride": stride,
                     "pixel_stride": 1}
                    for at, plane, stride in zip(offsets, (luma, *chroma), strides, strict=True)
                ],
                "spec": {"size": SIZE, "margin": 1.45}, "box": box, "crop": None,
            }
        )  # fmt: skip
        made.append((frame, box))
    (folder / "cases.json").write_text(json.dumps(cases))
    return made


def planes(width: int, height: int, number: int) -> list[np.ndarray]:
    """Luma and chroma of a drawn face in the middle, on noise, in a light of its own."""
    rng = np.random.default_rng(1000 + number)
    rgb = rng.integers(90, 160, (height, width, 3))
    face = portrait(number % 8, 200)
    top, left = (height - 200) // 2, (width - 200) // 2
    rgb[top : top + 200, left : left + 200] = face
    rgb = np.clip(rgb * rng.uniform(0.1, 1.6, 3), 0, 255)
    y = rgb @ (0.299, 0.587, 0.114)
    u = (128 + (rgb[..., 2] - y) * 0.564)[::2, ::2]
    v = (128 + (rgb[..., 0] - y) * 0.713)[::2, ::2]
    return [np.clip(np.round(plane), 0, 255).astype(np.uint8) for plane in (y, u, v)]


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Frame, Box]]]:
    folder = tmp_path_factory.mktemp("frames")
    return folder, written_frames(folder)


def scored(jvm: Any, folder: Path, model: Path, out: Path, rounds: int = 1) -> dict[str, Any]:
    done = jvm(folder, "fiqa.scoring.ScoreFrames", model, out, rounds)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert isinstance(found, dict)
    return found


def python_scores(model: Path, frames: list[tuple[Frame, Box]]) -> np.ndarray:
    scorer = Scorer(model)
    return scorer.score_bytes(np.stack([frame.to_bytes(scorer.spec, box) for frame, box in frames]))


def test_kotlins_own_tests_pass(jvm: Any) -> None:
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
    assert len(wanted) >= FRAMES
    assert wanted.std() > SPREAD / 2
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
    jvm: Any, models: Models, tmp_path: Path
) -> None:
    scorer = Scorer(models["int8"])
    pictures = parity_pictures(None, scorer.spec)[:FRAMES]
    result = run_bench(jvm, tmp_path, models["int8"], pictures, "--mode", "score")
    scale, zero = scorer._engine.output.scale, scorer._engine.output.zero_point
    assert scale is not None and zero is not None  # noqa: PT018
    wanted = np.round(scorer.score_bytes(pictures) / scale).astype(int) + zero
    assert result["outputs"] == wanted.tolist()
    assert result["input"]["dtype"] == "int8"
    assert result["delegate"] == "xnnpack"


def test_timing_keeps_every_sample_and_proves_its_outputs(
    jvm: Any, models: Models, tmp_path: Path
) -> None:
    pictures = parity_pictures(None, PreprocessSpec(size=SIZE))[:4]
    flags = ("--mode", "time", "--runs", 25, "--warm-up", 3, "--checks", 2)
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
    done = jvm(tmp_path, "fiqa.bench.Main", *(word for pair in flags.items() for word in pair))
    assert done.returncode == code, done.stderr[-1000:]
    told = json.loads(done.stderr.strip().splitlines()[-1])
    assert told["stage"] == stage
    assert told["message"]


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
    given = bench_flags(folder, model, pictures)
    words = [word for pair in given.items() for word in pair]
    done = jvm(folder, "fiqa.bench.Main", *words, *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "out.json").read_text())
    assert result["run_id"] == "r1"
    return dict(result)


def bench_flags(folder: Path, model: Path, pictures: np.ndarray) -> dict[str, Any]:
    """The table holds what the input tensor takes for each byte of each channel."""
    scorer = Scorer(model)
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None, None], (1, 256, 1, 3))
    table = to_tensor(np.ascontiguousarray(grey), scorer.spec, scorer._engine.input)
    (folder / "table").write_bytes(table[0, :, 0].T.tobytes())
    (folder / "pictures").write_bytes(pictures.tobytes())
    return {
        "--lib": "", "--model": model, "--pictures": folder / "pictures",
        "--table": folder / "table", "--out": folder / "out.json", "--run-id": "r1",
    }  # fmt: skip

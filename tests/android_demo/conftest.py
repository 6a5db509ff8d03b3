"""Models, camera frames and a JVM for the tests of the Android demo."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiqa.contract import Box, PreprocessSpec
from fiqa.errors import MissingDependencyError
from fiqa.frames import Frame, Plane
from fiqa.manifest import Manifest, write_artifact

SIZE = 224
FRAMES = 64
SPREAD = 0.1  # standard deviation of the scores
Models = dict[str, Path]


@pytest.fixture(scope="session")
def jvm() -> Any:
    """Runs a main class of scoring/, and gives the process that ended."""
    from android_demo import build

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
    torch = pytest.importorskip("torch", reason="needs the extra `export`")
    pytest.importorskip("litert_torch", reason="needs the extra `export`")
    from export.format import float_tensors
    from quantize.convert import to_tflite
    from quantize.deployable import make_deployable
    from tests.doubles.int8_models import write_int8
    from tests.doubles.lively_networks import make_lively
    from train.data import to_input
    from train.network import QualityNet

    folder = tmp_path_factory.mktemp("models")
    spec = PreprocessSpec(size=SIZE)
    faces = np.stack([frame.to_bytes(spec, box) for frame, box in frames[1]])
    torch.manual_seed(0)
    network = make_lively(QualityNet("mobilenetv3_small_100", SIZE), SIZE).eval()
    with torch.no_grad():
        x = to_input(faces, spec, torch.device("cpu"))
        scores = network(x)
        network.head.weight *= SPREAD / scores.std()
        network.head.bias += 0.5 - network(x).mean()
    deployable = make_deployable(network, spec, 1)
    out = folder / "fp32.tflite"
    body = to_tflite(deployable)
    picture, score = float_tensors(body, deployable)
    manifest = Manifest("tflite", "m", "", deployable.spec, inputs=(picture,), outputs=(score,))
    write_artifact(out, body, manifest)
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
    from tests.doubles.photos import portrait

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

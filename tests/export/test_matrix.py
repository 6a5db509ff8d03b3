"""Every registered student in every format, and our .tflite in every runtime that people have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from export import coreml, onnx, tflite  # noqa: E402
from export.parity import parity_pictures  # noqa: E402
from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.manifest import read_manifest  # noqa: E402
from fiqa.runtime import Scorer  # noqa: E402
from tests.doubles.checkpoints import save_network  # noqa: E402
from tests.doubles.environments import REPOSITORY, install, make_environment, run  # noqa: E402
from tests.doubles.lively_networks import make_lively  # noqa: E402
from train.network import QualityNet  # noqa: E402
from train.student import STUDENTS  # noqa: E402

pytestmark = pytest.mark.slow  # converters of three makers; environments from the network

SIZE = 96
SPEC = PreprocessSpec(size=SIZE)
COMMANDS = {".tflite": tflite, ".onnx": onnx, ".mlpackage": coreml}
# package: where its pins stand
FOREIGN = {
    "tensorflow-cpu": "constraints.txt",
    "tflite-runtime": "constraints-tflite-runtime.txt",
}


CALM = 0.02  # of scores: random weights magnify rounding as trained ones do not


def checkpoint_of(name: str, folder: Path) -> Path:
    return save_network(folder / name, make_lively(QualityNet(name, SIZE), SIZE, CALM), SPEC)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("suffix", COMMANDS)
def test_every_student_is_proved_in_every_format(name: str, suffix: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(name, tmp_path)
    for precision in ("fp32", "fp16"):
        out = tmp_path / f"{precision}{suffix}"
        arguments = ["--checkpoint", checkpoint, "--out", out, "--precision", precision, "--quiet"]
        assert COMMANDS[suffix].main(list(map(str, arguments))) == 0, precision
        parity = [one for one in read_manifest(out).checks if one.name.startswith("parity")]
        assert parity[0].status == "passed"
        assert len(parity) == 1 or parity[1].status == ("passed" if on_mac() else "unchecked")


def on_mac() -> bool:
    return sys.platform == "darwin"


@pytest.mark.skipif(sys.platform != "linux", reason="these packages have wheels for Linux")
@pytest.mark.parametrize("package", FOREIGN)
def test_tflite_files_score_the_same_in_other_runtimes(package: str, tmp_path: Path) -> None:
    checkpoint = checkpoint_of("mobilenetv3_small_100", tmp_path)
    pictures = parity_pictures(None, SPEC)
    np.save(tmp_path / "pictures.npy", pictures)
    interpreter = make_environment("3.11", tmp_path / "venv")
    install(interpreter, str(REPOSITORY), REPOSITORY / FOREIGN[package], package)
    code = """
import sys, numpy, fiqa
scorer = fiqa.Scorer(sys.argv[1])
print(scorer.runtime, file=sys.stderr)
numpy.save(sys.argv[3], scorer.score_bytes(numpy.load(sys.argv[2])))
"""
    for precision, bound in (("fp32", 1e-5), ("fp16", 1e-3)):
        out, scores = tmp_path / f"{precision}.tflite", tmp_path / f"{precision}.npy"
        arguments = ["--checkpoint", checkpoint, "--out", out, "--precision", precision, "--quiet"]
        assert tflite.main(list(map(str, arguments))) == 0
        run(interpreter, "-c", code, out, tmp_path / "pictures.npy", scores, cwd=tmp_path)
        wanted = Scorer(out).score_bytes(pictures)
        assert wanted.std() > CALM / 10
        assert np.abs(np.load(scores) - wanted).max() < bound

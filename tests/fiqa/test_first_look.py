"""What native runtimes see: ours once the hash is right, foreign models first in a child."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bench.inputs import read_models
from fiqa import Scorer, first_look
from fiqa import score as score_command
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError
from fiqa.files import write_json
from fiqa.records import to_plain
from tests.doubles import tiny_models
from train.any_model import open_model

WRITERS: dict[str, Callable[..., Path]] = {
    "m.tflite": tiny_models.write_tflite, "m.onnx": tiny_models.write_onnx,
}  # fmt: skip
# What a hostile file may make of its runtime: a stand-in for LiteRT in the child only.
DEATHS = {
    "os.abort()": "kills the runtime: SIGABRT",
    "os.kill(os.getpid(), 11)": "kills the runtime: SIGSEGV",
    "os._exit(3)": "kills the runtime: exit 3",
    "time.sleep(1000)": "takes the runtime more than 3 s",
    "bytearray(64 << 30)": "fails: MemoryError",
    "raise RuntimeError('no such operator')": "cannot be opened by .*no such operator",
    "raise OSError('anything')": "fails: OSError anything",
}


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "_known", set())


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "foreign.tflite").write_bytes(tiny_models.tflite_body())
    return tmp_path / "foreign.tflite"


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def let_litert(do: str) -> None:
        package = tmp_path / "stand_in" / "ai_edge_litert"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        code = f"import os, time\n\n\ndef Interpreter(**options):\n    {do}\n"
        (package / "interpreter.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.setattr(first_look, "TIMEOUT_S", 3)

    return let_litert


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("contract", ["", "preprocess=PreprocessSpec(size=16)"])
def test_a_changed_byte_of_ours_is_refused_before_any_runtime_is_loaded(
    name: str, contract: str, tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path / name)
    data = bytearray(path.read_bytes())
    data[data.index(b"picture")] ^= 1  # the name of the input tensor
    path.write_bytes(data)
    code = f"""
import subprocess, sys
from fiqa import Scorer
from fiqa.contract import PreprocessSpec
from fiqa.errors import ManifestError
subprocess.Popen = None
try:
    Scorer({str(path)!r}, {contract})
except ManifestError as error:
    print(error.found)
print(sorted(set(sys.modules) & {{"ai_edge_litert", "onnxruntime", "tensorflow"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    found, loaded = done.stdout.splitlines()
    assert "sha256" in found, done.stderr
    assert loaded == "[]"


@pytest.mark.parametrize(("do", "says"), DEATHS.items())
def test_what_kills_the_runtime_is_an_error_that_says_of_what(
    do: str, says: str, deadly: Callable[[str], None], foreign: Path
) -> None:
    deadly(do)
    with pytest.raises(ArtifactError, match=says) as refused:
        Scorer(foreign, preprocess=tiny_models.SPEC)
    assert refused.value.found.startswith(str(foreign))
    assert refused.value.expected
    assert refused.value.fix


@pytest.mark.parametrize(
    "open_it",
    [
        lambda path: open_model(path, preprocess=tiny_models.SPEC),  # verify, evaluate, baselines
        lambda path: read_models([path], tiny_models.SPEC),  # edge_bench.run
    ],
)
def test_every_command_opens_foreign_models_in_a_child_first(
    open_it: Callable[[Path], object], deadly: Callable[[str], None], foreign: Path
) -> None:
    deadly("os.abort()")
    with pytest.raises(ArtifactError, match="kills the runtime: SIGABRT"):
        open_it(foreign)


def test_the_score_command_ends_with_2_and_scores_nothing(
    deadly: Callable[[str], None], foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deadly("os.abort()")
    write_json(foreign.parent / "spec.json", to_plain(tiny_models.SPEC))
    contract = ["--preprocess", str(foreign.parent / "spec.json")]
    assert score_command.main([str(foreign), str(foreign.parent / "a.png"), *contract]) == 2
    assert "kills the runtime" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["foreign.tflite", "foreign.onnx"])
def test_a_sound_foreign_model_scores_as_ever_and_is_looked_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = tiny_models.onnx_body() if name.endswith("onnx") else tiny_models.tflite_body()
    (tmp_path / name).write_bytes(body)
    started: list[Any] = []
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *args, **options: started.append(args) or run(*args, **options)
    )
    grey = np.full((1, 16, 16, 3), 127, np.uint8)
    for _ in range(2):
        found = Scorer(tmp_path / name, preprocess=tiny_models.SPEC).score_bytes(grey)
        assert found == pytest.approx(tiny_models.expected_score(grey), abs=1e-6)
    assert len(started) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_ours_start_no_child(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    Scorer(WRITERS[name](tmp_path / name))
    Scorer(tmp_path / name, preprocess=tiny_models.SPEC)


def test_a_model_of_a_billion_pictures_at_once_is_refused(tmp_path: Path) -> None:
    import onnx

    model = onnx.load_model_from_string(tiny_models.onnx_body())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**9
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="takes 1000000000 pictures at once"):
        Scorer(tmp_path / "m.onnx", preprocess=PreprocessSpec(size=16))

"""The app: an APK that keeps its promises, and every screen drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from android_demo import build
from android_demo.build_steps import apk
from android_demo.build_steps.bionic import desktop_library
from android_demo.build_steps.tools import BuildError
from edge_bench.runner.apk import LIBRARY
from fiqa.detector import packaged_model
from fiqa.manifest import read_manifest
from fiqa.runtime import Scorer
from tests.doubles.bench_files import bench_flags, contract_bytes, raw_outputs, words_of
from tests.doubles.dex import jar_of_dex

pytestmark = pytest.mark.device  # Java, Maven's packages and Debian's Android tools

TOOLS = ("java", "mvn", "aapt", "aapt2", "zipalign", "apksigner", "enjarify")


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}; .ci/run names the packages")


@pytest.fixture(scope="module")
def built(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("apk") / "fiqa.apk"
    assert build.main(["apk", "--model", str(models["int8"]), "--out", str(out), "--quiet"]) == 0
    return out


def test_apk_is_small_signed_aligned_and_asks_for_no_internet(
    models: dict[str, Path], built: Path
) -> None:
    facts = apk.inspect(built)
    assert facts["size_bytes"] <= 15_000_000  # type: ignore[operator]
    assert facts["dex_bytes"] <= 300_000  # type: ignore[operator]
    assert facts["abis"] == ["arm64-v8a", "armeabi-v7a", "x86_64"]
    assert "android.permission.INTERNET" not in facts["permissions"]  # type: ignore[operator]
    assert facts["min_sdk"] == 26


def test_apk_carries_the_original_library_and_both_models(
    models: dict[str, Path], built: Path
) -> None:
    with zipfile.ZipFile(built) as content, zipfile.ZipFile(apk.archive("tflite")) as library:
        name = f"arm64-v8a/{LIBRARY}"
        assert content.read(f"lib/{name}") == library.read(f"jni/{name}")
        assert content.read("assets/model.tflite") == models["int8"].read_bytes()
        assert content.read("assets/yunet.tflite") == packaged_model().read_bytes()


def test_released_integer_model_is_taken_and_the_detector_is_not(
    models: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(packaged_model(), tmp_path / "zz_detector.tflite")
    assert apk.released_model(tmp_path) is None
    shutil.copy(models["fp32"], tmp_path / "z_float.tflite")
    assert apk.released_model(tmp_path) == tmp_path / "z_float.tflite"
    shutil.copy(models["int8"], tmp_path / "a_int8.tflite")
    assert apk.released_model(tmp_path) == tmp_path / "a_int8.tflite"


def test_changed_apk_is_refused(built: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.apk"
    data = bytearray(built.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    with pytest.raises(BuildError, match="signature"):
        apk.inspect(changed)


def test_foreign_model_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.tflite").write_bytes(b"no model")
    out = tmp_path / "fiqa.apk"
    arguments = ["apk", "--model", str(tmp_path / "other.tflite"), "--out", str(out), "--json"]
    assert build.main(arguments) == 2
    assert json.loads(capsys.readouterr().out)["status"] == "error"
    assert not out.exists()


def test_dex_of_the_apk_scores_as_python_does(
    models: dict[str, Path], built: Path, frames: Any, tmp_path: Path
) -> None:
    """The very classes.dex, which R8 cut down, turned back into a jar and executed."""
    jar = jar_of_dex(built, tmp_path / "app.jar")
    scorer = Scorer(models["int8"])
    pictures = contract_bytes(frames[1][:16], scorer.spec)
    flags = bench_flags(tmp_path, models["int8"], pictures)
    command = [
        "java", "-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote",
        f"-Djava.library.path={desktop_library()}", "-cp", str(jar), "fiqa.bench.Main",
    ]  # fmt: skip
    words = [*command, *words_of(flags), "--mode", "score"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["outputs"] == raw_outputs(scorer, pictures)
    assert result["fully_delegated"] is True


def test_every_screen_and_state_is_reached_and_drawn(
    models: dict[str, Path], tmp_path: Path, jvm: Any
) -> None:
    arguments = ["screens", "--model", str(models["fp32"]), "--screens", str(tmp_path), "--quiet"]
    assert build.main(arguments) == 0
    assert len(list(tmp_path.glob("*.png"))) >= 16


def test_kotlin_keeps_its_style(jvm: Any) -> None:
    assert build.main(["lint", "--quiet"]) == 0


def test_model_of_the_tests_is_ours(models: dict[str, Path]) -> None:
    assert read_manifest(models["int8"]).inputs[0].dtype == "int8"

"""The archive's arm64 library behind the APK's own dex, in a JVM for ARM on emulated cores."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edge_bench.runner.apk import BUILT, library_in
from fiqa.runtime import Scorer
from tests.doubles import art
from tests.doubles.arm_root import enter, environment
from tests.doubles.bench_files import bench_flags, contract_bytes, raw_outputs, words_of

pytestmark = [pytest.mark.slow, pytest.mark.device]

PICTURES = 64
PLACE = "data/local/tmp"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    art.require()
    from android_demo import build

    assert build.main(["apk", "--quiet"]) == 0
    root = art.make_android_root(tmp_path_factory.mktemp("android") / "root")
    shutil.copy(BUILT, root / PLACE / "fiqa.apk")
    library_in(BUILT, "arm64-v8a", root / PLACE)
    art.add_jar(root, BUILT)
    return root


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_int8_scores_of_arm_cores_are_those_of_this_machine(
    core: str, root: Path, models: dict[str, Path], frames: Any
) -> None:
    scorer = Scorer(models["int8"])
    pictures = contract_bytes(frames[1][:PICTURES], scorer.spec)
    folder = root / PLACE
    flags = bench_flags(folder, models["int8"], pictures)
    shutil.copy(models["int8"], folder / "model")
    places = {f"--{name}": f"/{PLACE}/{name}" for name in ("model", "pictures", "table")}
    flags |= places | {"--out": f"/{PLACE}/{core}", "--lib": f"/{PLACE}/libtensorflowlite_jni.so"}
    words = ["app_process", "/", "fiqa.bench.Main", *words_of(flags), "--mode", "score"]
    command = f"CLASSPATH=/{PLACE}/fiqa.apk {shlex.join(words)}"
    done = subprocess.run(
        enter(root, command, core), env=environment(), capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((folder / core).read_text())
    assert found["architecture"] == "aarch64"
    assert found["fully_delegated"] is True
    assert found["outputs"] == raw_outputs(scorer, pictures)
    assert len(set(found["outputs"])) > PICTURES // 4

"""Whoever installed a wheel of `make dist` has the Android app, and needs no Java."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.doubles.environments import REPOSITORY
from tests.edge_bench.test_phone_choice import write_apk

NEEDED = "pyproject.toml README.md LICENSE .gitignore models fiqa train quantize export edge_bench"


def test_the_app_of_a_wheel_is_found_by_what_is_installed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in NEEDED.split():
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        tree.mkdir(exist_ok=True)
        copy(source, tree / name)
    write_apk(tree / "edge_bench/runner/fiqa.apk")  # where `make dist` has it built
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as content:
        content.extractall(installed)
    code = "from edge_bench.runner.apk import find_apk; print(find_apk(None))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(installed / "edge_bench/runner/fiqa.apk")

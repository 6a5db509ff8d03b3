"""Installing: pins for everything, three platforms, three Pythons, and a base that stays small."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import fiqa
from tests.doubles import tiny_models
from tests.doubles.environments import REPOSITORY, install, make_environment, run, uv

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CONSTRAINTS = REPOSITORY / "constraints.txt"
CONSTRAINTS_TFLITE_RUNTIME = REPOSITORY / "constraints-tflite-runtime.txt"

BASE_AND_LITERT_BYTES = 200e6
IMPORT_SECONDS = 0.3
PYTHONS = ["3.11", "3.12", "3.13"]
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin"]

needs_network = pytest.mark.slow  # and the default run has none


def read_pins(path: Path) -> dict[str, Version]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    pins = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not pinned"
        assert requirement.marker is None, f"{requirement} is not for everyone"
        pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    assert len(pins) == len(requirements), "a package is pinned twice"
    return pins


def requirements_of_all_extras() -> list[str]:
    project = PROJECT["project"]
    listed = [*PROJECT["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        listed += extra
    return sorted(set(listed))


@pytest.mark.parametrize("text", requirements_of_all_extras())
def test_every_requirement_is_pinned_to_a_version_it_allows(text: str) -> None:
    requirement = Requirement(text)
    pins = read_pins(CONSTRAINTS)
    assert canonicalize_name(requirement.name) in pins
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_pins_for_tflite_runtime_allow_what_the_base_asks_for() -> None:
    pins = read_pins(CONSTRAINTS_TFLITE_RUNTIME)
    for text in PROJECT["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
    assert pins["numpy"] < Version("2"), "tflite-runtime was built for numpy 1"


@pytest.mark.parametrize("path", [CONSTRAINTS, CONSTRAINTS_TFLITE_RUNTIME], ids=lambda p: p.name)
def test_constraints_hold_no_index_address(path: Path) -> None:
    found = re.findall(r"https?:|--\S*index\S*|--find-links|^-\w", path.read_text(), re.MULTILINE)
    assert found == []


def test_the_base_asks_for_numpy_and_pillow_alone() -> None:
    names = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    assert names == {"numpy", "pillow"}


def test_the_extra_that_exports_brings_what_its_commands_take_from_train() -> None:
    names = {
        Requirement(text).name for text in PROJECT["project"]["optional-dependencies"]["export"]
    }
    assert names >= {"matplotlib", "opencv-python-headless", "tensorboard"}


def test_the_version_is_the_same_in_both_places() -> None:
    assert fiqa.__version__ == PROJECT["project"]["version"]


def test_pip_may_install_every_pin_on_every_python() -> None:
    """uv overlooks upper bounds on Python, so that it may pin what pip refuses."""
    pins = read_pins(CONSTRAINTS)
    refused = []
    for found in importlib.metadata.distributions():
        pinned = pins.get(canonicalize_name(found.name)) == Version(found.version)
        allowed = SpecifierSet(found.metadata.get("Requires-Python", ""))
        if pinned and not all(allowed.contains(f"{python}.9") for python in PYTHONS):
            refused.append(f"{found.name} {found.version} wants Python {allowed}")
    assert refused == []


@pytest.mark.parametrize("package", ["fiqa", "edge_bench"])
def test_importing_a_package_for_devices_leaves_heavy_modules_unloaded(package: str) -> None:
    code = f"import sys, {package}; print(*sys.modules)"
    loaded = run(sys.executable, "-c", code, cwd=REPOSITORY).split()
    assert package in loaded
    assert not {"torch", "tensorflow", "ai_edge_litert", "onnxruntime"} & set(loaded)


@needs_network
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_all_extras_resolve_to_wheels(platform: str, python: str, tmp_path: Path) -> None:
    resolved = tmp_path / "resolved.txt"
    uv(
        *("pip", "compile", "pyproject.toml", "--all-extras", "--constraints", "constraints.txt"),
        *("--python-platform", platform, "--python-version", python, "--only-binary", ":all:"),
        *("--no-annotate", "--no-emit-index-url", "--output-file", resolved),
        MACOSX_DEPLOYMENT_TARGET="14.0",  # the oldest that torch has wheels for
    )
    pins = read_pins(CONSTRAINTS)
    for name, version in read_pins(resolved).items():
        assert pins.get(name) == version, f"{name} {version} comes unpinned"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--build-constraints", "constraints.txt", "--out-dir", folder)
    (path,) = folder.glob("*.whl")
    return path


@needs_network
def test_the_wheel_holds_every_package_and_no_test(wheel: Path, tmp_path: Path) -> None:
    listed = run(sys.executable, "-m", "zipfile", "--list", wheel)
    for package in ("fiqa", "train", "quantize", "export", "edge_bench"):
        assert f"\n{package}/__init__.py" in listed
    assert "tests/" not in listed
    assert "licenses/LICENSE" in listed
    assert "fiqa/models/yunet.tflite" in listed
    assert "fiqa/models/yunet.LICENSE" in listed
    (student,) = (name for name in listed.split() if name.endswith("-int8.tflite"))
    assert (REPOSITORY / student.removeprefix("fiqa/")).is_file()


@needs_network
@pytest.mark.parametrize("python", PYTHONS)
def test_base_with_litert_is_small_and_fiqa_loads_at_once(
    wheel: Path, python: str, tmp_path: Path
) -> None:
    interpreter = make_environment(python, tmp_path / "venv")
    install(interpreter, f"{wheel}[litert]", CONSTRAINTS)
    code = """
import fiqa, numpy, pathlib
(student,) = pathlib.Path(fiqa.__file__).parent.glob("models/*-int8.tflite")
print(*fiqa.Scorer(student).score([numpy.full((224, 224, 3), 90, numpy.uint8)]))
"""
    assert 0 <= float(run(interpreter, "-c", code, cwd=tmp_path)) < 0.5  # nobody to be seen

    size = sum(p.lstat().st_size for p in (tmp_path / "venv").rglob("*") if not p.is_symlink())
    seconds = min(seconds_to_import_fiqa(interpreter, tmp_path) for _ in range(5))
    print(f"Python {python}: {size / 1e6:.0f} MB installed, import fiqa in {seconds:.3f} s")
    assert size < BASE_AND_LITERT_BYTES
    assert seconds < IMPORT_SECONDS


@needs_network
def test_plain_pip_installs_from_the_same_pins(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    interpreter = tmp_path / "venv" / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "-c", CONSTRAINTS, f"{wheel}[litert]")
    installed = json.loads(run(interpreter, "-m", "pip", "list", "--format", "json"))
    versions = {canonicalize_name(found["name"]): found["version"] for found in installed}
    pins = read_pins(CONSTRAINTS)
    for name in set(versions) - {"pip", "setuptools", "fiqa-edge"}:
        assert Version(versions[name]) == pins[name]


@needs_network
@pytest.mark.skipif(sys.platform != "linux", reason="tflite-runtime has wheels for Linux only")
def test_tflite_runtime_installs_beside_the_base_and_runs(wheel: Path, tmp_path: Path) -> None:
    interpreter = make_environment("3.11", tmp_path / "venv")
    install(interpreter, f"{wheel}", CONSTRAINTS_TFLITE_RUNTIME, "tflite-runtime")
    # A numpy of the wrong age shows only when an interpreter is made of a real model.
    model = tiny_models.write_tflite(tmp_path / "tiny.tflite")
    code = """
import sys, numpy, fiqa
scorer = fiqa.Scorer(sys.argv[1])
print(scorer.runtime, *scorer.score([numpy.full((16, 16, 3), 90, numpy.uint8)]))
"""
    runtime, score = run(interpreter, "-c", code, model, cwd=tmp_path).rsplit(maxsplit=1)
    assert "tflite" in runtime
    expected = tiny_models.expected_score(np.full((1, 16, 16, 3), 90))[0]
    assert float(score) == pytest.approx(expected, abs=1e-6)


def seconds_to_import_fiqa(interpreter: Path, cwd: Path) -> float:
    code = "import time; t = time.perf_counter(); import fiqa; print(time.perf_counter() - t)"
    return float(run(interpreter, "-c", code, cwd=cwd))

"""timm loads beside any build of torchvision, and a matching pair notices nothing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fiqa.errors import MissingDependencyError
from train import timm_loader

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

REPOSITORY = Path(__file__).resolve().parents[2]


def torchvision_without_compiled_operators(folder: Path) -> Path:
    """What a CPU build of torch makes of a CUDA build of torchvision: the Python code alone."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    copy = folder / "torchvision"
    copy.mkdir()
    for entry in Path(spec.origin).parent.iterdir():
        if entry.suffix not in (".so", ".pyd", ".dylib"):
            (copy / entry.name).symlink_to(entry)
    return folder


def run_python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{REPOSITORY}"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )


def test_timm_loads_where_the_operators_of_torchvision_are_missing(tmp_path: Path) -> None:
    path = torchvision_without_compiled_operators(tmp_path)
    code = """
try:
    import torchvision
except RuntimeError as error:
    assert "operator torchvision::nms does not exist" in str(error), error
else:
    raise SystemExit("torchvision loads as it is: this test would prove nothing")
import torch
from train.timm_loader import load_timm
timm = load_timm()
assert load_timm() is timm
model = timm.create_model("mobilenetv3_small_050", num_classes=1).eval()
print(tuple(model(torch.zeros(1, 3, 64, 64)).shape))
"""
    run = run_python(code, path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(1, 1)"
    assert "Warning" not in run.stderr


def test_a_matching_pair_gets_no_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        pytest.skip("torch and torchvision are not a matching pair here")

    def refuse(*_: object) -> None:
        raise AssertionError("an operator was declared")

    monkeypatch.setattr(torch.library, "Library", refuse)
    assert timm_loader.load_timm().__name__ == "timm"


def test_another_failure_of_torchvision_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"{name} was compiled for another torch")

    declared: list[bool] = []
    monkeypatch.setattr(
        timm_loader, "_import_torchvision_without_operators", lambda: declared.append(True)
    )
    monkeypatch.setattr(timm_loader.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="torchvision was compiled for another torch"):
        timm_loader.load_timm()
    assert not declared


@pytest.mark.parametrize("name", ["torch", "torchvision", "timm"])
def test_a_missing_module_is_named_with_its_cure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(wanted: str) -> None:
        if wanted == name or name == "torch":  # torchvision is the first to ask for torch
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(timm_loader.importlib, "import_module", find)
    with pytest.raises(MissingDependencyError) as raised:
        timm_loader.load_timm()
    assert name in raised.value.found
    assert raised.value.fix == "pip install 'fiqa-edge[train]'"

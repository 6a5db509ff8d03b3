"""One small student in its formats, traced and converted once for all tests of the exports."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

SIZE = 64
CALM = 0.05  # spread of scores: random weights magnify rounding as trained ones do not


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from fiqa.contract import PreprocessSpec
    from tests.doubles.checkpoints import save_network
    from tests.doubles.lively_networks import make_lively
    from tests.doubles.tiny_sets import TINY
    from train.network import QualityNet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "student"
    network = make_lively(QualityNet(TINY, SIZE), SIZE, CALM)
    return save_network(folder, network, PreprocessSpec(size=SIZE))


@pytest.fixture(scope="session")
def deployable(checkpoint: Path) -> Any:
    from fiqa.contract import PreprocessSpec
    from quantize.deployable import make_deployable
    from train.checkpoint import load_checkpoint

    return make_deployable(load_checkpoint(checkpoint)[0], PreprocessSpec(size=SIZE))


@pytest.fixture(scope="session")
def converted(deployable: Any) -> bytes:
    """The float .tflite."""
    from quantize.convert import to_tflite

    return to_tflite(deployable)


@pytest.fixture(scope="session")
def converted_to_onnx(deployable: Any) -> bytes:
    from quantize.convert_onnx import to_onnx

    return to_onnx(deployable)


@pytest.fixture
def ready(deployable: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands trace and convert nothing: for tests that look at what comes after."""
    from export import exporter, onnx, tflite

    def traced(network: Any, spec: Any, batch: int = 1) -> Any:
        assert (spec.size, batch) == (SIZE, 1)
        return dataclasses.replace(deployable, module=copy.deepcopy(deployable.module))

    monkeypatch.setattr(exporter, "make_deployable", traced)
    monkeypatch.setattr(tflite, "to_tflite", lambda _: request.getfixturevalue("converted"))
    monkeypatch.setattr(onnx, "to_onnx", lambda _: request.getfixturevalue("converted_to_onnx"))

"""Devices to measure on: pretended phones behind two real adbs, and a board behind a real sshd."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_bench.inputs import Model, read_models
from edge_bench.plan import Setup
from edge_bench.runner.build import build_runner, litert_library
from edge_bench.runner.native import LIBRARY, RUNNER, NativeRunner
from edge_bench.runner.request import Request
from edge_bench.targets.adb import AdbTarget
from quantize import graph
from tests.doubles import adb_lab, arm_root, tiny_models, twin_models
from tests.doubles.adb_lab import Lab, PhoneDouble
from tests.doubles.board import running_board
from tests.doubles.picture_sets import write_set

PICTURES = 24
names = itertools.count()
look_once = functools.cache(graph.delegation_of)


@pytest.fixture(autouse=True)
def _looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT's delegate is asked in a process of its own: once for each model is enough here."""
    monkeypatch.setattr(graph, "delegation_of", look_once)


@pytest.fixture(scope="session")
def arm_runner() -> NativeRunner:
    return NativeRunner(build_runner("aarch64"), litert_library("aarch64"), "")


@pytest.fixture(scope="session")
def phone_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arm_root.require()
    return arm_root.make_root(tmp_path_factory.mktemp("phone") / "root")


@pytest.fixture(scope="session", params=["adb 29", "current adb"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    arm_root.require()
    old = request.param == "adb 29"
    adb = adb_lab.installed_adb() if old else adb_lab.current_adb()
    lab = Lab(adb, tmp_path_factory.mktemp("lab") / "home")
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def running_phone(
    lab: Lab, phone_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PhoneDouble]:
    with adb_lab.running_phone(phone_root, tmp_path_factory.mktemp("daemon"), lab) as phone:
        yield phone


@pytest.fixture
def phone(
    running_phone: PhoneDouble, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PhoneDouble]:
    """Without faults and connected; our code uses this lab's adb."""
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    running_phone.set()
    running_phone.reach()
    yield running_phone
    running_phone.set()
    (running_phone.root / "etc/boot_id").write_text(arm_root.BOOT_ID + "\n")
    running_phone.leave()


@pytest.fixture
def board(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A board that answers to `ssh:board`; gives its root."""
    arm_root.require("sshd", "ssh")
    folder = tmp_path_factory.mktemp("board")
    root = arm_root.make_root(folder / "root", android=False)
    with running_board(root, folder / "sshd") as command:
        monkeypatch.setenv("FIQA_SSH_COMMAND", command)
        yield root


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of tiny pictures."""
    return write_set(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A float model and an INT8 one."""
    return twin_models.write_twins(tmp_path_factory.mktemp("twins"))


@dataclass(frozen=True)
class Bench:
    """A phone with runner, library, a tiny model and pictures in place, put there by hand."""

    phone: PhoneDouble
    target: AdbTarget
    runner: NativeRunner
    model: Model
    request: Request

    @property
    def folder(self) -> Path:
        """The target's folder, as one of this machine."""
        return Path(f"{self.phone.root}{self.target.folder}")

    def score(self) -> tuple[float, ...]:
        return self.runner.perform(self.target, self.request).outputs


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_models.write_tflite(tmp_path_factory.mktemp("model") / "tiny.tflite")
    return read_models([path], None)[0]


@pytest.fixture
def bench(phone: PhoneDouble, arm_runner: NativeRunner, tiny_model: Model) -> Iterator[Bench]:
    model = tiny_model
    target = AdbTarget(phone.serial, f"test{next(names)}")
    request = Request(
        "score", model.remote, "pictures.bin", "table.bin", "NHWC", Setup(), limit_s=60
    )
    bench = Bench(phone, target, arm_runner, model, request)
    bench.folder.mkdir(parents=True)
    shutil.copy(model.path, bench.folder / model.remote)
    shutil.copy(arm_runner.executable, bench.folder / RUNNER)
    shutil.copy(arm_runner.library, bench.folder / LIBRARY)
    (bench.folder / "pictures.bin").write_bytes(pictures().tobytes())
    (bench.folder / "table.bin").write_bytes(model.table)
    yield bench
    shutil.rmtree(bench.folder, ignore_errors=True)


def pictures() -> np.ndarray:
    """(N, size, size, 3) bytes of all kinds of colours."""
    size = tiny_models.SIZE
    return np.random.default_rng(1).integers(0, 256, (PICTURES, size, size, 3), np.uint8)

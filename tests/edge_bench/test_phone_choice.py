"""What the Android runners are made of, without a phone."""

from __future__ import annotations

import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_bench.errors import NoSpaceError, RunnerError, WrongAbi
from edge_bench.plan import Setup
from edge_bench.run import make_plan
from edge_bench.runner import apk
from edge_bench.runner.apk import find_apk, library_in
from edge_bench.runner.app import refusal_of
from edge_bench.runner.native import options_of
from edge_bench.runner.phone import PhoneRunner, pinned
from edge_bench.runner.request import Request
from edge_bench.targets.base import Done
from fiqa.errors import InputError
from fiqa.files import sha256_file
from tests.doubles.bench_results import device

ELF_ARM64 = b"\x7fELF" + bytes(14) + b"\xb7\x00" + bytes(100)


def write_apk(path: Path, **changes: bytes | None) -> Path:
    entries: dict[str, bytes | None] = {
        "classes.dex": b"dex Lfiqa/bench/Main; and more",
        "lib/arm64-v8a/libtensorflowlite_jni.so": ELF_ARM64,
    } | changes
    with zipfile.ZipFile(path, "w") as content:
        for name, data in entries.items():
            if data is not None:
                content.writestr(name, data)
    return path


def test_the_apk_just_built_comes_before_the_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = write_apk(tmp_path / "packaged.apk")
    monkeypatch.setattr(apk, "PACKAGED", packaged)
    monkeypatch.setattr(apk, "BUILT", tmp_path / "built.apk")
    assert find_apk(None) == packaged
    built = write_apk(tmp_path / "built.apk")
    assert find_apk(None) == built
    other = write_apk(tmp_path / "other.apk")
    assert find_apk(other) == other


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"no zip"), "is no APK"),
        (lambda path: write_apk(path, **{"classes.dex": b"dex of another app"}), "no runner"),
        (lambda path: write_apk(path, **{"classes.dex": None}), "is no APK"),
        (lambda path: cut(write_apk(path)), "is no APK"),
        (lambda path: flip(write_apk(path)), "is damaged|is no APK"),
    ],
)
def test_an_apk_that_is_none_is_told_before_it_travels(
    make: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    make(tmp_path / "x.apk")
    with pytest.raises(RunnerError, match=says) as told:
        find_apk(tmp_path / "x.apk")
    assert "make apk" in told.value.fix


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"and more")] ^= 1
    path.write_bytes(bytes(data))


def test_the_library_is_the_phones_own(tmp_path: Path) -> None:
    path = write_apk(tmp_path / "x.apk")
    assert library_in(path, "arm64-v8a", tmp_path).read_bytes() == ELF_ARM64
    with pytest.raises(WrongAbi, match="no libtensorflowlite_jni.so for x86"):
        PhoneRunner(path, None, "x86")
    (tmp_path / "other.so").write_bytes(ELF_ARM64)
    runner = PhoneRunner(path, tmp_path / "other.so", "arm64-v8a")
    assert runner.record.library == "other.so"
    assert runner.record.sha256 == sha256_file(path)
    with pytest.raises(WrongAbi, match=r"other.so is for aarch64"):
        PhoneRunner(path, tmp_path / "other.so", "x86_64")


def test_processors_become_the_mask_that_taskset_takes() -> None:
    assert pinned((4, 5, 6, 7)) == ["taskset", "f0"]
    assert pinned((0, 9)) == ["taskset", "201"]
    assert pinned(()) == []


def test_options_name_files_where_the_runner_sees_them() -> None:
    request = Request("time", "m", "p", "t", "NCHW", Setup(2), runs=7, seconds=1.5)
    options = options_of(request, "id", "out", lambda name: f"/there/{name}")
    assert options["--model"] == "/there/m"
    assert options["--out"] == "/there/out"
    assert (options["--threads"], options["--runs"], options["--seconds"]) == ("2", "7", "1.500")
    assert "--marks" not in options


@pytest.mark.parametrize(
    ("said", "kind", "fix"),
    [
        ("Failure [INSTALL_FAILED_NO_MATCHING_ABIS: res=-113]", WrongAbi, "--apk"),
        ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", NoSpaceError, "free"),
        ("Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: keys]", RunnerError, "adb uninstall"),
        ("Failure [INSTALL_FAILED_VERSION_DOWNGRADE]", RunnerError, "adb uninstall"),
        ("Failure [INSTALL_FAILED_USER_RESTRICTED]", RunnerError, "developer options"),
        ("Failure [INSTALL_FAILED_OTHERWISE]", RunnerError, "--runner"),
    ],
)
def test_each_refusal_of_the_package_manager_has_its_cure(
    said: str, kind: type[Exception], fix: str
) -> None:
    error = refusal_of(Done(1, f"{said}\n", ""), "adb:1")
    assert type(error) is kind
    assert said.split("[")[1].split("]")[0] in error.found
    assert fix in error.fix


def test_where_an_app_runs_is_androids_choice() -> None:
    asked = Namespace(
        runner="app", cores=None, threads=[1], delegate=["xnnpack"], quick=True, blocks=None,
        runs=None,
    )  # fmt: skip
    assert make_plan(asked, "adb", device()).setups == (Setup(1, "any", ()),)
    asked.cores = ["big"]
    with pytest.raises(InputError, match="--cores big"):
        make_plan(asked, "adb", device())


@pytest.mark.parametrize("cores", ["big", "all", "3-1"])
def test_a_device_that_tells_of_no_processor_is_not_pinned_unasked(cores: str) -> None:
    asked = Namespace(
        runner="auto", cores=[cores], threads=[1], delegate=["xnnpack"], quick=True, blocks=None,
        runs=None,
    )  # fmt: skip
    with pytest.raises(InputError, match=f"--cores {cores} names no processor"):
        make_plan(asked, "ssh", device(cores=()))
    asked.cores = ["any"]
    assert make_plan(asked, "ssh", device(cores=())).setups == (Setup(1, "any", ()),)

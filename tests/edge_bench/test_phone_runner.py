"""Android's runners on a pretended phone that executes the dex of the APK it was given.

The APK is built here. `app_process` and the installed app run it in a JVM for ARM, with the
archive's own arm64 library, so that scores come from the code a phone would run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bench import run
from edge_bench.errors import (
    DeviceError,
    DeviceOffline,
    DeviceTimeout,
    InferenceError,
    LibraryError,
    ModelError,
    NoSpaceError,
    ResultError,
    RunnerCrashed,
    RunnerError,
    RunnerInputError,
    TransferError,
    WrongAbi,
)
from edge_bench.inputs import read_models
from edge_bench.plan import Setup
from edge_bench.result import BenchResult, read_result
from edge_bench.runner.apk import BUILT, LIBRARY, library_in
from edge_bench.runner.app import FOLDER, PACKAGE, AppRunner
from edge_bench.runner.phone import APK, PhoneRunner
from edge_bench.runner.request import Request
from edge_bench.summary import summarise_result
from edge_bench.targets.adb import AdbTarget
from tests.doubles import adb_lab, arm_root, art, tiny_models
from tests.doubles.adb_lab import Lab, PhoneDouble
from tests.edge_bench.conftest import names, pictures

pytestmark = [pytest.mark.slow, pytest.mark.device]  # some seconds a start of the ARM JVM

QUICK = ("--blocks", "2", "--runs", "4", "--quick", "--quiet")
SLEEP = "61.25"  # seconds; a number that no other process has
CALL = r"(sh -c 'log -t fiqa .*? --out (\S+).*?)\n"  # the runner's command line, and its result


@pytest.fixture(scope="session")
def apk() -> Path:
    """The APK of these sources; the build makes it anew only where something changed."""
    art.require()
    from android_demo import build

    assert build.main(["apk", "--quiet"]) == 0
    return BUILT


@pytest.fixture(scope="session")
def android_root(apk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return art.make_android_root(tmp_path_factory.mktemp("android") / "root")


@pytest.fixture(scope="session")
def running_android(
    lab: Lab, android_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PhoneDouble]:
    with adb_lab.running_phone(android_root, tmp_path_factory.mktemp("daemon"), lab) as phone:
        yield phone


@pytest.fixture
def android(
    running_android: PhoneDouble, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PhoneDouble]:
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    running_android.set()
    running_android.reach()
    yield running_android
    running_android.set()
    running_android.leave()
    for name in ("app", "data", "system/packages", "local/tmp/fiqa-bench"):
        shutil.rmtree(running_android.root / "data" / name, ignore_errors=True)
        (running_android.root / "data" / name).mkdir()


@dataclass(frozen=True)
class PhoneBench:
    """A phone with a runner, a model and pictures in place."""

    phone: PhoneDouble
    target: AdbTarget
    runner: PhoneRunner | AppRunner
    request: Request

    @property
    def folder(self) -> Path:
        return Path(f"{self.phone.root}{self.target.folder}")

    @property
    def app_folder(self) -> Path:
        return self.phone.root / "data/data" / PACKAGE / FOLDER

    def perform(self, **changes: Any) -> str:
        request = dataclasses.replace(self.request, **changes)
        return json.dumps(self.runner.perform(self.target, request).outputs)


def make_bench(
    phone: PhoneDouble, runner: Callable[[AdbTarget], PhoneRunner | AppRunner], folder: Path
) -> PhoneBench:
    path = tiny_models.write_tflite(folder / "tiny.tflite")
    (model,) = read_models([path], None)
    target = AdbTarget(phone.serial, f"phone{next(names)}")
    target.open()
    request = Request(
        "score", model.remote, "pictures.bin", "table.bin", "NHWC", Setup(), limit_s=60,
        sha256=model.record.sha256,
    )  # fmt: skip
    bench = PhoneBench(phone, target, runner(target), request)
    bench.runner.install(target)
    shutil.copy(path, bench.folder / model.remote)
    (bench.folder / "pictures.bin").write_bytes(pictures().tobytes())
    (bench.folder / "table.bin").write_bytes(model.table)
    return bench


@pytest.fixture
def bench(android: PhoneDouble, apk: Path, tmp_path: Path) -> Iterator[PhoneBench]:
    made = make_bench(android, lambda _: PhoneRunner(apk, None, "arm64-v8a"), tmp_path)
    yield made
    android.set()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def app(android: PhoneDouble, apk: Path, tmp_path: Path) -> Iterator[PhoneBench]:
    made = make_bench(android, lambda target: AppRunner(target, apk), tmp_path)
    yield made
    android.set()
    made.target.clean_up()


# ---------------------------------------------------------------- whole benchmarks


def measured(
    phone: PhoneDouble, models: list[Path], data: Path, out: Path, *more: str
) -> BenchResult:
    command = [
        *("--artifact", *map(str, models), "--data", str(data), "--out", str(out)),
        *("--target", f"adb:{phone.serial}", *QUICK, *more),
    ]
    assert run.main(command) in (0, 1)
    result = read_result(out)
    assert result.complete
    assert result.source == "emulated"
    assert {one.engine for one in result.passes} == {"tflite 2.16.1"}
    assert [one.status for one in summarise_result(result).canaries] == ["passed"] * 2
    assert [one.model for one in result.blocks] == [0, 1, 1, 0]
    assert all(len(one.samples_us) == 2 for one in result.blocks)
    assert list((phone.root / "data/local/tmp/fiqa-bench").iterdir()) == []  # it cleaned up
    return result


def test_a_phone_gets_the_runner_of_the_apk_by_default(
    android: PhoneDouble, twins: list[Path], data: Path, tmp_path: Path, apk: Path
) -> None:
    result = measured(android, twins, data, tmp_path / "phone.json", "--cores", "big")
    assert result.runner.kind == "app_process"
    assert result.device.libc == "bionic"
    big = arm_root.PROCESSORS[len(arm_root.PROCESSORS) // 2 :]
    assert result.plan.setups == (Setup(1, "big", tuple(big)),)
    assert not (android.root / "data/app" / PACKAGE).exists()  # nothing was installed


def test_the_installed_app_measures_as_well(
    android: PhoneDouble, twins: list[Path], data: Path, tmp_path: Path, apk: Path
) -> None:
    more = ("--runner", "app", "--apk", str(apk))
    result = measured(android, twins, data, tmp_path / "app.json", *more)
    assert result.runner.kind == "app"
    assert result.plan.setups == (Setup(1, "any", ()),)
    assert not (android.root / "data/data" / PACKAGE / FOLDER).exists()
    assert not list((android.root / "data/system/pids").iterdir())  # and it was ended


def test_scores_are_those_of_this_machine(bench: PhoneBench) -> None:
    expected = tiny_models.expected_score(pictures())
    np.testing.assert_allclose(json.loads(bench.perform()), expected, atol=1e-6)
    part = json.loads(bench.perform(start=5, count=3))
    np.testing.assert_allclose(part, expected[5:8], atol=1e-6)


# ---------------------------------------------------------------- faults


@dataclass(frozen=True)
class Fault:
    """What is injected, what is tried, and what must come of it."""

    name: str
    error: type[DeviceError]
    says: str = ""
    work: Callable[[PhoneBench], Any] = lambda bench: bench.perform()
    faults: dict[str, Any] = field(default_factory=dict)


def with_file(name: str, content: bytes | None) -> Callable[[PhoneBench], Any]:
    def work(bench: PhoneBench) -> str:
        path = bench.folder / (bench.request.model if name == "model" else name)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return bench.perform()

    return work


def with_request(**changes: Any) -> Callable[[PhoneBench], Any]:
    return lambda bench: bench.perform(**changes)


def rewrite(replacement: str) -> dict[str, Any]:
    return {"rewrite": [[CALL, replacement.replace("\n", "") + "\n"]]}


def junk_with_its_hash(bench: PhoneBench) -> str:
    import hashlib

    junk = b"junk" * 999
    (bench.folder / bench.request.model).write_bytes(junk)
    return bench.perform(sha256=hashlib.sha256(junk).hexdigest())


def other_library(bench: PhoneBench) -> str:
    shutil.copy(library_in(BUILT, "x86_64", bench.phone.root / "tmp"), bench.folder / LIBRARY)
    return bench.perform()


def pulled_off(bench: PhoneBench) -> str:
    """Once the runner is seen at work."""

    def pull() -> None:
        until = time.monotonic() + 60
        while not alive(bench.target.folder) and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(4)
        bench.phone.set(**bench.phone.faults | {"unplugged": True})

    threading.Thread(target=pull).start()
    return bench.perform(mode="time", runs=10**9, limit_s=80)


FAULTS = [
    Fault("the library is missing", LibraryError, "", with_file(LIBRARY, None)),
    Fault("the library is another processor's", LibraryError, "", other_library),
    Fault("the APK is cut short", RunnerCrashed, "could not find class", with_file(APK, b"PK")),
    Fault("the model changed on its way", ModelError, "has the hash", with_file("model", b"x" * 9)),
    Fault("the model is junk", ModelError, "", junk_with_its_hash),
    Fault("the model is missing", ModelError, "does not exist", with_file("model", None)),
    Fault("the pictures are cut short", RunnerInputError, "", with_file("pictures.bin", bytes(99))),
    Fault("the pictures are missing", RunnerInputError, "", with_file("pictures.bin", None)),
    Fault("the table is another type's", RunnerInputError, "", with_file("table.bin", bytes(768))),
    Fault("processors that are not there", RunnerError, "",
          with_request(setup=dataclasses.replace(Setup(), cpus=(60,)))),
    Fault("an argument the runner does not know", RunnerError, "nonsense",
          faults={"rewrite": [["--model ", "--nonsense 1 --model "]]}),
    Fault("the runner takes too long", DeviceTimeout, "took longer than 4 s",
          with_request(mode="time", runs=10**9, limit_s=4)),
    Fault("the runner is killed for memory", RunnerCrashed, "lowmemorykiller", faults=rewrite(
          r"\1 >/dev/null; log -t lowmemorykiller Kill process; (exit 137)")),
    Fault("an exception that nobody caught", RunnerCrashed, "IllegalStateException",
          faults=rewrite(r"\1 >/dev/null; log -t AndroidRuntime java.lang.IllegalStateException; "
                         "(exit 137)")),
    Fault("the result is cut short", ResultError, "", faults=rewrite(
          r"\1; truncate -s 300 \2")),
    Fault("the result is not written", TransferError, "", faults=rewrite(r"\1; rm \2")),
    Fault("the result is another run's", ResultError, "run_id",
          faults=rewrite(r"\1; sed -i 's/\"run_id\": \"./\"run_id\": \"x/' \2")),
    Fault("a score is no number", InferenceError, "no number",
          faults=rewrite(r"\1; sed -i 's/\"outputs\": \[[^,]*/\"outputs\": [\"nan\"/' \2")),
    Fault("the disk is full at the result", NoSpaceError, "",
          faults=rewrite(r"ln -s /dev/full \2.part; \1")),
    Fault("the phone is pulled off in mid-run", DeviceOffline, "", pulled_off),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_of_the_runner_has_its_error(fault: Fault, bench: PhoneBench) -> None:
    bench.phone.set(**fault.faults)
    with pytest.raises(fault.error, match=fault.says or None) as told:
        fault.work(bench)
    assert told.value.fix


def app_without_debugging(bench: PhoneBench) -> str:
    (bench.phone.root / "data/system/packages" / PACKAGE).write_text("release\n")
    return bench.perform()


def app_removed(bench: PhoneBench) -> str:
    shutil.rmtree(bench.phone.root / "data/app" / PACKAGE)
    return bench.perform()


APP_FAULTS = [
    Fault("the app is killed", RunnerCrashed, "lowmemorykiller",
          with_request(mode="time", runs=10**9, limit_s=50), {"app_killed_after_s": 6}),
    Fault("run-as is refused", RunnerError, "not debuggable", app_without_debugging),
    Fault("the app was removed", RunnerError, "does not exist", app_removed),
    Fault("another model than meant", ModelError, "has the hash", with_request(sha256="0" * 64)),
    Fault("the app takes too long", DeviceTimeout, "took longer than 4 s",
          with_request(mode="time", runs=10**9, limit_s=4)),
]  # fmt: skip


@pytest.mark.parametrize("fault", APP_FAULTS, ids=lambda fault: fault.name)
def test_fault_of_the_app_has_its_error(fault: Fault, app: PhoneBench) -> None:
    app.phone.set(**fault.faults)
    with pytest.raises(fault.error, match=fault.says or None) as told:
        fault.work(app)
    assert told.value.fix


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ("INSTALL_FAILED_INSUFFICIENT_STORAGE", NoSpaceError),
        ("INSTALL_FAILED_UPDATE_INCOMPATIBLE: signatures do not match", RunnerError),
        ("INSTALL_FAILED_USER_RESTRICTED", RunnerError),
        ("INSTALL_FAILED_NO_MATCHING_ABIS: res=-113", WrongAbi),
    ],
)
def test_a_refused_installation_is_told(
    refusal: str, kind: type[DeviceError], android: PhoneDouble, apk: Path, tmp_path: Path
) -> None:
    android.set(install_fails=refusal)
    with pytest.raises(kind, match=refusal.split(":")[0]) as told:
        make_bench(android, lambda target: AppRunner(target, apk), tmp_path)
    assert told.value.fix


def test_an_app_for_other_processors_is_refused_by_the_phone_itself(
    android: PhoneDouble, apk: Path, tmp_path: Path
) -> None:
    from tests.doubles.android_system import refusal_of

    other = tmp_path / "other.apk"
    with zipfile.ZipFile(apk) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.infolist():
            if not entry.filename.startswith(("lib/arm", "META-INF")):
                target.writestr(entry, source.read(entry.filename))
    assert "PARSE_FAILED_NO_CERTIFICATES" in refusal_of(other)
    assert refusal_of(apk) == ""
    with pytest.raises(WrongAbi, match="arm64-v8a"):
        PhoneRunner(other, None, "arm64-v8a")


def test_a_runner_that_nobody_waits_for_ends(bench: PhoneBench) -> None:
    """Only the shell is hung up when a phone is pulled off: the runner has to notice by itself.

    A program that does not look goes on, which shows that nothing else ended the runner.
    """

    def sleep() -> None:
        with contextlib.suppress(DeviceError):
            bench.target.run(["sleep", SLEEP], timeout_s=90)

    bench.phone.set(hang_up_shell_only=True)
    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    with pytest.raises(DeviceOffline):
        pulled_off(bench)
    sleeper.join()
    until = time.monotonic() + 20
    while (left := alive(bench.target.folder)) and time.monotonic() < until:
        time.sleep(0.5)
    assert not left
    assert not list(bench.folder.glob("result-*"))
    sleeping = alive(SLEEP, "sleep")
    assert sleeping
    for number in sleeping:
        os.kill(number, signal.SIGKILL)


def alive(word: str, program: str = "app_process64") -> list[int]:
    """Processes of this program with this word in their command line."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (place / "cmdline").read_bytes().decode(errors="replace")
                if word in words and program in words and "qemu" in words:
                    found.append(int(place.name))
    return found

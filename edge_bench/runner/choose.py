"""Which runner a device gets: ours for Linux or Android, or one that the user has."""

from __future__ import annotations

from pathlib import Path

from edge_bench.errors import ToolError, WrongAbi
from edge_bench.runner.apk import find_apk
from edge_bench.runner.app import AppRunner
from edge_bench.runner.benchmark_model import BenchmarkModel
from edge_bench.runner.build import build_runner, litert_library, litert_version
from edge_bench.runner.native import NativeRunner
from edge_bench.runner.phone import PhoneRunner, android_abi
from edge_bench.runner.request import Runner
from edge_bench.targets.base import Target
from edge_bench.targets.facts import DeviceFacts
from fiqa.errors import InputError
from fiqa.files import require_file

AUTO, NATIVE, APP, BENCHMARK_MODEL = "auto", "native", "app", "benchmark_model"
RUNNERS = f"{AUTO}, {NATIVE}, {APP} (Android's, installed), {BENCHMARK_MODEL}, or a program for it"
ON_DEVICE = "/data/local/tmp/benchmark_model"  # where TensorFlow's guide puts it


def choose_runner(
    asked: str, library: Path | None, apk: Path | None, target: Target, facts: DeviceFacts
) -> Runner:
    """`asked`: auto, native, app, benchmark_model, or the path of an executable for the device."""
    is_android = facts.libc == "bionic"
    if asked == APP:
        return _app(library, apk, target, is_android)
    if asked == AUTO and is_android:
        return PhoneRunner(find_apk(apk), _library(library), android_abi(target))
    if apk is not None:
        raise InputError(
            f"--apk {apk} for {target.name}", expected="an APK for Android's own runners",
            fix="leave out --apk, or --runner",
        )  # fmt: skip
    if asked == BENCHMARK_MODEL:
        return _benchmark_model(target)
    if asked == NATIVE and is_android:
        raise WrongAbi(
            f"{target.name} runs Android, whose C library our native runner is not built for",
            expected="a runner built with the NDK",
            fix="leave --runner out, or --runner PATH --lib PATH",
        )
    if asked not in (AUTO, NATIVE):
        path = require_file(Path(asked), RUNNERS)
        if path.name.startswith(BENCHMARK_MODEL):
            return BenchmarkModel(path, path.name)
        if is_android and library is None:
            raise InputError(
                f"--runner {asked} for Android without --lib",
                expected="an Android library beside it: LiteRT's in the wheel is for Linux",
                fix="--lib libLiteRt.so or libtensorflowlite_jni.so of an Android archive",
            )
    return _native(asked, library, facts)


def _native(asked: str, library: Path | None, facts: DeviceFacts) -> NativeRunner:
    executable = build_runner(facts.abi) if asked in (AUTO, NATIVE) else Path(asked)
    found = _library(library)
    if found is None:
        runner = NativeRunner(executable, litert_library(facts.abi), litert_version())
    else:
        runner = NativeRunner(executable, found, "")
    runner.check_abi(facts.abi)
    return runner


def _app(library: Path | None, apk: Path | None, target: Target, is_android: bool) -> AppRunner:
    if not is_android:
        raise WrongAbi(
            f"{target.name} does not run Android", expected="a phone for --runner app",
            fix="leave --runner out",
        )  # fmt: skip
    if library is not None:
        raise InputError(
            f"--lib {library} with --runner app", expected="the library in the app's APK",
            fix="leave --lib out, or --runner",
        )  # fmt: skip
    return AppRunner(target, apk)


def _benchmark_model(target: Target) -> BenchmarkModel:
    if target.run(["test", "-x", ON_DEVICE]).status:
        raise ToolError(
            f"{target.name} has no {ON_DEVICE}", expected="TensorFlow's benchmark_model there",
            fix="put it there, or name one: --runner PATH/benchmark_model",
        )  # fmt: skip
    return BenchmarkModel(None, ON_DEVICE)


def _library(path: Path | None) -> Path | None:
    return None if path is None else require_file(path, "a LiteRT or TFLite library")

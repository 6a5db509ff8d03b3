"""Which runner a device gets: ours, one the user built, or an existing benchmark_model.

Android phones will get the runner inside the demo app, in Kotlin; its place is here.
"""

from __future__ import annotations

from pathlib import Path

from edge_bench.errors import WrongAbi
from edge_bench.runner.benchmark_model import BenchmarkModel
from edge_bench.runner.build import build_runner, litert_library, litert_version
from edge_bench.runner.native import NativeRunner
from edge_bench.runner.request import Runner
from edge_bench.targets.base import Target
from edge_bench.targets.facts import DeviceFacts
from fiqa.files import require_file

AUTO, NATIVE = "auto", "native"
ON_DEVICE = "/data/local/tmp/benchmark_model"  # where TensorFlow's guide puts it


def choose_runner(asked: str, library: Path | None, target: Target, facts: DeviceFacts) -> Runner:
    """`asked`: auto, native, or the path of an executable for the device."""
    if asked == AUTO and facts.libc == "bionic":
        if target.run(["test", "-x", ON_DEVICE]).status == 0:
            return BenchmarkModel(None, ON_DEVICE)
        raise WrongAbi(
            f"{target.name} runs Android, whose C library our native runner is not for",
            expected=f"a runner built with the NDK, or a benchmark_model at {ON_DEVICE}",
            fix="--runner PATH --lib PATH, or --runner PATH/benchmark_model",
        )
    if asked not in (AUTO, NATIVE):
        path = require_file(Path(asked), "auto, native, or an executable for the device")
        if path.name.startswith("benchmark_model"):
            return BenchmarkModel(path, path.name)
    executable = build_runner(facts.abi) if asked in (AUTO, NATIVE) else Path(asked)
    if library is None:
        runner = NativeRunner(executable, litert_library(facts.abi), litert_version())
    else:
        runner = NativeRunner(executable, require_file(library, "a LiteRT or TFLite library"), "")
    runner.check_abi(facts.abi)
    return runner

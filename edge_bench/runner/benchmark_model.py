"""TensorFlow's benchmark_model as a stand-in: latency only, from its own log, on random inputs.

It tells means and no single times, so its numbers have no percentiles; and it scores nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_bench.errors import ResultError
from edge_bench.result import RunnerRecord
from edge_bench.runner.native import GRACE_S, failure
from edge_bench.runner.phone import pinned
from edge_bench.runner.request import Answer, RawTensor, Request
from edge_bench.targets.base import Target
from fiqa.files import sha256_file

NAME = "benchmark_model"
TIMES = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), "
    r"Warmup \(avg\): ([\d.e+]+), Inference \(avg\): ([\d.e+]+)"
)
COUNT = re.compile(r"count=(\d+)")
NOTE = "latency only: means of benchmark_model on random inputs"


class BenchmarkModel:
    """`executable` is a file of this machine, or None where it lies on the device already."""

    def __init__(self, executable: Path | None, where: str) -> None:
        self._executable, self._where = executable, where
        digest = sha256_file(executable) if executable else ""
        self.record = RunnerRecord(NAME, digest, latency_only=True)  # type: ignore[arg-type]

    def install(self, target: Target) -> None:
        if self._executable is not None:
            target.put(self._executable, NAME)
            target.run(["chmod", "755", target.path(NAME)])
            self._where = target.path(NAME)

    def perform(self, target: Target, request: Request) -> Answer:
        setup = request.setup
        argv = [
            *pinned(setup.cpus),
            self._where,
            f"--graph={target.path(request.model)}",
            f"--num_threads={setup.threads}",
            f"--num_runs={request.runs}",
            f"--min_secs={request.seconds:.3f}",
            f"--max_secs={request.limit_s:.0f}",
            f"--warmup_runs={max(request.warm_up, 1)}",
            f"--use_xnnpack={'true' if setup.delegate == 'xnnpack' else 'false'}",
        ]
        done = target.run(argv, request.limit_s + GRACE_S)
        if done.status:
            raise failure(done, request, target.name)
        return read_log(done.out + done.err, request, _boot_id(target))


def read_log(log: str, request: Request, boot_id: str) -> Answer:
    times = TIMES.search(log)
    counts = COUNT.findall(log)
    if times is None or not counts:
        raise ResultError(
            "benchmark_model's log tells no inference times",
            expected="a line 'Inference timings in us: ...'",
            fix="run it by hand on the device and look",
        )
    init, first, _, mean = map(float, times.groups())
    runs = int(counts[-1])  # the warm-up's count comes before that of the runs
    nothing = RawTensor("", 0, 0.0, 0)
    return Answer(
        schema=1, run_id="", mode=request.mode, engine=NAME, architecture="", emulator="",
        boot_id=boot_id, delegate=request.setup.delegate, fully_delegated=None,
        threads=request.setup.threads, input=nothing, output=nothing, library_us=0.0,
        init_us=init, first_us=first, outputs=(), samples_us=(), elapsed_us=mean * runs,
        cpu_us=0.0, involuntary_switches=0, peak_kb=-1, pss_kb=-1, mean_us=mean, runs=runs,
        notes=(NOTE,),
    )  # fmt: skip


def _boot_id(target: Target) -> str:
    return target.script("cat /proc/sys/kernel/random/boot_id").out.strip()

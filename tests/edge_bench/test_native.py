"""What the runner says, and what is made of it, without a device."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edge_bench.errors import (
    ClockError,
    DeviceError,
    DeviceTimeout,
    InferenceError,
    LibraryError,
    ModelError,
    NoSpaceError,
    ResultError,
    RunnerCrashed,
    RunnerError,
    RunnerInputError,
    WrongAbi,
)
from edge_bench.plan import Setup
from edge_bench.runner.benchmark_model import read_log
from edge_bench.runner.native import check_clock, failure, read_answer
from edge_bench.runner.request import Request
from edge_bench.targets.base import Done

REQUEST = Request("time", "model", "pictures", "table", "NHWC", Setup(), runs=3)
TENSOR = {"dtype": "int8", "elements": 1, "scale": 0.01, "zero_point": 0}
ANSWER: dict[str, Any] = {
    "schema": 1, "run_id": "this one", "mode": "time", "engine": "litert",
    "architecture": "aarch64", "emulator": "", "boot_id": "b", "delegate": "xnnpack",
    "fully_delegated": True, "threads": 1, "input": TENSOR, "output": TENSOR,
    "library_us": 1.0, "init_us": 2.0, "first_us": 3.0, "outputs": [1, 2], "elapsed_us": 100.0,
    "samples_us": [10.0, 11.0, 12.0], "cpu_us": 90.0, "involuntary_switches": 0,
    "peak_kb": 1000, "pss_kb": -1, "khz_before": [], "khz_after": [], "total_us": 200.0,
}  # fmt: skip


def read(folder: Path, text: str | None = None, **changes: Any) -> Any:
    path = folder / "result.json"
    path.write_text(json.dumps(ANSWER | changes) if text is None else text)
    return read_answer(path, "this one", REQUEST)


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (2, '{"stage": "arguments", "message": "--x"}', RunnerError),
        (3, '{"stage": "library", "message": "wrong ELF class: ELFCLASS32"}', WrongAbi),
        (3, '{"stage": "library", "message": "the library has no X"}', LibraryError),
        # Android's linker has words of its own, and the Kotlin runner a limit of its own.
        (
            3,
            '{"stage": "library", "message": "x is for EM_X86_64 (62) instead of EM_AARCH64"}',
            WrongAbi,
        ),
        (3, '{"stage": "library", "message": "x is 32-bit instead of 64-bit"}', WrongAbi),
        (6, '{"stage": "inference", "message": "the time limit"}', DeviceTimeout),
        (4, '{"stage": "model", "message": "status 1"}', ModelError),
        (5, '{"stage": "pictures", "message": "a \\"b\\""}', RunnerInputError),
        (6, '{"stage": "inference", "message": "status 1"}', InferenceError),
        (7, '{"stage": "result", "message": "No space left on device"}', NoSpaceError),
        (7, '{"stage": "result", "message": "Read-only file system"}', ResultError),
        (8, '{"stage": "processors", "message": "cannot stay"}', RunnerError),
        (126, "Exec format error", WrongAbi),
        (127, "./fiqa_runner: not found", WrongAbi),
        (132, "Illegal instruction", RunnerCrashed),
        (137, "Killed", RunnerCrashed),
        (142, "Alarm clock", DeviceTimeout),
        (77, "", RunnerError),
        (4, "no JSON of ours", RunnerError),
    ],
)
@pytest.mark.parametrize("stream", ["err", "out"])  # an old Android has one for both
def test_each_end_of_the_runner_has_its_error(
    status: int, said: str, kind: type[DeviceError], stream: str
) -> None:
    streams = {"out": "", "err": ""} | {stream: f"linker: noise\n{said}\n"}
    error = failure(Done(status, streams["out"], streams["err"]), REQUEST, "a device")
    assert type(error) is kind
    assert error.fix


def test_a_sound_answer_is_taken(tmp_path: Path) -> None:
    answer = read(tmp_path)
    assert answer.samples_us == (10.0, 11.0, 12.0)
    assert answer.outputs == (1.0, 2.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"run_id": "another"}, "run_id 'another'"),
        ({"threads": 4}, "threads 4"),
        ({"delegate": "none"}, "delegate 'none'"),
        ({"mode": "score"}, "mode 'score'"),
        ({"samples_us": [10.0, 11.0]}, "2 timed runs"),
        ({"samples_us": [10.0, 11.0, -1.0]}, "not within the whole"),
        ({"samples_us": [10.0, 11.0, 101.0]}, "not within the whole"),
        ({"samples_us": [60.0, 60.0, 60.0]}, "add up to more"),
        ({"schema": 2}, "schema 2"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"outputs": ["one"]}, "outputs[0]"),
    ],
)
def test_an_answer_that_contradicts_itself_is_none(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultError) as told:
        read(tmp_path, **changes)
    assert says in told.value.found


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "-inf"])
def test_scores_that_are_no_numbers_are_the_model_s_fault(value: str, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="no number"):
        read(tmp_path, outputs=[1.0, value])


def test_every_shorter_answer_is_refused(tmp_path: Path) -> None:
    text = json.dumps(ANSWER)
    for length in range(0, len(text), 7):
        with pytest.raises(ResultError):
            read(tmp_path, text[:length])


@pytest.mark.parametrize(
    ("told_s", "passed_s", "sound"),
    [(10.0, 10.2, True), (10.0, 12.0, True), (0.1, 5.0, True), (10.0, 9.9, True),
     (10.0, 5.0, False), (9e3, 1.0, False), (1.0, 60.0, False)],
)  # fmt: skip
def test_a_clock_that_runs_wild_is_seen(
    told_s: float, passed_s: float, sound: bool, tmp_path: Path
) -> None:
    answer = dataclasses.replace(read(tmp_path), total_us=told_s * 1e6)
    if sound:
        check_clock(answer, passed_s, "a device")
    else:
        with pytest.raises(ClockError):
            check_clock(answer, passed_s, "a device")


LOG = """INFO: Loaded model
Running benchmark for at least 1 iterations
count=13 first=40 curr=38 min=37 max=41 avg=38.4 std=1
Running benchmark for at least 50 iterations
count=50 first=4100 curr=3990 min=3950 max=4300 avg=4012.5 std=40
Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 14462.3, \
Inference (avg): 4012.5
"""


def test_benchmark_model_s_log_gives_means_and_no_samples() -> None:
    answer = read_log(LOG, REQUEST, "boot")
    assert (answer.mean_us, answer.runs, answer.init_us) == (4012.5, 50, 5685.0)
    assert answer.samples_us == answer.outputs == ()
    assert "latency only" in answer.notes[0]


def test_a_log_without_times_is_no_result() -> None:
    with pytest.raises(ResultError, match="no inference times"):
        read_log(LOG.split("Inference timings")[0], REQUEST, "boot")

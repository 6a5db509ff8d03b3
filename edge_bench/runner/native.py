"""The C++ runner on boards and hosts: called, watched, and its result checked."""

from __future__ import annotations

import json
import re
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from edge_bench.errors import (
    ClockError,
    DeviceError,
    DeviceTimeout,
    InferenceError,
    LibraryError,
    ModelError,
    ResultError,
    RunnerCrashed,
    RunnerError,
    RunnerInputError,
    WrongAbi,
)
from edge_bench.result import RunnerRecord
from edge_bench.runner.build import elf_abi
from edge_bench.runner.request import Answer, Request
from edge_bench.targets.base import NO_SPACE, Done, Target, no_space
from fiqa.errors import ManifestError
from fiqa.files import sha256_file
from fiqa.records import check_schema, from_plain, read_json

Options = dict[str, str]  # flags of a runner

SCHEMA = 1
RUNNER, LIBRARY = "fiqa_runner", "libinference.so"
GRACE_S = 30.0  # for starting and for the transport, beyond the runner's own limit
CLOCK_SLACK = 1.05  # device time over host time that is still the two clocks' rate
CLOCK_SLACK_S = 0.5
SLOWEST_START_S = 20.0  # of a command on a far board, beside the runner's own time

STAGES = {
    2: RunnerError,
    3: LibraryError,
    4: ModelError,
    5: RunnerInputError,
    6: InferenceError,
    7: ResultError,
    8: RunnerError,
}
FIXES = {
    2: "the runner and this version do not fit: leave --runner out",
    3: "name another library: --lib PATH",
    4: "export the model again: python -m export.tflite --help",
    5: "run again; nothing of it was measured",
    6: "try --delegate none to see whose kernels fail",
    7: "free some space on the device",
    8: "choose other --cores; python -m edge_bench.devices lists them",
}
SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV"}
SIGALRM = 14
CANNOT_EXECUTE = (126, 127)
OUT_OF_TIME = "the time limit"  # the Kotlin runner's words, where the native one gets SIGALRM
# glibc's words, then bionic's.
WRONG_LIBRARY = re.compile(
    r"wrong ELF class|invalid ELF header|ELF file's phentsize|machine"
    r"|is for EM_\w+|is (32|64)-bit instead|has bad ELF magic|too small to be an ELF",
    re.I,
)


class NativeRunner:
    """`executable` and `library` are files of this machine, for the target's processor."""

    def __init__(self, executable: Path, library: Path, version: str) -> None:
        self.executable, self.library = executable, library
        self.record = RunnerRecord(
            "native",
            sha256_file(executable),
            f"{library.name} {version}".strip(),
            sha256_file(library),
        )

    def check_abi(self, abi: str) -> None:
        """Tell a binary for another processor before it travels."""
        for path in (self.executable, self.library):
            found = elf_abi(path)
            if found != abi:
                raise WrongAbi(
                    f"{path.name} is for {found or 'no processor: it is no ELF file'}",
                    expected=f"a binary for {abi}",
                    fix="leave --runner and --lib out, or name the right ones",
                )

    def install(self, target: Target) -> None:
        target.put(self.executable, RUNNER)
        target.put(self.library, LIBRARY)
        target.run(["chmod", "755", target.path(RUNNER)])

    def perform(self, target: Target, request: Request) -> Answer:
        def command(options: Options) -> list[str]:
            argv = [target.path(RUNNER), *words({"--lib": target.path(LIBRARY)} | options)]
            return target.command(argv, request.setup)

        return call_runner(target, request, command)


def call_runner(
    target: Target,
    request: Request,
    command: Callable[[Options], list[str]],
    explain: Callable[[Done, str], str] = lambda done, run_id: "",
) -> Answer:
    """Any runner that is a program: `command` starts it, `explain` knows more about its end."""
    run_id = uuid.uuid4().hex
    name = f"result-{run_id[:12]}.json"
    argv = command(options_of(request, run_id, name, target.path))
    started = time.monotonic()
    done = target.run(argv, request.limit_s + GRACE_S)
    seconds = time.monotonic() - started
    if done.status:
        raise failure(done, request, target.name, explain(done, run_id))
    answer = fetch_answer(target, name, run_id, request)
    check_clock(answer, seconds, target.name)
    return answer


def fetch_answer(target: Target, name: str, run_id: str, request: Request) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / name
        target.get(name, local)
        answer = read_answer(local, run_id, request)
    target.run(["rm", "-f", target.path(name)])
    return answer


def options_of(request: Request, run_id: str, name: str, place: Callable[[str], str]) -> Options:
    """What every runner understands; `place` tells where a file of the target's folder lies."""
    setup = request.setup
    options = {
        "--model": place(request.model),
        "--pictures": place(request.pictures),
        "--table": place(request.table),
        "--layout": request.layout,
        "--out": place(name),
        "--run-id": run_id,
        "--mode": request.mode,
        "--threads": str(setup.threads),
        "--delegate": setup.delegate,
        "--cpus": ",".join(map(str, setup.cpus)),
        "--start": str(request.start),
        "--count": str(request.count),
        "--warm-up": str(request.warm_up),
        "--runs": str(request.runs),
        "--seconds": f"{request.seconds:.3f}",
        "--limit-s": f"{request.limit_s:.0f}",
    }
    if request.marks:
        options["--marks"] = "1"
    return options


def words(options: Options) -> list[str]:
    return [part for option in options.items() for part in option]


def failure(done: Done, request: Request, name: str, cause: str = "") -> DeviceError:
    """The runner's own words, or what its status says where it had none and the `cause`."""
    said = re.search(r'\{"stage": "(\w+)", "message": (".*")\}', done.err + done.out)
    if said and done.status in STAGES:
        message = _unquoted(said[2])
        if NO_SPACE in message:
            return no_space(f"the result does not fit on {name}: {message}")
        if message == OUT_OF_TIME:
            return too_long(request, name)
        kind = STAGES[done.status]
        if kind is LibraryError and WRONG_LIBRARY.search(message):
            kind = WrongAbi
        return kind(
            f"{request.model} on {name}, stage {said[1]}: {message}",
            expected="a runner that ends with 0",
            fix=FIXES[done.status],
        )
    last = cause or last_line(done.err + done.out)
    if done.status in CANNOT_EXECUTE:
        return WrongAbi(
            f"the runner cannot be started on {name}: {last}",
            expected="a device with the C library the runner was built for",
            fix="give one for this device: --runner PATH",
        )
    if done.status == 128 + SIGALRM:
        return too_long(request, name)
    if done.status > 128:
        number = done.status - 128
        return RunnerCrashed(
            f"the runner was killed by {SIGNALS.get(number, f'signal {number}')} on {name}: {last}",
            expected="a runner that ends by itself",
            fix="SIGKILL: too little memory; SIGILL, SIGSEGV: try another --lib",
        )
    return RunnerError(
        f"the runner ended with {done.status} on {name}: {last}",
        expected="0, or a stage of its own",
        fix="leave --runner out to use ours",
    )


def _unquoted(text: str) -> str:
    """A JSON string's text; as it stands where the device told half of it."""
    try:
        return str(json.loads(text))
    except (ValueError, RecursionError):
        return text


def last_line(said: str) -> str:
    return (said.strip().splitlines() or ["no word"])[-1][:200]


def too_long(request: Request, name: str) -> DeviceTimeout:
    return DeviceTimeout(
        f"{request.model} took longer than {request.limit_s:.0f} s on {name}",
        expected="a model that is quick enough for the plan",
        fix="lower --runs, or use fewer pictures: --limit",
    )


def read_answer(path: Path, run_id: str, request: Request) -> Answer:
    """Checked word by word: a result of another run, or half of one, is none."""
    try:
        document = read_json(path, "the runner's result")
        check_schema(document, SCHEMA, "the runner's result")
        answer = from_plain(Answer, document, "the runner's result")
    except ManifestError as error:
        if re.search(r"outputs\[\d+\] is '(nan|-nan|inf|-inf)'", error.found):
            raise InferenceError(
                f"{request.model} gives a score that is no number: {error.found}",
                expected="finite scores",
                fix="try --delegate none to see whose kernels fail",
            ) from error
        raise ResultError(
            error.found, expected="the runner's whole result", fix="run again with --resume"
        ) from error
    wanted = {"run_id": run_id, "mode": request.mode, "delegate": request.setup.delegate,
              "threads": request.setup.threads}  # fmt: skip
    for field, value in wanted.items():
        if getattr(answer, field) != value:
            raise ResultError(
                f"the runner's result has {field} {getattr(answer, field)!r}",
                expected=f"{value!r}, as was asked for",
                fix="run again with --resume",
            )
    timed = len(answer.samples_us)
    if request.mode == "time" and timed < request.runs:
        raise ResultError(f"{timed} timed runs", expected=f"{request.runs}", fix="run again")
    if any(not 0 < sample < answer.elapsed_us for sample in answer.samples_us):
        raise ResultError(
            "a time that is not within the whole", expected="times above 0", fix="run again"
        )
    if sum(answer.samples_us) > answer.elapsed_us:
        raise ResultError(
            "single times add up to more than the whole",
            expected="a sound clock",
            fix="run again; if it stays so, measure accuracy only, with --runs 0",
        )
    return answer


def check_clock(answer: Answer, seconds: float, name: str) -> None:
    """By any honest clock the runner worked nearly as long as we waited for it, and no longer."""
    told = answer.total_us / 1e6
    too_fast = told > seconds * CLOCK_SLACK + CLOCK_SLACK_S
    too_slow = told * 2 + SLOWEST_START_S < seconds
    if too_fast or too_slow:
        raise ClockError(
            f"{name} says the work took {told:.1f} s, here {seconds:.1f} s passed",
            expected="clocks that run at one rate",
            fix="times of this device mean nothing: measure accuracy only, with --runs 0",
        )

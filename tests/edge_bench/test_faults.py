"""Everything that goes wrong with a device has its own error; nothing wrong passes for a result.

The real adb talks to the pretended phone; each fault happens on the phone or on its cable.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bench.errors import (
    ClockError,
    DeviceError,
    DeviceNotFound,
    DeviceOffline,
    DeviceRebooted,
    DeviceTimeout,
    DeviceUnauthorized,
    InferenceError,
    LibraryError,
    ModelError,
    NoSpaceError,
    ResultError,
    RunnerCrashed,
    RunnerError,
    RunnerInputError,
    SeveralDevices,
    ToolError,
    TransferError,
    WrongAbi,
)
from edge_bench.plan import Setup
from edge_bench.runner.native import LIBRARY, RUNNER, NativeRunner
from edge_bench.targets.adb import AdbTarget, choose
from fiqa import cli
from tests.doubles import adb_lab, tiny_models
from tests.doubles.adb_lab import Lab
from tests.edge_bench.conftest import Bench, pictures

pytestmark = pytest.mark.device

CALL = (
    r"([^\s(]*fiqa_runner --lib.*? --out (\S+).*?)\n"  # the runner's command line, and its result
)


def push(bench: Bench) -> str:
    source = Path(bench.phone.root).parent / "big file;$(id).bin"
    source.write_bytes(bytes(range(256)) * 8192)  # 2 MB
    bench.target.put(source, "pushed.bin")
    return "whole" if (bench.folder / "pushed.bin").stat().st_size == 2**21 else "cut"


def pull(bench: Bench) -> str:
    (bench.folder / "there.bin").write_bytes(bytes(range(256)) * 8192)
    bench.target.get("there.bin", bench.phone.root.parent / "fetched.bin")
    return "whole" if (bench.phone.root.parent / "fetched.bin").stat().st_size == 2**21 else "cut"


def list_files(bench: Bench) -> str:
    return bench.target.run(["ls", "/system/bin"], timeout_s=15).out


def fail(bench: Bench) -> str:
    return str(bench.target.run(["ls", "/nowhere"]).status)


def score(bench: Bench) -> str:
    return json.dumps(bench.score())


def time_it(bench: Bench) -> str:
    request = dataclasses.replace(bench.request, mode="time", warm_up=1, runs=3)
    return str(len(bench.runner.perform(bench.target, request).samples_us))


def with_library(content: Callable[[Bench], bytes]) -> Callable[[Bench], str]:
    def work(bench: Bench) -> str:
        (bench.folder / LIBRARY).write_bytes(content(bench))
        return score(bench)

    return work


def with_file(name: str, content: bytes | None) -> Callable[[Bench], str]:
    """Score after a file of the folder was replaced, or removed."""

    def work(bench: Bench) -> str:
        path = bench.folder / (bench.model.remote if name == "model" else name)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return score(bench)

    return work


def with_arguments(**changes: Any) -> Callable[[Bench], str]:
    def work(bench: Bench) -> str:
        request = dataclasses.replace(bench.request, **changes)
        return json.dumps(bench.runner.perform(bench.target, request).outputs)

    return work


def reboot_between(bench: Bench) -> str:
    """As the session sees it: the boot is another one than that of the facts."""
    before = bench.target.facts().boot_id
    (bench.phone.root / "etc/boot_id").write_text("another-boot\n")
    answer = bench.runner.perform(bench.target, bench.request)
    if answer.boot_id != before:
        raise DeviceRebooted("another boot")
    return "same boot"


@dataclass(frozen=True)
class Fault:
    """What is injected, what is tried, and what must come of it."""

    name: str
    work: Callable[[Bench], str]
    error: type[DeviceError] | None = None  # None: the right answer comes all the same
    answer: str = ""  # a part of it, or of the error's words
    faults: dict[str, Any] = field(default_factory=dict)


def rewrite(replacement: str) -> dict[str, Any]:
    return {"rewrite": [[CALL, replacement.replace("\n", "") + "\n"]]}


X86 = Path("/bin/true")
FAULTS = [
    # the cable
    Fault("the link drops in mid-push", push, DeviceOffline, faults={"push_drop": 10**6}),
    Fault("the link drops in mid-pull", pull, DeviceOffline, faults={"pull_drop": 10**6}),
    Fault("the link drops in mid-shell", list_files, DeviceOffline,
          faults={"shell_drop": 20, "shell_match": "/system/bin$|ls /system"}),
    Fault("the phone vanishes", lambda b: vanish(b), DeviceOffline),
    Fault("a pull ends early and well", pull, TransferError, faults={"pull_truncate": 10**6}),
    Fault("a pulled bit flips", pull, TransferError, faults={"pull_flip": 5000}),
    Fault("a pushed bit flips", push, TransferError, faults={"push_flip": 5000}),
    Fault("the phone refuses the push", push, TransferError,
          faults={"push_error": "Permission denied"}),
    Fault("no space while pushing", push, NoSpaceError,
          faults={"push_error": "No space left on device"}),
    Fault("no space before pushing", push, NoSpaceError,
          faults={"rewrite": [[r"df -P -k \S+", "echo /dev/x 100 90 10 90% /data"]]}),
    Fault("no sha256sum", push, ToolError, faults={"rewrite": [["sha256sum", "nosuchtool"]]}),
    # the shell
    Fault("a command hangs", lambda b: hang(b), DeviceTimeout, faults={"shell_delay_s": 30,
          "shell_match": "echo never"}),
    Fault("no exit packet", list_files, None, "busybox", {"shell_no_exit": True}),
    Fault("garbage before the output", list_files, None, "busybox",
          {"shell_garbage": "WARNING: linker: unused DT entry\n"}),
    Fault("an exit and no output", list_files, DeviceOffline, faults={"shell_silent": True}),
    Fault("an Android without exit status", fail, None, "1", {"no_shell_v2": True}),
    Fault("facts cut short", lambda b: str(b.target.facts()), ResultError,
          faults={"rewrite": [["echo @@end", "true"]]}),
    # who may talk to whom
    Fault("nobody accepts the key", lambda b: again(b, "unauthorized"), DeviceUnauthorized,
          faults={"auth": "unauthorized"}),
    Fault("the key is rejected", lambda b: again(b, ""), DeviceOffline,
          faults={"auth": "reject"}),
    Fault("no device", lambda b: gone(b), DeviceNotFound),
    Fault("another serial", lambda b: choose("no such; $(serial)"), DeviceNotFound),
    # the runner
    Fault("the runner dies of SIGSEGV", score, RunnerCrashed,
          faults=rewrite(r"sh -c 'kill -SEGV $$'")),
    Fault("the runner is killed for memory", score, RunnerCrashed,
          faults=rewrite(r"sh -c 'kill -KILL $$'")),
    Fault("the runner exits oddly", score, RunnerError, faults=rewrite("(exit 77)")),
    Fault("the runner is for another processor", with_file(RUNNER, X86.read_bytes()), WrongAbi),
    Fault("an argument the runner does not know", score, RunnerError,
          faults={"rewrite": [["--lib ", "--nonsense 1 --lib "]]}),
    Fault("processors that are not there", with_arguments(
        setup=dataclasses.replace(Setup(),
                                  cpus=(1023,))), RunnerError),
    Fault("the runner takes too long", with_arguments(mode="time", runs=10**9, limit_s=4),
          DeviceTimeout, "took longer than 4 s"),  # its own limit, before ours
    Fault("the library is missing", with_file(LIBRARY, None), LibraryError),
    # glibc says of it that there is no such file
    Fault("the library is for another processor", with_library(lambda _: X86.read_bytes()),
          LibraryError),
    Fault("the library has no such interface", with_library(
        lambda b: (b.phone.root / "lib/libm.so.6").read_bytes()), LibraryError),
    Fault("the model is missing", with_file("model", None), ModelError),
    Fault("the model is junk", with_file("model", b"junk" * 999), ModelError),
    Fault("the pictures are cut short", with_file("pictures.bin", bytes(999)), RunnerInputError),
    Fault("the pictures are missing", with_file("pictures.bin", None), RunnerInputError),
    Fault("the table is another type's", with_file("table.bin", bytes(768)), RunnerInputError),
    # the result
    Fault("the result is cut short", score, ResultError, faults=rewrite(r"\1; truncate -s 300 \2")),
    Fault("the result is not written", score, TransferError, faults=rewrite(r"\1; rm \2")),
    Fault("the result is another run's", score, ResultError,
          faults=rewrite(r"\1; sed -i 's/\"run_id\": \"./\"run_id\": \"x/' \2")),
    Fault("the result lacks scores it should have", time_it, ResultError,
          faults=rewrite(r"\1; sed -i 's/\"samples_us\": .*\]/\"samples_us\": []/' \2")),
    Fault("a score is no number", score, InferenceError,
          faults=rewrite(r"\1; sed -i 's/\"outputs\": \[[^,]*/\"outputs\": [\"nan\"/' \2")),
    Fault("the disk is full at the result", score, NoSpaceError,
          faults=rewrite(r"ln -s /dev/full \2.part; \1")),
    Fault("the phone's clock runs wild", score, ClockError,
          faults=rewrite(r"\1; sed -i 's/\"total_us\": .*/\"total_us\": 9e9}/' \2")),
    Fault("the phone reboots", reboot_between, DeviceRebooted),
]  # fmt: skip


def vanish(bench: Bench) -> str:
    bench.phone.set(offline_after_s=1.5)
    bench.phone.reach()
    bench.phone.set(refuse=True)  # and does not come back
    return bench.target.run(["sleep", "8"], timeout_s=20).out


def hang(bench: Bench) -> str:
    return bench.target.run(["echo", "never"], timeout_s=2).out


def again(bench: Bench, state: str) -> str:
    bench.phone.leave()
    bench.phone.reach(state) if state else bench.phone._lab.call("connect", bench.phone.serial)
    return choose(bench.phone.serial)


def gone(bench: Bench) -> str:
    bench.phone.leave()
    return choose("")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_has_its_error_and_exit_code(
    fault: Fault, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.phone.set(**fault.faults)
    if "no_shell_v2" in fault.faults:
        bench.phone.reach()  # told at the start of a connection

    def work(_: Any) -> cli.Outcome:
        answer = fault.work(bench)
        return cli.Outcome("", {"answer": answer})

    code = cli.run(cli.Parser("a fault"), work, ["--json"])
    document = json.loads(capsys.readouterr().out)
    if fault.error is None:
        assert (code, document["status"]) == (0, "done"), document
        assert fault.answer in document["answer"]
    else:
        assert (code, document["status"]) == (2, "error"), document
        kinds = {kind.__name__ for kind in [fault.error, *fault.error.__subclasses__()]}
        assert document["error"]["type"] in kinds, document
        assert document["error"]["found"]
        assert fault.answer in document["error"]["found"]
    leftovers = [path.name for path in bench.folder.iterdir() if path.name == "pushed.bin"]
    assert not leftovers or fault.error is None
    assert not (bench.phone.root.parent / "fetched.bin").exists() or fault.error is None


def test_two_phones_need_a_serial(bench: Bench, lab: Lab, phone_root: Path, tmp_path: Path) -> None:
    with adb_lab.running_phone(phone_root, tmp_path / "second", lab) as second:
        second.reach()
        with pytest.raises(SeveralDevices, match=r"2 devices") as told:
            choose("")
        assert "--target adb:" in told.value.fix
        assert AdbTarget(second.serial, "x").serial == second.serial
        second.leave()


def test_without_faults_scores_are_those_of_this_machine(bench: Bench) -> None:
    expected = tiny_models.expected_score(pictures())
    np.testing.assert_allclose(bench.score(), expected, atol=1e-6)


def test_adb_that_is_missing_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADB", "/no/such/adb")
    with pytest.raises(ToolError, match="cannot be started") as told:
        choose("")
    assert "platform-tools" in told.value.fix


def test_names_are_data_and_never_shell_text(bench: Bench, tmp_path: Path) -> None:
    for name in ("a b", "it's", 'say "x"', "a;touch pwned", "$(touch pwned)", "`id`", "-rf", "ü"):
        source = tmp_path / f"from {name}"
        source.write_text(f"content of {name}")
        bench.target.put(source, name)
        assert (bench.folder / name).read_text() == f"content of {name}"
        bench.target.get(name, tmp_path / f"to {name}")
        assert (tmp_path / f"to {name}").read_text() == f"content of {name}"
    assert bench.target.run(["echo", "$(id)", "; ls", "'"]).out == "$(id) ; ls '\n"
    assert not list(bench.phone.root.rglob("pwned"))


def test_runner_for_another_processor_is_told_before_it_travels(
    arm_runner: NativeRunner, tmp_path: Path
) -> None:
    shutil.copy(X86, tmp_path / "fiqa_runner")
    runner = NativeRunner(tmp_path / "fiqa_runner", arm_runner.library, "")
    with pytest.raises(WrongAbi, match="x86_64"):
        runner.check_abi("aarch64")

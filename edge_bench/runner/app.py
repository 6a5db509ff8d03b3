"""The installed app as runner: Android's own scheduler class and thermal policy for apps.

Files go in and out by run-as, which debuggable apps allow; `am start` begins each pass in a new
process. adb and am call a start well whatever becomes of it: only the result's file counts, and
a process that is gone without one has crashed.
"""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from pathlib import Path

from edge_bench.errors import (
    DeviceError,
    ResultError,
    RunnerCrashed,
    RunnerError,
    TransferError,
    WrongAbi,
)
from edge_bench.result import RunnerRecord
from edge_bench.runner.apk import find_apk
from edge_bench.runner.native import (
    GRACE_S,
    check_clock,
    failure,
    fetch_answer,
    last_line,
    options_of,
    too_long,
    words,
)
from edge_bench.runner.phone import APK, log_since
from edge_bench.runner.request import Answer, Request
from edge_bench.targets.base import NO_SPACE, Done, Target, no_space
from fiqa.files import sha256_file

PACKAGE, ACTIVITY = "fiqa.app", "fiqa.app/.BenchActivity"
FOLDER = "files/bench"  # below the app's own folder, where run-as begins
INSTALL_S = 300.0
LOOK_S = 1.0  # between looks at a running pass: each costs the phone a process
STARTING_S = 30.0  # that an app may take until its process shows
INSTALL_FAULTS = {
    "NO_MATCHING_ABIS": (WrongAbi, "build the APK for this phone, or name another: --apk FILE"),
    "UPDATE_INCOMPATIBLE": (RunnerError, f"another key signed it: adb uninstall {PACKAGE}"),
    "VERSION_DOWNGRADE": (RunnerError, f"a newer one is installed: adb uninstall {PACKAGE}"),
    "USER_RESTRICTED": (RunnerError, "allow installing over USB in the developer options"),
}


class AppRunner:
    """The app as it is installed; `apk` is installed first where one is given or none is there."""

    def __init__(self, target: Target, apk: Path | None) -> None:
        installed = _installed_sha256(target)
        self._apk = find_apk(apk) if apk or not installed else None
        digest = sha256_file(self._apk) if self._apk else installed
        self.record = RunnerRecord("app", digest)
        self._there: set[str] = set()

    def install(self, target: Target) -> None:
        if self._apk and self.record.sha256 != _installed_sha256(target):
            target.put(self._apk, APK)
            done = target.run(["pm", "install", "-r", target.path(APK)], INSTALL_S)
            if done.status or "Success" not in done.out:
                raise refusal_of(done, target.name)
        target.to_clean = (["am", "force-stop", PACKAGE], _run_as("rm", "-rf", FOLDER))
        _checked(target, _run_as("rm", "-rf", FOLDER))
        _checked(target, _run_as("mkdir", "-p", FOLDER))
        self._there.clear()

    def perform(self, target: Target, request: Request) -> Answer:
        for name in (request.model, request.pictures, request.table):
            self._bring(target, name)
        run_id = uuid.uuid4().hex
        name = f"result-{run_id[:12]}.json"
        options = options_of(request, run_id, name, lambda name: name)
        options |= {"--sha256": request.sha256}
        del options["--cpus"]  # where an app runs is Android's choice
        started = time.monotonic()
        target.run(["log", "-t", "fiqa", run_id])
        _start(target, words(options))
        self._wait(target, name, request, run_id)
        seconds = time.monotonic() - started
        _checked(target, _run_as("cat", f"{FOLDER}/{name}"), into=target.path(name))
        answer = fetch_answer(target, name, run_id, request)
        target.run(_run_as("rm", "-f", f"{FOLDER}/{name}"))
        check_clock(answer, seconds, target.name)
        return answer

    def _bring(self, target: Target, name: str) -> None:
        """From our folder to the app's: the shell may read the one, the app write the other."""
        if name in self._there:
            return
        source, place = shlex.quote(target.path(name)), f"{FOLDER}/{name}"
        copy = shlex.join(_run_as("sh", "-c", 'cat > "$0"', place))
        done = target.script(f"cat {source} | {copy}", INSTALL_S)
        if done.status:
            raise _run_as_refused(done, target)
        there = _checked(target, _run_as("sha256sum", place)).out.split()[0]
        here = target.run(["sha256sum", target.path(name)]).out.split()[0]
        if there != here:
            raise TransferError(
                f"{name} did not get into the app's folder whole on {target.name}",
                expected=f"sha256 {here[:12]}..., found {there[:12]}...",
                fix="free some space on the device, then run again with --resume",
            )
        self._there.add(name)

    def _wait(self, target: Target, name: str, request: Request, run_id: str) -> None:
        begun, seen = time.monotonic(), False
        while True:
            # Who is alive is asked first: a result may come between the two questions.
            alive = target.run(["pidof", PACKAGE]).status == 0
            found = _checked(target, _run_as("ls", FOLDER)).out.split()
            if name in found:
                return
            if f"{name}.error" in found:
                raise _told(target, f"{FOLDER}/{name}.error", request)
            waited = time.monotonic() - begun
            seen = seen or alive
            if not alive and (seen or waited > STARTING_S):
                raise _crashed(target, run_id)
            if waited > request.limit_s + GRACE_S:
                target.run(["am", "force-stop", PACKAGE])
                raise too_long(request, target.name)
            time.sleep(LOOK_S)


def _run_as(*argv: str) -> list[str]:
    return ["run-as", PACKAGE, *argv]


def _checked(target: Target, argv: list[str], into: str = "") -> Done:
    command = shlex.join(argv) + (f" > {shlex.quote(into)}" if into else "")
    done = target.script(command)
    if done.status:
        raise _run_as_refused(done, target)
    return done


def _start(target: Target, arguments: list[str]) -> None:
    """In a new process; commas part the values, and none of ours has one."""
    assert not any("," in word for word in arguments)
    extra = ["--esa", "arguments", ",".join(arguments)]
    done = target.run(["am", "start", "-S", "-n", ACTIVITY, *extra])
    said = done.out + done.err
    if done.status or "Error" in said:
        raise RunnerError(
            f"the app cannot be started on {target.name}: {last_line(said)}",
            expected="the app of this version",
            fix="install it anew: --apk FILE",
        )


def _told(target: Target, place: str, request: Request) -> DeviceError:
    """What the runner inside the app had to say, as its process would have said it."""
    text = _checked(target, _run_as("cat", place)).out
    try:
        found = json.loads(text)
        told = Done(int(found["code"]), "", json.dumps(found["error"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return ResultError(f"the app's report cannot be read: {text[:200]}", fix=str(error))
    return failure(told, request, target.name)


def _crashed(target: Target, run_id: str) -> RunnerCrashed:
    return RunnerCrashed(
        f"the app ended without a result on {target.name}: "
        f"{log_since(target, run_id) or 'its log tells no cause'}",
        expected="an app that runs until its result is written",
        fix="leave it in the foreground, with the screen on; too little memory: close other apps",
    )


def _installed_sha256(target: Target) -> str:
    """Of the APK that is installed; empty text where none is."""
    path = target.run(["pm", "path", PACKAGE]).out.strip().splitlines()
    if not path or not path[0].startswith("package:"):
        return ""
    done = target.run(["sha256sum", path[0].removeprefix("package:")])
    found = re.match(r"[0-9a-f]{64}\b", done.out)
    return found[0] if found else ""


def refusal_of(done: Done, name: str) -> DeviceError:
    """Why the package manager did not install the app."""
    said = last_line(done.out + done.err)
    if "INSUFFICIENT_STORAGE" in said:
        return no_space(f"the app cannot be installed on {name}: {said}")
    kind, fix = next(
        (fault for word, fault in INSTALL_FAULTS.items() if word in said),
        (RunnerError, "leave --runner out: nothing is installed then"),
    )
    return kind(f"the app cannot be installed on {name}: {said}", expected="Success", fix=fix)


def _run_as_refused(done: Done, target: Target) -> DeviceError:
    said = last_line(done.err + done.out)
    if NO_SPACE in said:
        return no_space(f"the app's folder on {target.name}: {said}")
    return RunnerError(
        f"run-as {PACKAGE} is refused on {target.name}: {said}",
        expected="the app, installed from a debuggable build, as make apk makes it",
        fix="install it: --apk FILE; or leave --runner out",
    )

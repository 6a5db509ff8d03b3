"""The Kotlin runner on Android, out of the APK, started by app_process.

Nothing is installed and no rights are asked for: APK and library lie in our own folder below
/data/local/tmp, and `app_process` runs the main class that is in the APK. It is the app's own
code: the same classes, library and delegate.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from edge_bench.errors import WrongAbi
from edge_bench.result import RunnerRecord
from edge_bench.runner.apk import LIBRARY, library_in
from edge_bench.runner.build import elf_abi
from edge_bench.runner.native import Options, call_runner, words
from edge_bench.runner.request import Answer, Request
from edge_bench.targets.base import Done, Target
from fiqa.files import sha256_file

APK, MAIN = "fiqa.apk", "fiqa.bench.Main"
ABIS = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7", "x86_64": "x86_64"}  # Android's: ours
ABORTED, KILLED = 134, 137  # 128 + SIGABRT, SIGKILL: Android tells the cause in its log alone
MARKED = 'log -t fiqa "$0"; exec "$@"'  # what the log tells behind this is ours
TAGS = ("fiqa", "AndroidRuntime:E", "appproc", "app_process", "DEBUG", "lowmemorykiller", "lmkd")
CAUSE = re.compile(r"Exception|Error|ERROR|FATAL|Fatal signal|[Kk]illing|lowmemorykiller|lmkd")


class PhoneRunner:
    """`apk` and `library` are files of this machine; the library is the one inside, or another."""

    def __init__(self, apk: Path, library: Path | None, abi: str) -> None:
        """`abi` as Android calls it; WrongAbi where APK or library are not for it."""
        self.apk, self._library, self._abi = apk, library, abi
        if library is None:
            with tempfile.TemporaryDirectory() as folder:
                digest = sha256_file(library_in(apk, abi, Path(folder)))
        else:
            _require_abi(library, abi)
            digest = sha256_file(library)
        name = library.name if library else LIBRARY
        self.record = RunnerRecord("app_process", sha256_file(apk), name, digest)

    def install(self, target: Target) -> None:
        target.put(self.apk, APK)
        target.run(["chmod", "444", target.path(APK)])  # Android 14 loads no code one may write
        with tempfile.TemporaryDirectory() as folder:
            library = self._library or library_in(self.apk, self._abi, Path(folder))
            target.put(library, LIBRARY)

    def perform(self, target: Target, request: Request) -> Answer:
        def command(options: Options) -> list[str]:
            options |= {"--lib": target.path(LIBRARY), "--sha256": request.sha256}
            start = ["env", f"CLASSPATH={target.path(APK)}", "app_process", "/", MAIN]
            argv = [*pinned(request.setup.cpus), *start, *words(options)]
            return ["sh", "-c", MARKED, options["--run-id"], *argv]

        return call_runner(target, request, command, lambda *end: cause_of_death(target, *end))


def pinned(cpus: tuple[int, ...]) -> list[str]:
    """For what cannot choose its processors; toybox's taskset wants a mask in hexadecimal."""
    return ["taskset", f"{sum(1 << cpu for cpu in cpus):x}"] if cpus else []


def cause_of_death(target: Target, done: Done, run_id: str) -> str:
    """What Android's log says of a process that died without a word of its own."""
    return log_since(target, run_id) if done.status in (ABORTED, KILLED) else ""


def log_since(target: Target, run_id: str) -> str:
    """The causes of crashes in Android's log, behind the mark of this run."""
    log = target.run(["logcat", "-d", "-s", *TAGS]).out.rpartition(run_id)[2]
    reasons = [line.strip() for line in log.splitlines() if CAUSE.search(line)]
    return " | ".join(reasons[:4])[:400]


def android_abi(target: Target) -> str:
    return target.run(["getprop", "ro.product.cpu.abi"]).out.strip()


def _require_abi(library: Path, abi: str) -> None:
    found, wanted = elf_abi(library), ABIS.get(abi, abi)
    if found != wanted:
        raise WrongAbi(
            f"{library.name} is for {found or 'no processor: it is no ELF file'}",
            expected=f"a library for {abi}",
            fix="leave --lib out, or name the right one",
        )

"""What answers `pm` and `am` on a pretended phone: packages, and the processes of apps."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from tests.doubles import art
from tests.doubles.arm_root import enter, environment

LOOK_S = 0.05
ABI = "arm64-v8a"
Answer = tuple[int, str]  # status and text


class System:
    def __init__(self, root: Path, fault: Any) -> None:
        self._root, self._fault = root, fault
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def serve(self) -> None:
        folder = self._root / "dev/binder"
        while folder.is_dir():
            for path in folder.glob("*.question"):
                where, program, *words = path.read_text().splitlines()
                path.unlink()
                try:
                    status, text = await self._answer(program, words, where)
                except Exception as error:  # whoever asked is to hear of it, and not to wait
                    status, text = 70, f"the double fails: {error!r}\n"
                part = path.with_suffix(".part")
                part.write_text(f"{status}\n{text}")
                part.rename(path.with_suffix(".answer"))
            await asyncio.sleep(LOOK_S)

    async def _answer(self, program: str, words: list[str], where: str) -> Answer:
        if program == "pm" and words[:1] == ["path"]:
            return self._path(words[1])
        if program == "pm" and words[:1] == ["install"]:
            path = os.path.join(where, words[-1])
            return await asyncio.to_thread(self._install, Path(f"{self._root}{path}"))
        if program == "am" and words[:1] == ["start"]:
            return await self._start(words[1:])
        if program == "am" and words[:1] == ["force-stop"]:
            await self._stop(words[1])
            return 0, ""
        return 255, f"Error: unknown command: {program} {' '.join(words)}\n"

    # ------------------------------------------------------------ packages

    def _path(self, package: str) -> Answer:
        apk = self._root / "data/app" / package / "base.apk"
        if not apk.exists():
            return 1, ""
        return 0, f"package:/data/app/{package}/base.apk\n"

    def _install(self, apk: Path) -> Answer:
        refusal = self._fault("install_fails") or refusal_of(apk)
        if refusal:
            return 1, f"Failure [{refusal}]\n"
        badging = aapt("dump", "badging", apk)
        package = re.findall(r"package: name='([^']+)'", badging)[0]
        art.add_jar(self._root, apk)
        (self._root / "data/app" / package).mkdir(exist_ok=True)
        shutil.copy(apk, self._root / "data/app" / package / "base.apk")
        (self._root / "data/data" / package).mkdir(exist_ok=True)
        known = self._root / "data/system/packages" / package
        known.write_text("debuggable\n" if "application-debuggable" in badging else "release\n")
        known.with_name(f"{package}.views").write_text("".join(views_of(apk)))
        return 0, "Success\n"

    # ------------------------------------------------------------ processes

    async def _start(self, words: list[str]) -> Answer:
        """-S -n PACKAGE/.ACTIVITY --esa KEY VALUES"""
        package, _, name = words[words.index("-n") + 1].partition("/")
        extras = [w for at, word in enumerate(words) if word == "--esa"
                  for w in words[at + 1 : at + 3]]  # fmt: skip
        if "-S" in words:
            await self._stop(package)
        said = f"Starting: Intent {{ cmp={package}/{name} (has extras) }}\n"
        apk = f"/data/app/{package}/base.apk"
        if not Path(f"{self._root}{apk}").exists():
            return 1, f"{said}Error type 3\nError: Activity class {{{package}}} does not exist.\n"
        library = next((self._root / "data/linker").iterdir()).name
        command = [
            "app_process", f"-Djava.library.path=/data/linker/{library}", "/",
            "doubles.ActivityThread", f"{package}{name}", package, *extras,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *enter(self._root, f"CLASSPATH={apk} exec {shlex.join(command)}"),
            env=environment(), start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._running[package] = process
        (self._root / "data/system/pids" / package).write_text(f"{process.pid}\n")
        asyncio.get_running_loop().create_task(self._watch(package, process))
        after = self._fault("app_killed_after_s")
        if after is not None:
            asyncio.get_running_loop().call_later(after, self._kill_for_memory, package)
        return 0, said

    async def _watch(self, package: str, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if self._running.get(package) is process:
            del self._running[package]
            (self._root / "data/system/pids" / package).unlink(missing_ok=True)

    def _kill_for_memory(self, package: str) -> None:
        if process := self._running.get(package):
            with open(self._root / "dev/log_main", "a") as log:
                log.write(f"I/lowmemorykiller(  300): Kill '{package}' ({process.pid}), low RAM\n")
            os.killpg(process.pid, signal.SIGKILL)

    async def _stop(self, package: str) -> None:
        if process := self._running.get(package):
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def refusal_of(apk: Path) -> str:
    """What the package manager has against an APK; empty text where nothing."""
    if "package: name=" not in aapt("dump", "badging", apk):
        return "INSTALL_PARSE_FAILED_NOT_APK: Failed to parse base.apk"
    verify = ["apksigner", "verify", "--min-sdk-version", "26", str(apk)]
    if subprocess.run(verify, capture_output=True, check=False).returncode:
        return "INSTALL_PARSE_FAILED_NO_CERTIFICATES: Failed to collect certificates"
    with zipfile.ZipFile(apk) as content:
        abis = {name.split("/")[1] for name in content.namelist() if name.startswith("lib/")}
    if abis and ABI not in abis:
        return "INSTALL_FAILED_NO_MATCHING_ABIS: Failed to extract native libraries, res=-113"
    return ""


def views_of(apk: Path) -> list[str]:
    """Of each view with an id in a layout: "0x7f050001 Button"."""
    found = []
    with zipfile.ZipFile(apk) as content:
        layouts = [name for name in content.namelist() if name.startswith("res/layout")]
    for layout in layouts:
        kind = ""
        for line in aapt("dump", "xmltree", apk, layout).splitlines():
            if match := re.match(r"\s*E: (\S+)", line):
                kind = match[1]
            if match := re.search(r"android:id\(0x010100d0\)=@(0x[0-9a-f]{8})", line):
                found.append(f"{match[1]} {kind}\n")
    return found


def aapt(*words: object) -> str:
    command = ["aapt", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout

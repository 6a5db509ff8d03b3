"""What every target can do: run a command, take a file, give a file, tell facts about itself.

A transport's own word is not believed. adb exits 0 when a link drops in the middle of a command,
and when a pull ends early. So each command ends with a token and its status in its own output,
each file is hashed on both sides, and a pushed file gets its name only after that.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edge_bench.errors import (
    DeviceError,
    DeviceTimeout,
    NoSpaceError,
    ToolError,
    TransferError,
)
from edge_bench.plan import Setup
from edge_bench.targets.facts import FACTS, MOMENT, DeviceFacts, parse_facts, parse_moment
from fiqa.files import sha256_file, writing

COMMAND_S = 60.0
SLOWEST_BYTES_A_SECOND = 500_000  # of a transfer that is still alive
SMALL_BYTES = 64 * 1024  # up to here a full disk is told by the transfer itself
NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Done:
    """A command that ran to its end on the target, with its own status."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Raw:
    """What the transport said; its status is a hint at most."""

    status: int
    out: str
    err: str


class Target(ABC):
    """`folder` is ours alone, and goes away with `clean_up`."""

    kind: str
    name: str  # as the user would type it
    folder: str
    emulated: str = ""  # by what, where the whole target is emulated
    to_clean: tuple[Sequence[str], ...] = ()  # commands that remove what lies outside our folder

    @abstractmethod
    def _shell(self, command: str, timeout_s: float) -> Raw:
        """Run a POSIX shell command; DeviceError where the transport itself fails."""

    @abstractmethod
    def _push(self, source: Path, remote: str, timeout_s: float) -> None: ...

    @abstractmethod
    def _pull(self, remote: str, path: Path, timeout_s: float) -> None: ...

    @abstractmethod
    def lost(self, raw: Raw) -> DeviceError:
        """Why a command did not come to its end: ask the transport what became of the device."""

    def run(self, argv: Sequence[str], timeout_s: float = COMMAND_S) -> Done:
        """Run a program; its arguments are data, whatever characters they hold."""
        return self.script(shlex.join(argv), timeout_s)

    def script(self, text: str, timeout_s: float = COMMAND_S) -> Done:
        """Run shell text of ours."""
        token = uuid.uuid4().hex
        raw = self._shell(f"({text}\n); echo {token}:$?", timeout_s)
        match = re.search(rf"{token}:(\d+)\s*\Z", raw.out)
        if match is None:
            raise self.lost(raw)
        return Done(int(match[1]), raw.out[: match.start()], raw.err)

    def command(self, argv: Sequence[str], setup: Setup) -> list[str]:
        """How the runner is called here in this setup."""
        return list(argv)

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def open(self) -> None:
        """Make our folder."""
        done = self.run(["mkdir", "-p", self.folder])
        if done.status:
            raise _refused(done, f"the folder {self.folder} cannot be made on {self.name}")

    def clean_up(self) -> None:
        """Remove our folder; a device that is gone keeps it, and that is no second error."""
        with contextlib.suppress(DeviceError):
            for argv in (*self.to_clean, ["rm", "-rf", self.folder]):
                self.run(argv, timeout_s=20)

    def put(self, source: Path, name: str) -> None:
        """Copy a file to our folder, whole or not at all."""
        part = self.path(f".{name}.{uuid.uuid4().hex[:8]}.part")
        try:
            if source.stat().st_size > SMALL_BYTES:
                self._require_space(source.stat().st_size)
            self._push(source, part, _transfer_s(source.stat().st_size))
            self._compare(part, sha256_file(source), f"{source} did not arrive whole")
            done = self.run(["mv", "-f", part, self.path(name)])
            if done.status:
                raise _refused(done, f"{name} cannot get its name on {self.name}")
        except DeviceError:
            with contextlib.suppress(DeviceError):
                self.run(["rm", "-f", part], timeout_s=10)
            raise

    def get(self, name: str, path: Path) -> None:
        """Copy a file from our folder, whole or not at all."""
        remote = self.path(name)
        expected, size = self._digest(remote)
        with writing(path) as part:
            self._pull(remote, part, _transfer_s(size))
            found = sha256_file(part)
            if found != expected:
                raise TransferError(
                    f"{name} did not come back whole from {self.name}: {part.stat().st_size} bytes",
                    expected=f"sha256 {expected[:12]}..., found {found[:12]}...",
                    fix="look at the cable or the network, then run again with --resume",
                )

    def facts(self) -> DeviceFacts:
        asked = time.time()
        done = self.script(f"folder={shlex.quote(self.folder)}\n{FACTS}")
        return parse_facts(done.out, asked, time.time())

    def moment(self) -> dict[str, Any]:
        """Temperatures, thermal status and battery, in one quick command."""
        return parse_moment(self.script(MOMENT).out)

    def _digest(self, remote: str) -> tuple[str, int]:
        """sha256 and size of a file there."""
        name = shlex.quote(remote)
        done = self.script(f"sha256sum < {name} && wc -c < {name}")
        match = re.search(r"\b([0-9a-f]{64})\b[\s-]*(\d+)\s*\Z", done.out)
        if done.status == 127:
            raise ToolError(
                f"{self.name} has no sha256sum",
                expected="toybox, busybox or coreutils with sha256sum",
                fix="install coreutils on the device",
            )
        if done.status or match is None:
            raise _refused(done, f"{remote} cannot be read on {self.name}")
        return match[1], int(match[2])

    def _compare(self, remote: str, expected: str, found: str) -> None:
        if self._digest(remote)[0] != expected:
            raise TransferError(
                f"{found} on {self.name}",
                expected=f"sha256 {expected[:12]}...",
                fix="look at the cable or the network, then run again with --resume",
            )

    def _require_space(self, size: int) -> None:
        done = self.run(["df", "-P", "-k", self.folder])
        fields = done.out.strip().splitlines()[-1:] or [""]
        columns = fields[0].split()
        if done.status or len(columns) < 6 or not columns[3].isdigit():
            return  # df has another form here: the transfer itself will tell
        if int(columns[3]) * 1024 < size:
            raise no_space(f"{self.name} has {int(columns[3])} kB free, {size // 1024} kB are due")


def no_space(found: str) -> NoSpaceError:
    return NoSpaceError(
        found, expected="room for the files of a benchmark", fix="free some space on the device"
    )


def _refused(done: Done, found: str) -> DeviceError:
    said = (done.err or done.out).strip().splitlines()[-1:] or [f"status {done.status}"]
    if NO_SPACE in said[0]:
        return no_space(f"{found}: {said[0]}")
    return TransferError(
        f"{found}: {said[0][:200]}",
        expected="a folder that may be written",
        fix="python -m edge_bench.devices tells what is wrong with a device",
    )


def _transfer_s(size: int) -> float:
    return COMMAND_S + size / SLOWEST_BYTES_A_SECOND


def call(
    command: Sequence[str],
    timeout_s: float,
    *,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.PIPE,
    missing: str = "",
) -> Raw:
    """Run a program of this machine with a limit; text that is no UTF-8 is kept readable."""
    try:
        done = subprocess.run(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceTimeout(
            f"{Path(command[0]).name} had no answer within {timeout_s:.0f} s",
            expected="a device that answers",
            fix="look whether the device is awake and attached, then run again with --resume",
        ) from error
    except OSError as error:
        raise ToolError(
            f"{command[0]} cannot be started: {error.strerror}",
            expected="the program on this machine",
            fix=missing or f"install {command[0]}",
        ) from error
    out = done.stdout or b""
    return Raw(done.returncode, out.decode(errors="replace"), done.stderr.decode(errors="replace"))

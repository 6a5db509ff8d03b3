"""Real adb programs with a server and a home of their own, and pretended phones to talk to."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.board import free_port

PHONE = Path(__file__).with_name("phone.py")
REACH_S = 20


def installed_adb() -> str:
    """Debian's, of 2020."""
    return shutil.which("adb") or pytest.skip("adb is not installed: .ci/run installs it")


def current_adb() -> str:
    """Google's newest, which the package adbutils carries."""
    found = importlib.util.find_spec("adbutils")
    if found is None or found.origin is None:
        pytest.skip("adbutils, which carries a current adb, is not installed")
    path = Path(found.origin).parent / "binaries" / "adb"
    return str(path) if path.is_file() else pytest.skip(f"adbutils brings no adb to {path}")


class Lab:
    """One adb server. `environment` makes our code use it."""

    def __init__(self, adb: str, folder: Path) -> None:
        self.adb, self._folder = adb, folder
        folder.mkdir(parents=True)
        self.environment = {
            "ADB": adb,
            "ANDROID_ADB_SERVER_PORT": str(free_port()),
            "HOME": str(folder),
            # What was built and fetched is not built and fetched again for this home.
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }

    def call(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.adb, *arguments], env=os.environ | self.environment, capture_output=True,
            text=True, timeout=30,
        )  # fmt: skip
        return done.stdout + done.stderr

    def close(self) -> None:
        self.call("kill-server")


class PhoneDouble:
    """A running phone. `set` puts faults in, `reach` connects and waits for the state."""

    def __init__(self, root: Path, state: Path, port: int, lab: Lab) -> None:
        self.root, self._state, self._lab = root, state, lab
        self.serial = f"127.0.0.1:{port}"
        self.faults: dict[str, Any] = {}

    def set(self, **faults: Any) -> None:
        self.faults = faults
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps(faults))
        part.replace(self._state)

    def reach(self, state: str = "device") -> None:
        until = time.monotonic() + REACH_S
        while time.monotonic() < until:
            self._lab.call("disconnect", self.serial)
            self._lab.call("connect", self.serial)
            for _ in range(10):
                if f"{self.serial}\t{state}" in self._lab.call("devices"):
                    return
                time.sleep(0.05)
        raise AssertionError(f"{self.serial} is not {state}: {self._lab.call('devices')}")

    def leave(self) -> None:
        self._lab.call("disconnect", self.serial)


@contextmanager
def running_phone(root: Path, folder: Path, lab: Lab) -> Iterator[PhoneDouble]:
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.json"
    state.write_text("{}")
    command = [sys.executable, str(PHONE), "--root", str(root), "--state", str(state)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[:1] == ["PORT"], (folder / "log").read_text()
        yield PhoneDouble(root, state, int(line[1]), lab)
    finally:
        process.terminate()
        process.communicate(timeout=10)

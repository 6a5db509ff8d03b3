"""An Android device, or a Linux board with adbd, through the adb that the user has.

Google's program knows USB, TLS and pairing. Its exit code is not believed: adb 29 exits 0 when
the link drops, every version exits 0 where the device has no shell_v2 or ends a pull early.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_bench.errors import (
    DeviceError,
    DeviceNotFound,
    DeviceOffline,
    DeviceUnauthorized,
    SeveralDevices,
    ToolError,
    TransferError,
)
from edge_bench.targets.base import COMMAND_S, NO_SPACE, Raw, Target, call, no_space

FOLDER = "/data/local/tmp/fiqa-bench"
INSTALL = "install Android's platform-tools, or Debian's package adb; or name it with ADB=/path"
READY = "device"


@dataclass(frozen=True)
class Attached:
    """A line of `adb devices -l`."""

    serial: str
    state: str
    about: str


def call_adb(*arguments: str, timeout_s: float = COMMAND_S) -> Raw:
    return call([os.environ.get("ADB", "adb"), *arguments], timeout_s, missing=INSTALL)


def adb_version() -> str:
    said = call_adb("version").out
    match = re.search(r"Version (\S+)", said)
    return match[1] if match else said.split("\n")[0]


def attached() -> list[Attached]:
    raw = call_adb("devices", "-l")
    if raw.status or "List of devices" not in raw.out:
        raise ToolError(
            f"adb devices fails: {(raw.err or raw.out).strip()[-200:]}",
            expected="an adb whose server runs",
            fix="adb kill-server; adb start-server",
        )
    listed = raw.out.split("List of devices attached", 1)[1]
    pattern = re.compile(r"^(\S+)[ \t]+(no permissions|\S+)[ \t]*(.*)$", re.M)
    return [Attached(*match.groups()) for match in pattern.finditer(listed)]


def problem(device: Attached) -> DeviceError | None:
    """Why a listed device cannot be used, or None."""
    if device.state == READY:
        return None
    if device.state == "unauthorized":
        return DeviceUnauthorized(
            f"{device.serial} is unauthorized",
            expected="a device that trusts this machine",
            fix="unlock it and accept the question about USB debugging; or adb kill-server",
        )
    if device.state == "no permissions":
        return DeviceUnauthorized(
            f"{device.serial}: this user may not open the USB device",
            expected="udev rules for it",
            fix="install Debian's android-sdk-platform-tools-common and log in again",
        )
    return DeviceOffline(
        f"{device.serial} is in state {device.state}",
        expected="a started device with USB debugging",
        fix="plug it in again, or adb reconnect; a run that was cut off goes on with --resume",
    )


def choose(serial: str) -> str:
    """The serial to use: the one asked for, or the only one there is."""
    devices = attached()
    if serial:
        found = [device for device in devices if device.serial == serial]
        if not found:
            listed = ", ".join(device.serial for device in devices) or "none"
            raise DeviceNotFound(
                f"{serial} is not attached",
                expected=f"one of: {listed}",
                fix=f"adb connect {serial}" if ":" in serial else "adb devices -l",
            )
    else:
        found = devices
    if not found:
        raise DeviceNotFound(
            "no device is attached",
            expected="a device with USB debugging",
            fix="plug it in and allow USB debugging; adb devices -l",
        )
    if len(found) > 1:
        raise SeveralDevices(
            f"{len(found)} devices are attached: " + ", ".join(one.serial for one in found),
            expected="one, or a serial",
            fix=f"--target adb:{found[0].serial}",
        )
    error = problem(found[0])
    if error:
        raise error
    return found[0].serial


class AdbTarget(Target):
    kind = "adb"

    def __init__(self, serial: str, run_id: str) -> None:
        self.serial = choose(serial)
        self.name = f"adb:{self.serial}"
        self.folder = f"{FOLDER}/{run_id}"

    def _shell(self, command: str, timeout_s: float) -> Raw:
        return call_adb("-s", self.serial, "shell", command, timeout_s=timeout_s)

    def _push(self, source: Path, remote: str, timeout_s: float) -> None:
        # An absolute path cannot be taken for an option, whatever the file is called.
        local = str(source.resolve())
        raw = call_adb("-s", self.serial, "push", local, remote, timeout_s=timeout_s)
        self._check(raw, f"{source} cannot be pushed")

    def _pull(self, remote: str, path: Path, timeout_s: float) -> None:
        local = str(path.resolve())
        raw = call_adb("-s", self.serial, "pull", remote, local, timeout_s=timeout_s)
        self._check(raw, f"{remote} cannot be pulled")

    def _check(self, raw: Raw, what: str) -> None:
        """Only a failure is believed: success is for the hash to tell."""
        if raw.status == 0:
            return
        said = (raw.err + raw.out).strip()
        if NO_SPACE in said:
            raise no_space(f"{what}: the disk of {self.serial} is full")
        device = self._now()
        if device is None or device.state != READY or _broken(said):
            raise self.lost(raw)
        raise TransferError(
            f"{what}: {said.splitlines()[-1][:200] if said else raw.status}",
            expected="a folder that may be written on the device",
            fix="python -m edge_bench.devices tells what is wrong with a device",
        )

    def lost(self, raw: Raw) -> DeviceError:
        device = self._now()
        if device is None:
            return DeviceOffline(
                f"{self.serial} is no longer attached",
                expected="the device at its cable",
                fix="plug it in again, then run again with --resume",
            )
        said = (raw.err.strip().splitlines() or ["no word from adb"])[-1][:200]
        return problem(device) or DeviceOffline(
            f"the connection to {self.serial} broke: {said}",
            expected="a command that runs to its end",
            fix="look at the cable, then run again with --resume",
        )

    def _now(self) -> Attached | None:
        return next((device for device in attached() if device.serial == self.serial), None)


def _broken(said: str) -> bool:
    texts = ("closed", "couldn't read from device", "connection reset", "protocol fault", "EOF")
    return any(text in said for text in texts)

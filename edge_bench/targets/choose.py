"""From what the user typed to a target."""

from __future__ import annotations

import sys

from edge_bench.errors import ToolError
from edge_bench.result import Source
from edge_bench.runner.build import build_plugin
from edge_bench.targets.adb import AdbTarget
from edge_bench.targets.base import Target
from edge_bench.targets.emulated import EmulatedTarget, require_emulator
from edge_bench.targets.local import LocalTarget
from edge_bench.targets.ssh import SshTarget
from fiqa.errors import InputError

FORMS = "adb, adb:SERIAL, ssh:user@host, ssh://user@host:port, local, emulated"


def choose_target(text: str, run_id: str) -> Target:
    kind, _, rest = text.partition(":")
    if kind == "adb":
        return AdbTarget(rest, run_id)
    if kind == "ssh":
        return SshTarget(text if rest.startswith("//") else rest, run_id)
    if text == "local":
        if sys.platform != "linux":
            raise ToolError(
                f"local measures on Linux only, this is {sys.platform}",
                expected="a Linux host, or a device",
                fix=f"--target {FORMS}",
            )
        return LocalTarget(run_id)
    if text == "emulated":
        require_emulator()
        return EmulatedTarget(run_id, build_plugin())
    raise InputError(f"--target {text}", expected=FORMS, fix="python -m edge_bench.devices")


def source_of(target: Target, emulator: str) -> Source:
    """What the numbers of this target may be called."""
    if target.emulated or emulator:
        return "emulated"
    return "host" if target.kind == "local" else "hardware"

"""An emulated ARM core on this machine: exact scores and instruction counts, never a latency.

User-mode QEMU runs the runner and LiteRT's library for aarch64. Its plugin counts the guest's
instructions between the marks that the runner sets around each inference.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_bench.errors import ResultError, ToolError
from edge_bench.plan import Setup
from edge_bench.targets.facts import Core, DeviceFacts
from edge_bench.targets.local import LocalTarget
from fiqa.errors import InputError

QEMU = "qemu-aarch64"
LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # where Debian and its children put them
NEEDED = ("ld-linux-aarch64.so.1", "libstdc++.so.6", "libc.so.6")
INSTALL = "apt install qemu-user libstdc++6-arm64-cross"

BASE = "fp asimd evtstrm crc32 cpuid"
DOT = f"{BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
# name: (QEMU's -cpu, part number, features). LiteRT reads the last two in /proc/cpuinfo, and they
# must fit the first: it crashes without them, and meets unknown instructions if they claim more.
CORES = {
    "cortex-a53": ("cortex-a53", "0xd03", BASE),
    "cortex-a72": ("cortex-a72", "0xd08", BASE),
    "cortex-a76": ("cortex-a76", "0xd0b", DOT),
    # SME off: under it XNNPACK's INT8 kernels gave one value for every picture in QEMU 7.2.
    "i8mm": ("max,sme=off,sve=off", "0xd4d", f"{DOT} i8mm"),
}


class EmulatedTarget(LocalTarget):
    kind = "emulated"
    name = "emulated"
    emulated = "QEMU"

    def __init__(self, run_id: str, plugin: Path) -> None:
        super().__init__(run_id)
        self._plugin = plugin
        self._counts = Path(self.folder) / "counts.json"

    def open(self) -> None:
        require_emulator()
        super().open()
        for core, (_, part, features) in CORES.items():
            make_root(Path(self.folder) / f"root-{core}", part, features)

    def command(self, argv: Sequence[str], setup: Setup) -> list[str]:
        root = Path(self.folder) / f"root-{setup.cores}"
        self._counts.unlink(missing_ok=True)
        plugin = ["-plugin", f"{self._plugin},out={self._counts}"] if "--marks" in argv else []
        return [QEMU, "-cpu", CORES[setup.cores][0], "-L", str(root), *plugin, *argv]

    def counts(self) -> tuple[tuple[int, ...], dict[str, int]]:
        """Instructions of each inference of the last command, and means by class."""
        try:
            found = json.loads(self._counts.read_text())
            each = tuple(int(value) for value in found.pop("each"))
            classes = {name: round(value / max(len(each), 1)) for name, value in found.items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ResultError(
                f"the emulator's plugin left no counts: {error}",
                expected=f"{QEMU} with plugins, as Debian builds it",
                fix=INSTALL,
            ) from error
        return each, classes

    def facts(self) -> DeviceFacts:
        version = re.search(r"version (\S+)", self.run([QEMU, "--version"]).out)
        host = super().facts()
        return dataclasses.replace(
            host,
            model="emulated ARM cores",
            soc=f"QEMU {version[1] if version else 'of unknown version'}",
            abi="aarch64",
            libc="glibc",
            features=(),
            cores=tuple(
                Core(number, True, part) for number, (_, part, _) in enumerate(CORES.values())
            ),
            emulator="QEMU",
            temperatures={},
        )


def require_emulator() -> None:
    missing = [str(LIBRARIES / name) for name in NEEDED if not (LIBRARIES / name).exists()]
    if shutil.which(QEMU) is None:
        missing.insert(0, QEMU)
    if missing:
        raise ToolError(f"not here: {', '.join(missing)}", expected="user-mode QEMU and the C "
                        "libraries for aarch64", fix=INSTALL)  # fmt: skip


def check_core(core: str) -> str:
    if core not in CORES:
        raise InputError(f"--cores {core} of an emulated target", expected=", ".join(CORES))
    return core


def make_root(root: Path, part: str, features: str) -> None:
    """What QEMU shows the guest in place of this machine's files."""
    (root / "proc").mkdir(parents=True, exist_ok=True)
    cpus = root / "sys/devices/system/cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    if not (root / "lib").is_symlink():
        os.symlink(LIBRARIES, root / "lib")
    (root / "proc/cpuinfo").write_text(cpuinfo(part, features, 1))
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n")


def cpuinfo(part: str, features: str, count: int) -> str:
    """Linux's description of ARM processors."""
    lines = (
        "BogoMIPS\t: 38.40",
        f"Features\t: {features}",
        "CPU implementer\t: 0x41",
        "CPU architecture: 8",
        "CPU variant\t: 0x1",
        f"CPU part\t: {part}",
        "CPU revision\t: 0",
    )
    return "".join(f"processor\t: {n}\n" + "\n".join(lines) + "\n\n" for n in range(count))

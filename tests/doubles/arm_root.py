"""The file system of a pretended ARM device: real aarch64 programs, and the files a device shows.

Commands enter it through proot, which hands each program to user-mode QEMU. What comes out of
sysfs, dumpsys and properties is made up; shell, utilities, runner and library are real.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from edge_bench.targets.emulated import CORES, LIBRARIES, NEEDED, QEMU, cpuinfo

BUSYBOX = Path(__file__).parents[2] / "build" / "arm64" / "bin" / "busybox"  # .ci/run puts it there
CORE = "cortex-a76"
PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
LITTLE, BIG = (1804800, 378), (2841600, 1024)  # kHz and capacity: pretended; pinning is real
BOOT_ID = "6f1d7a3e-0000-4000-8000-000000000001"
PROPERTIES = {
    "ro.product.manufacturer": "Double",
    "ro.product.model": "Phone 1",
    "ro.soc.manufacturer": "Double",
    "ro.soc.model": "D8",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "double/phone/phone:14/D1/1:user/release-keys",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.boot.qemu": "1",
}
BATTERY = "  AC powered: false\n  USB powered: true\n  level: 86\n  temperature: 273\n"
THERMAL = "Thermal Status: 0\n\tTemperature{mValue=34.1, mType=0, mName=CPU, mStatus=0}\n"
ZONES = {"cpu-0-0-usr": 36100, "battery": 27300, "skin-therm": 31200}


def busybox() -> Path:
    return Path(os.environ.get("FIQA_ARM64_BUSYBOX", BUSYBOX))


def require(*programs: str) -> None:
    """Skip where the double's parts are not installed."""
    missing = [name for name in ("proot", *programs) if not _found(name)]
    missing += [] if busybox().is_file() else [str(busybox())]
    skip_without([*missing, *_emulator_missing()])


def require_emulator() -> None:
    skip_without(_emulator_missing())


def _emulator_missing() -> list[str]:
    libraries = [str(LIBRARIES / name) for name in NEEDED if not (LIBRARIES / name).exists()]
    return libraries if _found(QEMU) else [QEMU, *libraries]


def skip_without(missing: list[str]) -> None:
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: .ci/run installs them")


def _found(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def make_root(root: Path, android: bool = True) -> Path:
    for folder in ("system/bin", "data/local/tmp", "home/pi", "etc", "proc", "dev", "tmp", "sys"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("system/bin")
    shutil.copy(busybox(), root / "system/bin/busybox")
    applets = (
        "sh cat ls mkdir rm mv cp chmod sha256sum uname df head tail grep sed sleep date ps kill "
        "wc test tr truncate ln env echo touch taskset pwd"
    )
    for name in applets.split():
        (root / "system/bin" / name).symlink_to("busybox")
    (root / "lib").mkdir()
    for library in LIBRARIES.glob("lib*.so.*"):
        shutil.copy(library, root / "lib" / library.name)
    shutil.copy(LIBRARIES / "ld-linux-aarch64.so.1", root / "lib")
    _write_system(root)
    if android:
        _write_android(root)
    return root


def _write_system(root: Path) -> None:
    (root / "etc/boot_id").write_text(BOOT_ID + "\n")
    (root / "etc/os-release").write_text('PRETTY_NAME="Double Linux 12"\n')
    for index, number in enumerate(PROCESSORS):
        _write_core(root, number, *(LITTLE if index < len(PROCESSORS) // 2 else BIG))
    for index, (name, value) in enumerate(ZONES.items()):
        zone = root / f"sys/class/thermal/thermal_zone{index}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(name + "\n")
        (zone / "temp").write_text(f"{value}\n")
    for name in ("possible", "present", "online"):
        (root / "sys/devices/system/cpu" / name).write_text(f"0-{PROCESSORS[-1]}\n")
    for core, (_, part, features) in CORES.items():
        (root / f"etc/cpuinfo.{core}").write_text(cpuinfo(part, features, PROCESSORS[-1] + 1))


def _write_android(root: Path) -> None:
    write_properties(root, PROPERTIES)
    (root / "etc/dumpsys.battery").write_text(BATTERY)
    (root / "etc/dumpsys.thermalservice").write_text(THERMAL)
    scripts = {
        "getprop": "if [ $# = 0 ]; then cat /etc/props; else "
        'sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p" /etc/props; fi',
        "dumpsys": "cat /etc/dumpsys.$1",
        "settings": 'case "$3" in airplane_mode_on) echo 1 ;; *) echo 0 ;; esac',
    }
    for name, text in scripts.items():
        (root / "system/bin" / name).write_text(f"#!/system/bin/sh\n{text}\n")
        (root / "system/bin" / name).chmod(0o755)


def _write_core(root: Path, number: int, khz: int, capacity: int) -> None:
    folder = root / f"sys/devices/system/cpu/cpu{number}"
    (folder / "cpufreq").mkdir(parents=True)
    (folder / "cpu_capacity").write_text(f"{capacity}\n")
    for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
        (folder / "cpufreq" / name).write_text(f"{khz}\n")
    (folder / "cpufreq" / "scaling_governor").write_text("schedutil\n")


def write_properties(root: Path, properties: dict[str, str]) -> None:
    text = "".join(f"[{name}]: [{value}]\n" for name, value in properties.items())
    (root / "etc/props").write_text(text)


def enter(root: Path, command: str, core: str = CORE, folder: str = "/") -> list[str]:
    """The command line that runs shell text inside the root."""
    binds = [
        *("-b", "/proc", "-b", f"{root}/etc/cpuinfo.{core}:/proc/cpuinfo"),
        *("-b", f"{root}/etc/boot_id:/proc/sys/kernel/random/boot_id"),
        *(part for name in ("null", "zero", "urandom", "full") for part in ("-b", f"/dev/{name}")),
    ]
    qemu = f"{QEMU} -cpu {CORES[core][0]}"
    return ["proot", "-q", qemu, "-r", str(root), *binds, "-w", folder, "/bin/sh", "-c", command]


def environment() -> dict[str, str]:
    """Nothing of this machine's but where proot and QEMU are."""
    return {
        "PATH": f"/system/bin:{os.environ['PATH']}",
        "HOME": "/home/pi",
        "PROOT_TMP_DIR": "/tmp",
        "TMPDIR": "/data/local/tmp",
    }


def board_script(root: Path, core: str = CORE) -> str:
    """A login shell for sshd's ForceCommand: every session runs inside the root."""
    fixed = enter(root, "COMMAND", core, "/home/pi")[:-1]
    exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in environment().items())
    return f'#!/bin/sh\n{exports}exec {shlex.join(fixed)} "${{SSH_ORIGINAL_COMMAND:-sh}}"\n'

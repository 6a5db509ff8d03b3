"""What a device says about itself: asked in one shell command, parsed without trust.

The text is plain POSIX shell, so that Android's toybox, busybox and coreutils all answer it. What
a system does not tell stays empty; it is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edge_bench.errors import ResultError

# `get FILE` leaves its first line in $v without starting a program: there are hundreds of files.
_GET = r"""
get() { v=; [ -r "$1" ] && { IFS= read -r v < "$1"; } 2>/dev/null; : ; }
"""
_THERMAL = r"""
echo @@thermal
for z in /sys/class/thermal/thermal_zone*; do
  get $z/type; t=$v; get $z/temp; [ -n "$v" ] && echo "$t=$v"
done
if command -v dumpsys >/dev/null 2>&1; then
  echo @@thermalservice; dumpsys thermalservice 2>/dev/null | head -n 12
  echo @@battery; dumpsys battery 2>/dev/null
fi
"""
MOMENT = _GET + _THERMAL + "echo @@end"
FACTS = (
    _GET
    + r"""
echo @@uname; uname -m; uname -r
echo @@clock; date +%s
echo @@boot; get /proc/sys/kernel/random/boot_id; echo "$v"
echo @@comm; get /proc/self/comm; echo "$v"; grep vsyscall /proc/$$/maps 2>/dev/null
if command -v getprop >/dev/null 2>&1; then
  echo @@props; getprop
  echo @@settings
  for s in airplane_mode_on low_power; do echo "$s=$(settings get global $s 2>/dev/null)"; done
fi
echo @@release; cat /etc/os-release 2>/dev/null
echo @@model; { tr -d '\000' < /proc/device-tree/model; } 2>/dev/null
echo
echo @@libc
for f in /lib/ld-linux*.so* /lib64/ld-linux*.so* /lib/ld-musl*.so* /system/bin/linker64; do
  [ -e "$f" ] && echo "$f"
done
getconf GNU_LIBC_VERSION 2>/dev/null
echo @@memory; { grep MemTotal /proc/meminfo; } 2>/dev/null
echo @@space; df -P -k "$folder" 2>/dev/null | tail -n 1
echo @@cpuinfo
grep -E '^(processor|model name|CPU part|Features|flags)[[:space:]]*:' /proc/cpuinfo 2>/dev/null
echo @@cpus
for c in /sys/devices/system/cpu/cpu[0-9]*; do
  line=${c##*/cpu}
  for f in online cpu_capacity cpufreq/scaling_governor cpufreq/scaling_cur_freq \
    cpufreq/scaling_max_freq cpufreq/cpuinfo_max_freq; do
    get $c/$f; line="$line ${v:--}"
  done
  echo "$line"
done
"""
    + _THERMAL
    + "echo @@end"
)
MOST_DIGITS = 15  # of a number that a device tells
ABIS = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64"}
THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True)
class Core:
    """One processor. Frequencies in kHz; `capacity` is the kernel's, 1024 for the fastest."""

    number: int
    online: bool
    part: str = ""
    capacity: int | None = None
    governor: str = ""
    khz: int | None = None
    limit_khz: int | None = None  # the most that is allowed now
    max_khz: int | None = None  # the most that the hardware can


@dataclass(frozen=True)
class DeviceFacts:
    """Empty or None: the system does not tell."""

    model: str
    soc: str
    system: str
    fingerprint: str
    kernel: str
    abi: str  # aarch64, armv7, x86_64
    libc: str  # "glibc 2.36", "musl", "bionic"
    features: tuple[str, ...]  # of the first processor
    cores: tuple[Core, ...]
    memory_kb: int | None
    free_kb: int | None
    boot_id: str
    clock_offset_s: float | None  # of its wall clock, against this machine's
    emulator: str = ""
    temperatures: dict[str, float] = field(default_factory=dict)
    thermal_status: int | None = None
    battery_percent: float | None = None
    battery_c: float | None = None
    power: str = ""  # "usb", "ac", "battery"
    airplane_mode: bool | None = None
    battery_saver: bool | None = None


def parse_facts(text: str, asked: float, answered: float) -> DeviceFacts:
    """`asked` and `answered`: when, in seconds by this machine's clock."""
    parts = _sections(text)
    if "end" not in parts:
        raise ResultError(
            "the device's facts are cut short",
            expected="an answer with all its sections",
            fix="run again; python -m edge_bench.devices shows what it says",
        )
    props = dict(re.findall(r"^\[(.+?)\]: \[(.*)\]$", "\n".join(parts.get("props", [])), re.M))
    release = {key: value.strip('"') for key, value in _pairs(parts["release"]).items()}
    info = [re.split(r"\s*:\s*", line, maxsplit=1) for line in parts["cpuinfo"] if ":" in line]
    settings = _pairs(parts.get("settings", []))
    clock = _integer(_first(parts["clock"]))
    android = props.get("ro.build.version.release", "")
    return DeviceFacts(
        model=_joined(props, "ro.product.manufacturer", "ro.product.model")
        or _first(parts["model"])
        or _value(info, "model name"),
        soc=_joined(props, "ro.soc.manufacturer", "ro.soc.model")
        or props.get("ro.board.platform", ""),
        system=f"Android {android} (sdk {props.get('ro.build.version.sdk', '?')})"
        if android
        else release.get("PRETTY_NAME", ""),
        fingerprint=props.get("ro.build.fingerprint", ""),
        kernel=parts["uname"][1] if len(parts["uname"]) > 1 else "",
        abi=_abi(_first(parts["uname"])),
        libc=_libc(parts["libc"]),
        features=tuple((_value(info, "Features") or _value(info, "flags")).split()),
        cores=_cores(parts["cpus"], info),
        memory_kb=_integer(" ".join(parts["memory"])),
        free_kb=_free(_first(parts["space"])),
        boot_id=_first(parts["boot"]),
        clock_offset_s=None if clock is None else _offset(clock, asked, answered),
        emulator=_emulator(props, parts),
        airplane_mode=_flag(settings.get("airplane_mode_on")),
        battery_saver=_flag(settings.get("low_power")),
        **_parse_warmth(parts),
    )


def parse_moment(text: str) -> dict[str, Any]:
    """The part of the facts that changes while one measures."""
    warmth = _parse_warmth(_sections(text))
    return {name: warmth[name] for name in ("temperatures", "thermal_status", "battery_percent")}


def cpus_of(cores: str, facts: DeviceFacts) -> tuple[int, ...]:
    """Processor numbers of "big", "little", "all", "any" (not pinned), or a list such as 0-3,6."""
    online = [core for core in facts.cores if core.online]
    if cores == "any":
        return ()
    if cores == "all":
        return tuple(core.number for core in online)
    if cores in ("big", "little"):
        speeds = {core.number: core.capacity or core.max_khz or 0 for core in online}
        best = (max if cores == "big" else min)(speeds.values(), default=0)
        return tuple(number for number, speed in speeds.items() if speed == best)
    numbers: set[int] = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def _sections(text: str) -> dict[str, list[str]]:
    """Lines by heading; before the first @@ stands what a login shell had to say."""
    parts: dict[str, list[str]] = {}
    for heading, body in re.findall(r"^@@(\w+)\s*$(.*?)(?=^@@|\Z)", text, re.M | re.S):
        parts[heading] = [line.strip() for line in body.splitlines() if line.strip()]
    wanted = ("uname", "clock", "boot", "comm", "release", "model", "libc", "memory", "space")
    for name in (*wanted, "cpuinfo", "cpus", "thermal"):
        parts.setdefault(name, [])
    return parts


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def _first(lines: list[str]) -> str:
    return lines[0] if lines else ""


def _joined(props: dict[str, str], *names: str) -> str:
    return " ".join(filter(None, (props.get(name, "") for name in names)))


def _value(info: list[list[str]], key: str) -> str:
    return next((value for name, value in info if name.strip() == key), "")


def _integer(text: str) -> int | None:
    match = re.search(r"-?[0-9]+", text)
    return int(match[0]) if match and len(match[0]) <= MOST_DIGITS else None


def _number(text: str) -> int:
    """A processor's number; -1 for what is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else -1


def _offset(clock: int, asked: float, answered: float) -> float:
    """Seconds outside the time in which it was asked; the clock tells whole seconds."""
    return round(clock - min(max(clock, asked - 1), answered), 1)


def _flag(value: str | None) -> bool | None:
    return {"0": False, "1": True}.get(value or "")


def _abi(machine: str) -> str:
    return "armv7" if machine.startswith("arm") and "64" not in machine else ABIS.get(
        machine, machine
    )  # fmt: skip


def _libc(lines: list[str]) -> str:
    text = " ".join(lines)
    version = next((line for line in lines if line.startswith("glibc")), "")
    if "ld-linux" in text:
        return version or "glibc"
    return "musl" if "ld-musl" in text else "bionic" if "linker64" in text else ""


def _free(line: str) -> int | None:
    columns = line.split()
    return _integer(columns[3]) if len(columns) >= 6 else None


def _emulator(props: dict[str, str], parts: dict[str, list[str]]) -> str:
    """An x86 kernel's vsyscall page under an ARM system gives user-mode emulation away."""
    if "1" in (props.get("ro.kernel.qemu"), props.get("ro.boot.qemu")):
        return "Android emulator"
    foreign = "vsyscall" in " ".join(parts["comm"]) and _abi(_first(parts["uname"])) != "x86_64"
    return "QEMU" if foreign or _first(parts["comm"]).startswith("qemu") else ""


def _cores(lines: list[str], info: list[list[str]]) -> tuple[Core, ...]:
    parts: dict[int, str] = {}
    number = -1
    for name, value in info:
        if name.strip() == "processor":
            number = _number(value)
        elif name.strip() == "CPU part":
            parts[number] = value
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) == 7 and (index := _number(fields[0])) >= 0:
            _, online, capacity, governor, khz, limit, most = fields
            found.append(
                Core(
                    number=index,
                    online=online != "0",  # the first one has no such file
                    part=parts.get(index, ""),
                    capacity=_integer(capacity),
                    governor="" if governor == "-" else governor,
                    khz=_integer(khz),
                    limit_khz=_integer(limit),
                    max_khz=_integer(most),
                )
            )
    return tuple(sorted(found, key=lambda core: core.number))


def _parse_warmth(parts: dict[str, list[str]]) -> dict[str, Any]:
    temperatures = {
        name: int(value) / 1000
        for name, value in _pairs(parts["thermal"]).items()
        if re.fullmatch(r"-?[0-9]{1,6}", value) and -40_000 < int(value) < 200_000
    }
    status = re.search(r"Thermal Status:\s*(\d+)", "\n".join(parts.get("thermalservice", [])))
    battery = dict(re.findall(r"^(.+?):\s*(.+)$", "\n".join(parts.get("battery", [])), re.M))
    level, warmth = _integer(battery.get("level", "")), _integer(battery.get("temperature", ""))
    plugged = [
        name.lower()
        for name in ("USB", "AC", "Wireless")
        if battery.get(f"{name} powered") == "true"
    ]
    unplugged = "" if level is None else "battery"
    return {
        "temperatures": temperatures,
        "thermal_status": _integer(status[1]) if status else None,
        "battery_percent": None if level is None else float(level),
        "battery_c": None if warmth is None else warmth / 10,
        "power": plugged[0] if plugged else unplugged,
    }

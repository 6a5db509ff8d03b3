"""What is attached, and what is wrong with it.

    python -m edge_bench.devices
    python -m edge_bench.devices --target ssh:pi@board --json
    python -m edge_bench.devices --clean

Lists what adb sees, or looks at one target: processors, governor, temperature, battery, space,
and whether a runner exists for it. --clean removes what an unplugged device could not. Exit 1:
something is attached that cannot be used.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from edge_bench.errors import DeviceError
from edge_bench.runner.apk import app_at_hand
from edge_bench.runner.build import TRIPLES
from edge_bench.targets.adb import adb_version, attached, problem
from edge_bench.targets.base import Target
from edge_bench.targets.choose import FORMS, choose_target
from edge_bench.targets.facts import Core, DeviceFacts
from fiqa import cli
from fiqa.records import to_plain

LEAST_FREE_KB = 200 * 1024  # library, models and a thousand pictures
LOOK = "look"  # in the place of a benchmark's id


@dataclass(frozen=True)
class Seen:
    """A target, whether it can be used, and what to do about it."""

    target: str
    usable: bool
    problems: tuple[str, ...]
    facts: DeviceFacts | None = None
    left_over: tuple[str, ...] = ()  # folders of interrupted benchmarks


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("--target", help=f"look at this one only: {FORMS}")
    parser.add_argument(
        "--clean", action="store_true", help="remove what interrupted benchmarks left behind"
    )
    return cli.run(parser, _devices, argv)


def _devices(args: Namespace) -> cli.Outcome:
    names = [args.target] if args.target else [f"adb:{one.serial}" for one in attached()]
    seen = [look(name, args.clean) for name in names]
    text = [line for one in seen for line in _lines(one)] or [
        f"adb {adb_version()} sees no device; plug one in and allow USB debugging, "
        "or name one: --target ssh:user@host"
    ]
    document = {"devices": to_plain(seen)}
    return cli.Outcome("\n".join(text), document, all(one.usable for one in seen))


def look(name: str, clean: bool) -> Seen:
    """A device that cannot be used is a finding here, not an error."""
    try:
        if name.startswith("adb:"):
            _refuse_unready(name.removeprefix("adb:"))
        target = choose_target(name, LOOK)
        target.open()
        try:
            facts, left = target.facts(), left_over(target, clean)
        finally:
            target.clean_up()
    except DeviceError as error:
        return Seen(name, False, (str(error),))
    problems = tuple(_problems(facts))
    return Seen(name, not problems, problems, facts, left)


def _refuse_unready(serial: str) -> None:
    for device in attached():
        error = problem(device) if device.serial == serial else None
        if error:
            raise error


def left_over(target: Target, clean: bool) -> tuple[str, ...]:
    """Folders beside ours; none of them is in use, unless a benchmark runs there now."""
    if target.kind not in ("adb", "ssh"):
        return ()
    folder, _, ours = target.folder.rpartition("/")
    done = target.run(["ls", "-1", folder])
    names = tuple(sorted(set(done.out.split()) - {ours})) if done.status == 0 else ()
    if clean:
        for name in names:
            target.run(["rm", "-rf", f"{folder}/{name}"])
    return names


def _problems(facts: DeviceFacts) -> list[str]:
    found = []
    if facts.abi not in TRIPLES:
        found.append(f"no runner for processors of type {facts.abi}")
    elif facts.abi == "armv7" and facts.libc != "bionic":
        found.append("a 32-bit system: LiteRT has no wheel for it; give a library with --lib")
    if facts.free_kb is not None and facts.free_kb < LEAST_FREE_KB:
        found.append(f"only {facts.free_kb // 1024} MB free, {LEAST_FREE_KB // 1024} MB are wise")
    return found


def _lines(seen: Seen) -> list[str]:
    state = "usable" if seen.usable else "not usable"
    lines = [f"{seen.target}: {state}", *(f"  problem: {text}" for text in seen.problems)]
    if seen.facts is None:
        return lines
    facts = seen.facts
    lines.append(f"  {facts.model}, {facts.soc or 'unknown chip'}, {facts.system}")
    lines.append(f"  {facts.abi}, {facts.libc or 'unknown C library'}, kernel {facts.kernel}")
    lines += [f"  {text}" for text in clusters(facts.cores)]
    if facts.libc == "bionic" and app_at_hand() is None:
        lines.append("  Android: this installation carries no app: make apk, or --apk FILE")
    if facts.emulator:
        lines.append(f"  emulated by {facts.emulator}: its times are no latencies")
    warmth = [f"{name} {value:.0f} C" for name, value in list(facts.temperatures.items())[:4]]
    if facts.battery_percent is not None:
        warmth.append(f"battery {facts.battery_percent:.0f} %, {facts.power}")
    if facts.free_kb is not None:
        warmth.append(f"{facts.free_kb // 1024} MB free")
    lines.append("  " + ", ".join(warmth))
    if seen.left_over:
        lines.append(f"  left over: {', '.join(seen.left_over)}; remove with --clean")
    return lines


def clusters(cores: Sequence[Core]) -> list[str]:
    """Like cores together: numbers, part, frequency, governor."""
    groups: dict[Core, list[int]] = {}
    for core in cores:
        plain = dataclasses.replace(core, number=0, khz=None)
        groups.setdefault(plain, []).append(core.number)
    return [
        f"cores {_span(numbers)}: {core.part or 'part unknown'}"
        + (f", up to {core.max_khz / 1e6:.2f} GHz" if core.max_khz else "")
        + (f", capacity {core.capacity}" if core.capacity else "")
        + (f", governor {core.governor}" if core.governor else "")
        + ("" if core.online else ", offline")
        for core, numbers in groups.items()
    ]


def _span(numbers: Sequence[int]) -> str:
    whole = list(range(numbers[0], numbers[-1] + 1)) == list(numbers)
    return f"{numbers[0]}-{numbers[-1]}" if whole and len(numbers) > 1 else ",".join(
        map(str, numbers)
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())

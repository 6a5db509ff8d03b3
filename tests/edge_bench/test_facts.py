from __future__ import annotations

import re
import subprocess

import pytest

from edge_bench.errors import ResultError
from edge_bench.targets.facts import FACTS, Core, DeviceFacts, cpus_of, parse_facts, parse_moment

PIXEL = """Welcome to a shell that likes to talk
@@uname
aarch64
5.10.149-android13
@@clock
1000
@@boot
some-boot-id
@@comm
sh
@@props
[ro.product.manufacturer]: [Google]
[ro.product.model]: [Pixel 7]
[ro.soc.model]: [GS201]
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[some.other]: [with [brackets] inside]
@@settings
airplane_mode_on=1
low_power=0
@@release
@@model

@@libc
/system/bin/linker64
@@memory
MemTotal:        7645784 kB
@@space
/dev/block/dm-50 112000000 50000000 62000000 45% /data
@@cpuinfo
processor	: 0
Features	: fp asimd asimddp
CPU part	: 0xd05
processor	: 1
CPU part	: 0xd44
@@cpus
0 - 130 sched_pixel 300000 1803000 1803000
1 1 1024 sched_pixel 500000 2252000 2850000
2 0 1024 - - - -
@@thermal
BIG=41500
soc_thermal=nonsense
vendor=999999999
@@thermalservice
Thermal Status: 2
@@battery
  USB powered: true
  level: 86
  temperature: 273
@@end
"""


def pixel() -> DeviceFacts:
    return parse_facts(PIXEL, 1000.0, 1002.0)


def test_a_phone_s_words_become_facts() -> None:
    facts = pixel()
    assert facts.model == "Google Pixel 7"
    assert facts.system == "Android 14 (sdk 34)"
    assert (facts.abi, facts.libc, facts.boot_id) == ("aarch64", "bionic", "some-boot-id")
    assert facts.features == ("fp", "asimd", "asimddp")
    assert facts.cores[1] == Core(1, True, "0xd44", 1024, "sched_pixel", 500000, 2252000, 2850000)
    assert [core.online for core in facts.cores] == [True, True, False]
    assert (facts.memory_kb, facts.free_kb) == (7645784, 62000000)
    assert (facts.thermal_status, facts.battery_percent, facts.battery_c) == (2, 86.0, 27.3)
    assert (facts.power, facts.airplane_mode, facts.battery_saver) == ("usb", True, False)
    assert facts.emulator == ""


def test_temperatures_that_cannot_be_are_left_out() -> None:
    assert pixel().temperatures == {"BIG": 41.5}


@pytest.mark.parametrize(
    ("battery", "power"),
    [
        ("USB powered: true\n  level: 0", "usb"),
        ("AC powered: false\n  level: 86", "battery"),
        ("AC powered: true", "ac"),
        ("AC powered: false", ""),
        ("Can't find service: battery", ""),
    ],
)
def test_power_is_the_battery_only_where_there_is_one(battery: str, power: str) -> None:
    told = PIXEL.replace("USB powered: true\n  level: 86", battery)
    assert parse_facts(told, 1000.0, 1002.0).power == power


def test_an_answer_that_is_cut_short_is_none() -> None:
    with pytest.raises(ResultError, match="cut short"):
        parse_facts(PIXEL[: len(PIXEL) // 2], 1000.0, 1002.0)


@pytest.mark.parametrize("number", ["9" * 5000, "²", "-", "1e9"])
def test_numbers_that_no_device_has_are_none(number: str) -> None:
    facts = parse_facts(re.sub(r"\b\d{3,}\b", number, PIXEL), 1000.0, 1002.0)
    assert len(facts.cores) == 3
    assert facts.memory_kb in (None, 1)


@pytest.mark.parametrize(("asked", "offset"), [(1000.5, 0.0), (999.0, 0.0), (5000.0, -3999.0)])
def test_a_wrong_clock_shows_as_its_offset(asked: float, offset: float) -> None:
    assert parse_facts(PIXEL, asked, asked + 2).clock_offset_s == offset


@pytest.mark.parametrize(
    "told", [PIXEL.replace("[some.other]: [with [brackets] inside]", "[ro.boot.qemu]: [1]"),
             PIXEL.replace("@@comm\nsh", "@@comm\nqemu-aarch64"),
             PIXEL.replace("@@comm\nsh", "@@comm\nsh\nffff r-xp 0 00:00 0 [vsyscall]")],
)  # fmt: skip
def test_emulation_gives_itself_away(told: str) -> None:
    assert parse_facts(told, 1000.0, 1002.0).emulator


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("big", (1,)),
        ("little", (0,)),
        ("all", (0, 1)),
        ("any", ()),
        ("0-1", (0, 1)),
        ("0,2", (0, 2)),
    ],
)
def test_cores_are_chosen_among_those_online(asked: str, expected: tuple[int, ...]) -> None:
    assert cpus_of(asked, pixel()) == expected


def test_a_moment_holds_what_changes() -> None:
    moment = parse_moment(PIXEL)
    assert moment == {
        "temperatures": {"BIG": 41.5}, "thermal_status": 2, "battery_percent": 86.0,
    }  # fmt: skip


def test_this_machine_answers_the_same_questions() -> None:
    done = subprocess.run(
        ["sh", "-c", f"folder=/tmp\n{FACTS}"], capture_output=True, text=True, timeout=60
    )
    facts = parse_facts(done.stdout, 0.0, 1e12)
    assert facts.abi
    assert facts.free_kb
    assert facts.clock_offset_s == 0.0

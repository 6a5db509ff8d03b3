"""Whole benchmarks over adb and ssh, on pretended devices that run real ARM programs."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path

import pytest

from edge_bench import devices, run
from edge_bench.errors import WrongAbi
from edge_bench.plan import Setup
from edge_bench.result import BenchResult, read_result
from edge_bench.runner import apk
from edge_bench.runner.benchmark_model import BenchmarkModel
from edge_bench.runner.build import build_runner, elf_abi
from edge_bench.runner.choose import choose_runner
from edge_bench.summary import summarise_result
from edge_bench.targets.adb import AdbTarget
from fiqa.errors import InputError, MissingDependencyError
from fiqa.files import sha256_file
from tests.doubles import arm_root, twin_models
from tests.doubles.adb_lab import PhoneDouble
from tests.edge_bench.conftest import Bench

pytestmark = pytest.mark.device

QUICK = ("--blocks", "2", "--runs", "4", "--quick", "--quiet")


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """With names that a shell would trip over."""
    folder = tmp_path_factory.mktemp("twins")
    names = ("float it's; $(touch pwned).tflite", 'int8 "x" `id` &.tflite')
    paths = zip(twin_models.write_twins(folder), names, strict=True)
    return [path.rename(folder / name) for path, name in paths]


def arguments(models: list[Path], data: Path, target: str, out: Path) -> list[str]:
    return [
        *("--artifact", *map(str, models), "--data", str(data), "--target", target),
        *("--out", str(out), *QUICK),
    ]


def check(result: BenchResult, kind: str) -> None:
    assert result.complete
    assert result.source == "emulated"  # and said so, though nobody told it
    assert result.target.startswith(kind)
    assert result.device.abi == "aarch64"
    assert [one.status for one in summarise_result(result).canaries] == ["passed"] * 2
    assert summarise_result(result).canaries[1].differing == 0  # INT8: bit for bit
    assert [one.model for one in result.blocks] == [0, 1, 1, 0]
    assert all(len(one.samples_us) == 2 for one in result.blocks)
    assert result.device_after is not None


def test_a_benchmark_over_adb(
    phone: PhoneDouble, twins: list[Path], data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "phone.json"
    assert run.main([*arguments(twins, data, "adb", out), "--cores", "big"]) in (0, 1)
    result = read_result(out)
    check(result, f"adb:{phone.serial}")
    assert result.device.system == "Android 14 (sdk 34)"
    big = arm_root.PROCESSORS[len(arm_root.PROCESSORS) // 2 :]
    assert result.plan.setups == (Setup(1, "big", tuple(big)),)
    assert result.blocks[0].before.temperatures["cpu-0-0-usr"] == 36.1
    text = capsys.readouterr().out
    assert "Double Phone 1 (emulated)" in text
    assert "latency" not in text
    assert list((phone.root / "data/local/tmp/fiqa-bench").iterdir()) == []  # it cleaned up
    assert not list(phone.root.rglob("pwned"))


def test_a_benchmark_over_ssh(board: Path, twins: list[Path], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    assert run.main(arguments(twins, data, "ssh:board", out)) in (0, 1)
    result = read_result(out)
    check(result, "ssh:board")
    assert result.device.system == "Double Linux 12"
    assert list((board / "home/pi/.fiqa-bench").iterdir()) == []


def test_a_phone_pulled_off_in_the_middle_is_resumed(
    phone: PhoneDouble, twins: list[Path], data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "phone.json"
    target = arguments(twins, data, f"adb:{phone.serial}", out)

    def pull_the_plug() -> None:
        until = time.monotonic() + 60
        while (
            running.is_set()
            and time.monotonic() < until
            and not (out.exists() and read_result(out).passes)
        ):
            time.sleep(0.02)
        phone.set(shell_drop=0, shell_match="fiqa_runner")  # the next call of the runner

    running = threading.Event()
    running.set()
    puller = threading.Thread(target=pull_the_plug)
    puller.start()
    code = run.main([*target, "--json"])
    running.clear()
    puller.join()
    assert code == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["type"] == "DeviceOffline"
    assert "--resume" in document["error"]["fix"]
    half = read_result(out)
    assert not half.complete
    assert half.passes

    phone.set()
    phone.reach()
    assert run.main([*target, "--resume"]) in (0, 1)
    whole = read_result(out)
    check(whole, "adb:")
    assert whole.passes[: len(half.passes)] == half.passes


def test_unknown_hosts_and_keys_are_told_apart(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert devices.main(["--target", "ssh:board"]) == 0
    assert "usable" in capsys.readouterr().out
    assert devices.main(["--target", "ssh:nobody@board", "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["devices"][0]["problems"]
    assert "does not let us in" in problems[0]
    assert devices.main(["--target", "ssh:no-such-host.invalid", "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["devices"][0]["problems"]
    assert "cannot be reached" in problems[0]
    assert devices.main(["--target", "ssh:-oProxyCommand=touch pwned"]) == 2


def test_devices_tells_what_is_attached(
    phone: PhoneDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    assert devices.main([]) == 0
    text = capsys.readouterr().out
    assert f"adb:{phone.serial}: usable" in text
    assert "0xd0b, up to 2.84 GHz, capacity 1024, governor schedutil" in text
    assert "battery 86 %, usb" in text


@pytest.mark.parametrize(
    ("faults", "state", "says"),
    [
        ({"auth": "unauthorized"}, "unauthorized", "accept the question"),
        ({"rewrite": [["uname -m", "echo armv7l"]]}, "device", "32-bit"),
        ({"rewrite": [["uname -m", "echo riscv64"]]}, "device", "no runner for processors"),
        (
            {"rewrite": [['df -P -k "\\$folder"', "echo /dev/x 9 9 1024 9% /"]]},
            "device",
            "1 MB free",
        ),
    ],
)
def test_devices_tells_what_is_wrong(
    faults: dict[str, object], state: str, says: str, phone: PhoneDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    phone.set(**faults)
    phone.leave()
    phone.reach(state)
    assert devices.main([]) == 1
    text = capsys.readouterr().out
    assert "not usable" in text
    assert says in text


def test_what_an_unplugged_phone_kept_is_shown_and_cleaned(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    name = bench.folder.name
    devices.main([])
    told = capsys.readouterr().out.split("left over: ")[1]
    assert name in told
    devices.main(["--clean"])
    assert not bench.folder.exists()


def test_android_without_a_runner_is_told_what_to_give(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = dataclasses.replace(bench.target.facts(), libc="bionic")
    with pytest.raises(WrongAbi, match="runs Android") as told:
        choose_runner("native", None, None, bench.target, facts)
    assert "--runner" in told.value.fix
    monkeypatch.setattr(apk, "BUILT", tmp_path / "none.apk")
    monkeypatch.setattr(apk, "PACKAGED", tmp_path / "none.apk")
    with pytest.raises(MissingDependencyError, match="carries no Android app") as missing:
        choose_runner("auto", None, None, bench.target, facts)
    assert "make apk" in missing.value.fix


def test_options_of_other_systems_are_refused(bench: Bench, tmp_path: Path) -> None:
    linux = bench.target.facts()
    with pytest.raises(WrongAbi, match="does not run Android"):
        choose_runner("app", None, None, bench.target, linux)
    with pytest.raises(InputError, match="--apk"):
        choose_runner("auto", None, tmp_path / "fiqa.apk", bench.target, linux)
    android = dataclasses.replace(linux, libc="bionic")
    with pytest.raises(InputError, match="--lib"):
        choose_runner("app", tmp_path / "any.so", None, bench.target, android)
    (tmp_path / "my_runner").touch()
    with pytest.raises(InputError, match="without --lib"):
        choose_runner(str(tmp_path / "my_runner"), None, None, bench.target, android)


def test_an_existing_benchmark_model_gives_latency_only(
    phone: PhoneDouble, twins: list[Path], data: Path, tmp_path: Path
) -> None:
    there = phone.root / "data/local/tmp/benchmark_model"
    there.write_text(
        "#!/system/bin/sh\n"
        "echo 'count=1 curr=900'\n"
        "echo 'count=4 first=812 curr=801 min=790 max=850 avg=805.5 std=20' >&2\n"
        "echo 'Inference timings in us: Init: 5685, First inference: 1812, Warmup (avg): 900, "
        "Inference (avg): 805.5'\n"
    )
    there.chmod(0o755)
    try:
        target = AdbTarget(phone.serial, "x")
        facts = dataclasses.replace(target.facts(), libc="bionic")
        chosen = choose_runner("benchmark_model", None, None, target, facts)
        assert isinstance(chosen, BenchmarkModel)
        command = arguments(twins[:1], data, "adb", tmp_path / "out.json")
        assert run.main([*command, "--runner", str(there), "--blocks", "1"]) == 0
    finally:
        there.unlink()
    result = read_result(tmp_path / "out.json")
    assert result.runner.latency_only
    assert result.passes == ()
    assert {one.mean_us for one in result.blocks} == {805.5}
    assert any("latency only" in text for text in summarise_result(result).warnings)


def test_runners_are_small_and_for_their_processor() -> None:
    for abi in ("aarch64", "armv7"):
        path = build_runner(abi)
        assert elf_abi(path) == abi
        assert path.stat().st_size <= 4_000_000
    assert sha256_file(build_runner("aarch64")) == sha256_file(build_runner("aarch64"))


def test_the_double_runs_arm_programs(bench: Bench) -> None:
    assert bench.target.run(["uname", "-m"]).out == "aarch64\n"
    assert elf_abi(arm_root.busybox()) == "aarch64"

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edge_bench.compare import Tolerance, compare, main
from edge_bench.result import BenchResult, write_result
from fiqa.errors import InputError
from tests.doubles.bench_results import device, model, result

COUNTED = ((28_000_000,) * 5, (14_000_000,) * 5)


def statuses(old: BenchResult, new: BenchResult) -> dict[str, str]:
    findings = compare(old, new, Tolerance(0.005, 0.05, 0.005))
    return {one.what.replace(", 1 thread, big cores, xnnpack", ""): one.status for one in findings}


def test_the_same_benchmark_is_no_regression() -> None:
    made = result(instructions=COUNTED)
    assert set(statuses(made, made).values()) == {"pass"}


@pytest.mark.parametrize(
    ("count", "status"),
    [(14_070_000, "fail"), (14_069_000, "pass"), (14_000_001, "pass"), (13_000_000, "pass")],
)
def test_half_a_per_cent_more_instructions_fail(count: int, status: str) -> None:
    new = result(instructions=(COUNTED[0], (count,) * 5))
    assert statuses(result(instructions=COUNTED), new)["int8, instructions"] == status


@pytest.mark.parametrize(("count", "status"), [(14_000_000, "pass"), (14_000_001, "fail")])
def test_no_tolerance_for_instructions_still_lets_equal_ones_pass(count: int, status: str) -> None:
    old, new = result(instructions=COUNTED), result(instructions=(COUNTED[0], (count,) * 5))
    findings = compare(old, new, Tolerance(0.005, 0.05, 0.0))
    assert [one.status for one in findings if "instructions" in one.what] == ["pass", status]


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (1.2, "fail"), (0.5, "pass")])
def test_latency_fails_beyond_the_tolerance(factor: float, status: str) -> None:
    new = result(medians_us=((4000.0,) * 6, (2000.0 * factor,) * 6))
    assert statuses(result(), new)["int8, latency"] == status


def test_noise_is_inconclusive_and_no_regression() -> None:
    noisy = [2000.0, 3000, 1500, 2500, 1800, 2900]
    old, new = result(medians_us=((4000.0,) * 6, noisy)), result(
        medians_us=((4000.0,) * 6, noisy[::-1])
    )  # fmt: skip
    assert statuses(old, new)["int8, latency"] == "inconclusive"


def test_latency_of_another_device_is_unchecked() -> None:
    new = result(medians_us=((9000.0,) * 6, (9000.0,) * 6), device=device(model="Other"))
    assert statuses(result(), new)["int8, latency"] == "unchecked"


def test_time_under_emulation_is_unchecked() -> None:
    slow = ((9000.0,) * 6, (9000.0,) * 6)
    old, new = result(source="emulated"), result(source="emulated", medians_us=slow)
    assert statuses(old, new)["int8, latency"] == "unchecked"


def test_worse_scores_fail_and_other_pictures_are_unchecked() -> None:
    assert statuses(result(), result(noise=0.5))["int8, scores"] == "fail"
    assert statuses(result(), result(pictures=900))["int8, scores"] == "unchecked"


def test_a_new_canary_failure_is_a_regression() -> None:
    made = result()
    host = dataclasses.replace(made.host_scores[1], scores=(0.5,) * 16)
    new = dataclasses.replace(made, host_scores=(made.host_scores[0], host))
    assert statuses(made, new)["int8, canary"] == "fail"


def test_files_without_a_common_model_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="share no model"):
        statuses(result(), result(models=(model("a"), model("b", integer=True))))


def test_the_command_exits_1_on_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_result(old, result(instructions=COUNTED))
    write_result(new, result(instructions=(COUNTED[0], (14_070_000,) * 5)))
    assert main([str(old), str(old)]) == 0
    assert main([str(old), str(new), "--json"]) == 1
    document = json.loads(capsys.readouterr().out.split("equal bit for bit\n")[-1])
    assert document["status"] == "no"
    assert [one["change"] for one in document["findings"] if one["status"] == "fail"] == [1.005]
    assert main([str(old), str(new), "--max-instructions", "0.01", "--quiet"]) == 0

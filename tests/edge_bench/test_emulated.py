"""ARM cores under emulation: scores equal to this machine's, instructions equal to themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_bench import run
from edge_bench.compare import Tolerance, compare
from edge_bench.result import BenchResult, read_result
from edge_bench.summary import summarise_result
from edge_bench.targets.emulated import CORES
from tests.doubles import arm_root, twin_models
from tests.doubles.picture_sets import write_set

pytestmark = pytest.mark.device
TOLERANCE = Tolerance(0.005, 0.05, 0.005)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("faces"), people=24, each=17)


def benchmark(models: list[Path], data: Path, out: Path, *more: str) -> BenchResult:
    arm_root.require_emulator()
    command = ["--artifact", *map(str, models), "--data", str(data), "--target", "emulated"]
    assert run.main([*command, "--out", str(out), "--quiet", *more]) in (0, 1)
    return read_result(out)


@pytest.fixture(scope="module")
def result(data: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """The twins on all cores."""
    folder = tmp_path_factory.mktemp("emulated")
    return benchmark(twin_models.write_twins(folder), data, folder / "bench.json", "--limit", "256")


def test_integer_scores_are_equal_bit_for_bit_on_every_core(result: BenchResult) -> None:
    canaries = [one for one in summarise_result(result).canaries if one.model == 1]
    assert [result.plan.setups[one.setup].cores for one in canaries] == list(CORES)
    assert [(one.count, one.differing) for one in canaries] == [(256, 0)] * len(CORES)
    assert len(set(result.passes[1].scores)) > 20


def test_float_scores_agree_on_every_core(result: BenchResult) -> None:
    canaries = [one for one in summarise_result(result).canaries if one.model == 0]
    assert len(canaries) == len(CORES)
    assert max(one.largest for one in canaries) <= 1e-5


def test_a_core_with_dot_products_uses_them(result: BenchResult) -> None:
    used = {
        result.plan.setups[one.setup].cores: one.classes["dot_product"]
        for one in result.counts
        if one.model == 1
    }
    assert used["cortex-a53"] == used["cortex-a72"] == 0
    assert used["cortex-a76"] > 1000
    assert used["i8mm"] > 1000


def test_instructions_repeat_within_a_hundredth_of_a_per_cent(
    result: BenchResult, data: Path, tmp_path: Path
) -> None:
    models = twin_models.write_twins(tmp_path)
    again = benchmark(models, data, tmp_path / "again.json", "--limit", "1")
    assert len(again.counts) == len(result.counts) == 2 * len(CORES)
    for one, other in zip(result.counts, again.counts, strict=True):
        each = np.array([*one.instructions, *other.instructions])
        assert np.ptp(each) / each.mean() <= 1e-4
    findings = compare(result, again, TOLERANCE)
    assert {one.status for one in findings if "instructions" in one.what} == {"pass"}


def test_a_wider_network_is_a_regression_in_instructions(
    result: BenchResult, data: Path, tmp_path: Path
) -> None:
    models = twin_models.write_twins(tmp_path, twin_models.CHANNELS + 8)
    wider = benchmark(
        models, data, tmp_path / "wider.json", "--limit", "1", "--cores", "cortex-a76"
    )
    findings = [one for one in compare(result, wider, TOLERANCE) if "instructions" in one.what]
    assert [one.status for one in findings] == ["fail", "fail"]


def test_emulation_gives_no_latency(result: BenchResult) -> None:
    assert result.source == "emulated"
    assert result.blocks == ()
    assert summarise_result(result).timings == ()

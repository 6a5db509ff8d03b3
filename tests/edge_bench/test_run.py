"""The whole command on this machine, with the real runner and real kernels."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bench import session
from edge_bench.errors import DeviceOffline, ResumeError, UnstableScores
from edge_bench.plan import Setup
from edge_bench.result import BenchResult, ModelRecord, read_result
from edge_bench.run import main, resumed
from edge_bench.runner.native import NativeRunner
from edge_bench.runner.request import Answer, Request
from edge_bench.summary import summarise_result
from edge_bench.targets.base import Target
from fiqa.contract import load_picture
from fiqa.labels import read_labels
from fiqa.runtime import Scorer
from tests.doubles import bench_results, tiny_models
from tests.doubles.picture_sets import write_set

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="--target local measures on 64-bit Linux",
)
VAL = 24  # pictures of the split val


def bench(models: list[Path], data: Path, out: Path, *more: str) -> int:
    return main(
        [
            *("--artifact", *map(str, models), "--data", str(data), "--target", "local"),
            *("--out", str(out), "--quiet", *more),
        ]
    )


def left_behind() -> set[str]:
    return {name for name in os.listdir("/tmp") if name.startswith("fiqa-bench-")}


@pytest.fixture(scope="session")
def quick(twins: list[Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """One quick benchmark of the twins."""
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    before = left_behind()
    code = bench(twins, data, out, "--blocks", "6", "--runs", "30")
    result = read_result(out)
    assert code == (0 if summarise_result(result).ok else 1)
    assert left_behind() <= before  # it cleaned up after itself
    return result


def test_device_scores_are_those_of_the_host_runtime(quick: BenchResult) -> None:
    assert quick.complete
    assert [len(one.scores) for one in quick.passes] == [VAL, VAL]
    canaries = summarise_result(quick).canaries
    assert [(one.status, one.count) for one in canaries] == [("passed", 16)] * 2
    assert canaries[1].differing == 0
    assert len(set(quick.passes[1].scores)) > 10  # not one value for all


def test_models_alternate_and_every_run_is_kept(quick: BenchResult) -> None:
    assert [one.model for one in quick.blocks] == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert all(len(one.samples_us) == 5 == one.runs for one in quick.blocks)
    assert all(min(one.samples_us) > 0 for one in quick.blocks)
    assert all(sum(one.samples_us) <= one.elapsed_us for one in quick.blocks)
    for timing in summarise_result(quick).timings:
        assert timing.latency is not None
        assert timing.latency.runs == 30
        assert timing.peak_mb


def test_a_host_is_labelled_host_and_the_plan_what_it_is(quick: BenchResult, data: Path) -> None:
    assert quick.source == "host"
    assert quick.plan.rigour == "smoke"
    assert quick.models[1].arithmetic == "integer"
    assert quick.models[0].partitions == 1
    assert quick.pictures.record is not None
    assert quick.pictures.record.sha256 == read_labels(data).sha256


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_bytes_reach_every_input_type_by_the_contract(
    dtype: str, data: Path, tmp_path: Path
) -> None:
    path = tiny_models.write_tflite(tmp_path / "tiny.tflite", dtype)
    assert bench([path], data, tmp_path / "out.json", "--runs", "0", "--blocks", "0") == 0
    result = read_result(tmp_path / "out.json")
    labels = read_labels(data).select("val")
    pictures = [tiny_models.SPEC.to_bytes(load_picture(one)) for one in labels.paths]
    expected = tiny_models.expected_score(np.stack(pictures))
    np.testing.assert_allclose(result.passes[0].scores, expected, atol=1e-6)
    assert result.blocks == ()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_each_channel_has_its_own_mean_and_deviation(
    dtype: str, data: Path, tmp_path: Path
) -> None:
    spec = dataclasses.replace(
        tiny_models.SPEC, mean=(123.7, 116.3, 20.0), std=(58.4, 0.5, 3.0), color_order="BGR"
    )
    path = tiny_models.write_tflite(tmp_path / "tiny.tflite", dtype, preprocess=spec)
    assert bench([path], data, tmp_path / "out.json", "--runs", "0", "--blocks", "0") == 0
    expected = Scorer(path).score(read_labels(data).select("val").paths)
    scores = read_result(tmp_path / "out.json").passes[0].scores
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.ptp(expected) > 0.01


def test_threads_and_delegates_are_swept_in_one_plan(
    twins: list[Path], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep.json"
    more = ("--threads", "1", "2", "--delegate", "xnnpack", "none", "--blocks", "2", "--runs", "4")
    code = bench(twins, data, out, *more)
    result = read_result(out)
    assert [setup.name for setup in result.plan.setups] == [
        "1 thread, any cores, xnnpack", "1 thread, any cores, none",
        "2 threads, any cores, xnnpack", "2 threads, any cores, none",
    ]  # fmt: skip
    assert len(result.blocks) == 4 * 2 * 2
    assert {(one.setup, one.model) for one in result.passes} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    summary = summarise_result(result)
    assert code == (0 if summary.ok else 1)
    built_in = [one for one in summary.canaries if one.setup == 1 and one.model == 1]
    if built_in[0].differing:  # other kernels may round otherwise, and it is said
        assert built_in[0].status == "unchecked"
        assert "built-in kernels" in built_in[0].says


@pytest.mark.skipif(
    "FIQA_TFLITE_LIBRARY" not in os.environ, reason="FIQA_TFLITE_LIBRARY names none"
)
def test_a_library_with_tflite_s_c_interface_gives_the_same_scores(
    twins: list[Path], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    more = ("--lib", os.environ["FIQA_TFLITE_LIBRARY"], "--blocks", "1", "--runs", "2")
    bench(twins, data, out, *more)
    result = read_result(out)
    assert {one.engine for one in result.passes} == {"tflite"}
    canaries = summarise_result(result).canaries
    assert [one.status for one in canaries] == ["passed", "passed"]
    assert canaries[1].differing == 0  # without its delegate's 8-bit kernels it would differ


def test_a_model_that_ranks_the_other_way_exits_1(data: Path, tmp_path: Path) -> None:
    many = write_set(tmp_path / "many", people=24)
    good = tiny_models.write_tflite(tmp_path / "good.tflite")
    bad = tiny_models.write_tflite(tmp_path / "bad.tflite", sign=-1)
    out = tmp_path / "out.json"
    assert bench([good, bad], many, out, "--runs", "0", "--blocks", "0") == 1
    (judged,) = summarise_result(read_result(out)).judged
    assert judged.verdict.status == "fail"


class Unplugged:
    """A runner on a cable that comes off after some passes."""

    def __init__(self, runner: NativeRunner, passes: int) -> None:
        self.record, self._runner, self._left = runner.record, runner, passes

    def install(self, target: Target) -> None:
        self._runner.install(target)

    def perform(self, target: Target, request: Request) -> Answer:
        self._left -= 1
        if self._left < 0:
            raise DeviceOffline("the cable came off")
        return self._runner.perform(target, request)


def unplug_after(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_bench import run

    choose = run.choose_runner
    monkeypatch.setattr(run, "choose_runner", lambda *a: Unplugged(choose(*a), passes))


@pytest.mark.parametrize("passes", [0, 1, 5])
def test_an_unplugged_device_loses_one_block_and_resume_goes_on(
    passes: int, twins: list[Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, more = tmp_path / "out.json", ("--blocks", "3", "--runs", "6")
    with monkeypatch.context() as patched:
        unplug_after(passes, patched)
        assert bench(twins, data, out, *more) == 2
    assert "the cable came off" in capsys.readouterr().err
    if passes:
        half = read_result(out)
        assert len(half.passes) + len(half.blocks) == passes
        assert not half.complete
    assert bench(twins, data, out, *more, "--resume") in (0, 1)
    whole = read_result(out)
    assert whole.complete
    assert (len(whole.passes), len(whole.blocks)) == (2, 6)
    if passes:
        assert whole.passes[: len(half.passes)] == half.passes
        assert whole.blocks[: len(half.blocks)] == half.blocks
        assert whole.id == half.id
        assert any("resumed" in text for text in whole.warnings)


def read_otherwise(model: ModelRecord) -> ModelRecord:
    """The same file, under another contract."""
    spec = dataclasses.replace(model.preprocess, mean=(1.0, 2.0, 3.0))
    return dataclasses.replace(model, preprocess=spec)


def test_only_the_same_benchmark_can_be_resumed(
    quick: BenchResult, twins: list[Path], data: Path, tmp_path: Path
) -> None:
    others: dict[str, dict[str, Any]] = {
        "models": {"models": (bench_results.model("other"),)},
        "contract": {"models": tuple(map(read_otherwise, quick.models))},
        "plan": {"plan": dataclasses.replace(quick.plan, setups=(Setup(threads=3),))},
        "device": {"device": bench_results.device()},
        "pictures": {"pictures": dataclasses.replace(quick.pictures, labels=None)},
        "target": {"target": "adb:other"},
    }
    for name, changes in others.items():
        with pytest.raises(ResumeError, match=f"the {name} of this run"):
            resumed(quick, dataclasses.replace(quick, **changes))
    assert resumed(quick, quick).blocks == quick.blocks


def test_scores_that_change_between_passes_are_an_error(
    twins: list[Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scores_of = session.scores_of
    monkeypatch.setattr(
        session, "scores_of", lambda raw, t: scores_of(raw, t) + (0.1 if len(raw) == 16 else 0)
    )
    more = ("--blocks", "1", "--runs", "2", "--json")
    assert bench(twins, data, tmp_path / "out.json", *more) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["type"] == UnstableScores.__name__


def test_an_existing_file_is_not_replaced_unasked(
    twins: list[Path], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    out.write_text("precious")
    assert bench(twins, data, out) == 2
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("--cores", "fast; rm -rf"), "--cores"),
        (("--cores", "900"), "no processor 900"),
        (("--threads", "0"), "without threads"),
        (("--max-drop", "7"), "largest drop"),
        (("--limit", "-3"), "--limit -3"),
        (("--limit", "0"), "--limit 0"),
        (("--cores", "3-1"), "--cores 3-1 names no processor"),
        (("--target", "emulated", "--threads", "1", "2"), "--threads 2 with --target emulated"),
        (("--split", "nosuch"), "nosuch"),
        (("--runner", "/no/such/runner"), "does not exist"),
        (("--lib", "/no/such/library"), "does not exist"),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(
    changes: tuple[str, ...], says: str, twins: list[Path], data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = left_behind()
    assert bench(twins, data, tmp_path / "out.json", *changes) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert left_behind() <= before


def test_an_onnx_file_is_refused_with_its_cure(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    path = tiny_models.write_onnx(tmp_path / "tiny.onnx")
    assert bench([path], data, tmp_path / "out.json") == 2
    assert "python -m export.tflite" in capsys.readouterr().err


def test_one_document_on_stdout(
    twins: list[Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--blocks", "1", "--runs", "2", "--json")
    bench(twins, data, tmp_path / "out.json", *more)
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "host"
    assert document["summary"]["timings"][0]["latency"]["runs"] == 2


def test_the_command_never_loads_torch() -> None:
    code = (
        "import sys, edge_bench.run, edge_bench.compare, edge_bench.report, edge_bench.devices;"
        "sys.exit('torch' in sys.modules or 'ai_edge_litert' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0

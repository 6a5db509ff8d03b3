from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_bench import session
from edge_bench.inputs import choose_pictures, read_models, scores_of
from edge_bench.plan import Setup
from edge_bench.session import Session, distinct_paths
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError
from fiqa.labels import evenly, read_labels
from fiqa.manifest import TensorSpec, split_artifact
from fiqa.runtime import to_tensor
from tests.doubles import bench_results, tiny_models
from tests.doubles.picture_sets import write_set


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
@pytest.mark.parametrize(
    "spec",
    [tiny_models.SPEC, dataclasses.replace(tiny_models.SPEC, mean=(123.7, 116.3, 103.5),
                                           std=(58.4, 57.1, 57.4))],
    ids=["whole steps", "odd mean and std"],
)  # fmt: skip
def test_the_table_holds_what_the_contract_makes_of_each_byte(
    dtype: str, spec: PreprocessSpec, tmp_path: Path
) -> None:
    path = tiny_models.write_tflite(tmp_path / "tiny.tflite", dtype, preprocess=spec)
    (model,) = read_models([path], None)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    table = np.frombuffer(model.table, np.dtype(dtype)).reshape(3, 256)
    by_table = np.stack([table[c][pictures[..., c]] for c in range(3)], axis=-1)
    np.testing.assert_array_equal(by_table, to_tensor(pictures, spec, model.record.input))


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    paths = [tiny_models.write_tflite(tmp_path / name) for name in ("m.tflite", "a/m.tflite")]
    assert [one.record.name for one in read_models(paths, None)] == ["m", "m_2"]


def test_a_foreign_model_needs_its_contract(tmp_path: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "ours.tflite")
    body, _ = split_artifact(path.read_bytes(), path.name)
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(body)
    with pytest.raises(Exception, match="no fiqa manifest"):
        read_models([foreign], None)
    (model,) = read_models([foreign], tiny_models.SPEC)
    assert model.record.model == "foreign"
    assert model.record.parent_sha256 is None


def test_models_for_several_pictures_at_once_are_refused(tmp_path: Path) -> None:
    path = tiny_models.write_tflite(tmp_path / "four.tflite", batch=4)
    with pytest.raises(ArtifactError, match=r"\[4, 16, 16, 3\]") as told:
        read_models([path], None)
    assert "--batch 1" in told.value.fix


def test_pictures_are_those_not_trained_on_and_people_become_numbers(tmp_path: Path) -> None:
    labels = read_labels(write_set(tmp_path / "faces"))
    chosen = choose_pictures(labels, None, None)
    assert set(chosen.splits) == {"val"}
    record = chosen.record()
    assert record.people is not None
    assert len(set(record.people)) == 8
    assert record.labels == tuple(row.score for row in chosen.rows)


def test_a_limit_spreads_over_the_set(tmp_path: Path) -> None:
    labels = read_labels(write_set(tmp_path / "faces"))
    whole, some = (choose_pictures(labels, None, limit) for limit in (None, 5))
    assert len(some.rows) == 5
    assert (some.rows[0], some.rows[-1]) == (whole.rows[0], whole.rows[-1])
    assert len({row.identity for row in some.rows}) == 5


def test_numbers_are_spread_without_repeating() -> None:
    assert evenly(3, 16) == [0, 1, 2]
    assert evenly(1000, 3) == [0, 500, 999]
    assert len(set(evenly(17, 16))) == 16


def test_raw_outputs_become_scores_by_scale_and_zero_point() -> None:
    tensor = TensorSpec("score", (1, 1), "int8", "N1", scale=0.5, zero_point=-10)
    np.testing.assert_array_equal(scores_of([-10, 0, 127], tensor), [0.0, 5.0, 68.5])


def test_scores_are_measured_once_for_each_way_to_compute() -> None:
    setups = [Setup(threads, cores, (4,), delegate) for threads in (1, 2)
              for cores in ("big", "little") for delegate in ("xnnpack", "none")]  # fmt: skip
    assert distinct_paths(setups, by_core=False) == [0, 1]
    assert distinct_paths(setups, by_core=True) == [0, 1, 2, 3]


class Warm:
    """A device that cools by a degree each time it is asked."""

    kind = "adb"

    def __init__(self, degrees: float, status: int = 0) -> None:
        self.degrees, self.status = degrees, status

    def moment(self) -> dict[str, object]:
        self.degrees -= 1
        return {
            "temperatures": {"CPU-0": self.degrees, "battery": 99.0},
            "thermal_status": self.status, "battery_percent": 50.0,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("degrees", "status", "waited"),
    [(41.0, 0, 0.0), (49.0, 0, 25.0), (200.0, 0, 60.0), (41.0, 2, 60.0)],
)
def test_a_warm_device_is_waited_for_but_not_for_ever(
    degrees: float, status: int, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.time, "sleep", lambda _: None)
    result = bench_results.result(device=bench_results.device(temperatures={"CPU-0": 40.0}))
    one = Session(Warm(degrees, status), None, [], None, print)  # type: ignore[arg-type]
    seconds, moment = one._cool_down(result)
    assert seconds == waited
    assert moment.battery_percent == 50.0

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge_bench import describe
from edge_bench.result import read_result, write_result
from edge_bench.summary import summarise_result
from fiqa.errors import ManifestError
from fiqa.metrics import plcc, srcc
from tests.doubles.bench_results import device, model, result


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = result(instructions=((10, 11), (5, 5)))
    write_result(tmp_path / "bench.json", made)
    assert read_result(tmp_path / "bench.json") == made


def test_a_result_cut_short_or_from_the_future_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_result(path, result())
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ManifestError, match="not valid JSON"):
        read_result(path)
    path.write_text(text.replace('"schema": 1', '"schema": 99', 1))
    with pytest.raises(ManifestError, match="schema 99"):
        read_result(path)


def test_a_faithful_model_passes_with_its_interval() -> None:
    summary = summarise_result(result())
    (judged,) = summary.judged
    assert judged.verdict.status == "pass"
    assert judged.verdict.people == 300
    assert summary.ok


def test_a_broken_model_fails() -> None:
    summary = summarise_result(result(noise=0.5))
    assert summary.judged[0].verdict.status == "fail"
    assert not summary.ok


def test_few_pictures_are_inconclusive_unless_the_interval_decides() -> None:
    assert summarise_result(result(pictures=100, noise=0.03)).judged[0].verdict.status == (
        "inconclusive"
    )
    assert summarise_result(result(pictures=100, noise=5.0)).judged[0].verdict.status == "fail"
    assert summarise_result(result(pictures=100, noise=0.03)).ok  # which is no "no"


def test_each_split_is_judged_alone() -> None:
    made = result()
    pictures = dataclasses.replace(made.pictures, splits=("val",) * 600 + ("val_ood",) * 600)
    judged = summarise_result(dataclasses.replace(made, pictures=pictures)).judged
    assert [(one.split, one.verdict.count) for one in judged] == [("val", 600), ("val_ood", 600)]


def test_integer_scores_must_be_equal_bit_for_bit() -> None:
    made = result()
    off = tuple(score + 1e-9 for score in made.host_scores[1].scores)
    changed = dataclasses.replace(made.host_scores[1], scores=off)
    summary = summarise_result(
        dataclasses.replace(made, host_scores=(made.host_scores[0], changed))
    )
    assert [one.status for one in summary.canaries] == ["passed", "failed"]
    assert summary.canaries[1].differing == 16
    assert "XNNPACK on big cores" in summary.canaries[1].says
    assert not summary.ok


def test_float_scores_may_differ_by_rounding() -> None:
    made = result()
    for shift, status in ((5e-6, "passed"), (5e-5, "failed")):
        scores = tuple(score + shift for score in made.host_scores[0].scores)
        host = (dataclasses.replace(made.host_scores[0], scores=scores), made.host_scores[1])
        summary = summarise_result(dataclasses.replace(made, host_scores=host))
        assert summary.canaries[0].status == status


def test_a_slower_model_is_explained_by_the_facts() -> None:
    slow = ((2000.0,) * 6, (3000.0,) * 6)
    outside = ("3 HARD_SWISH: HARD_SWISH int8 has no XNNPACK kernel",)
    models = (model("float"), model("int8", integer=True, outside=outside, partitions=4))
    summary = summarise_result(
        result(medians_us=slow, models=models, device=device(features=("asimd",)))
    )
    (compared,) = summary.compared
    assert compared.ratio.value == pytest.approx(1.5)
    assert compared.slower_because.startswith("INT8 is slower because ")
    for reason in ("3 HARD_SWISH", "4 partitions", "no 8-bit dot product"):
        assert reason in compared.slower_because


def test_a_faster_model_needs_no_explanation() -> None:
    (compared,) = summarise_result(result()).compared
    assert compared.ratio.value == pytest.approx(0.5)
    assert compared.slower_because == ""


def test_a_hot_phone_is_doubted_beside_its_number() -> None:
    made = result()
    hot = dataclasses.replace(made.blocks[3].after, thermal_status=2)
    blocks = (*made.blocks[:3], dataclasses.replace(made.blocks[3], after=hot), *made.blocks[4:])
    summary = summarise_result(dataclasses.replace(made, blocks=blocks))
    assert "throttled: thermal status moderate" in summary.timings[0].doubts
    assert summary.timings[1].doubts == ()


def test_missing_blocks_and_an_unfinished_file_are_said() -> None:
    made = result()
    summary = summarise_result(dataclasses.replace(made, blocks=made.blocks[:10], complete=False))
    assert "4 of 6 blocks" in summary.timings[1].doubts
    assert any("--resume" in text for text in summary.warnings)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clock_offset_s": -4000.0}, "clock is off by -4000 s"),
        ({"power": "battery"}, "the device runs on its battery, at 80 %"),
        ({"power": "battery", "battery_percent": None}, "the device runs on its battery"),
        ({"power": "usb", "battery_percent": 15.0}, "the battery is low, at 15 %"),
        ({"power": "usb", "battery_percent": 0.0}, "the battery is low, at 0 %"),
        ({"battery_saver": True}, "battery saver"),
        ({"airplane_mode": False}, "airplane mode is off"),
    ],
)
def test_a_device_that_may_disturb_is_warned_of(changes: dict[str, object], text: str) -> None:
    summary = summarise_result(result(device=device(**changes)))
    assert any(text in warning for warning in summary.warnings)
    assert ("runs on its battery" in "".join(summary.warnings)) == (
        changes.get("power") == "battery"
    )


def test_emulated_time_is_never_called_latency() -> None:
    made = result(source="emulated", instructions=((28_000_000,) * 3, (14_000_000,) * 3))
    text = "\n".join(describe.lines(made))
    assert "latency" not in text
    assert "p50" not in text
    assert "14.000 M instructions (spread 0.0000 %), 0.500 of float" in text


def test_the_label_of_a_number_stands_beside_it() -> None:
    assert "latency (full)" in "\n".join(describe.lines(result()))
    assert "no proxy for a device" in "\n".join(describe.lines(result(source="host")))


def test_each_model_s_agreement_with_the_labels_is_that_of_its_own_scores() -> None:
    made = result()
    rows = summarise_result(made).agreements
    assert made.pictures.labels is not None
    for one, measured in zip(rows, made.passes, strict=True):
        assert one.srcc == srcc(measured.scores, made.pictures.labels)
        assert one.plcc == plcc(measured.scores, made.pictures.labels)
    alone = dataclasses.replace(made, models=made.models[:1], passes=made.passes[:1], blocks=())
    assert "float, val: SRCC 0.9" in "\n".join(describe.lines(alone))
    unlabelled = dataclasses.replace(made.pictures, labels=None)
    assert summarise_result(dataclasses.replace(made, pictures=unlabelled)).agreements == ()

"""The ablation: equal cost for every row, resumable, and differences that can be believed."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError
from fiqa.labels import LabelSet, Row
from tests.doubles.checkpoints import save_network
from tests.doubles.tiny_sets import TINY, make_set
from train import ablation, stages
from train.ablation import VARIANTS, Variant, figures_of, read_ablation, table_of
from train.loop import Fitting
from train.network import QualityNet, cost_of
from train.stages import Guards, Stage
from train.student import build_student

SIZES = {"mspt_fast": (32, 48, 64), "one_stage": (64,)}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(name: str):  # type: ignore[no-untyped-def]
        def make(sources):  # type: ignore[no-untyped-def]
            kept = stages.mspt_fast(sources) if name == "mspt_fast" else stages.one_stage(sources)
            return [
                Stage(f"{size}", size, stage.sources, Fitting(1, 1e-3, 4), guards=stage.guards)
                for size, stage in zip(SIZES[name], kept, strict=True)
            ]

        return make

    originals = {name: recipe(name) for name in SIZES}
    for name, make in originals.items():
        monkeypatch.setitem(stages.RECIPES, name, make)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def run(folder: Path, *more: str) -> int:
    return ablation.main(
        ["--data", str(folder / "data"), "--pseudo", str(folder / "u1"), "--teacher",
         str(folder / "teacher"), "--init", "random", "--student", TINY, "--epochs", "1",
         "--pictures", "8", "--seeds", "0", "1", "--out", str(folder / "out"), "--device", "cpu",
         "--quiet", *more]
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny: None) -> Path:
    make_set(tmp_path / "data", 9)
    make_set(tmp_path / "u1", 3, offset=100, splits=False)
    save_network(tmp_path / "teacher", QualityNet(TINY, 48), PreprocessSpec(size=48))
    return tmp_path


def test_every_row_is_trained_and_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablation, "VARIANTS", VARIANTS[:2])
    assert run(folder) == 0
    found = read_ablation(folder / "out" / "ablation.json")
    assert [row.name for row in found.rows] == [one.name for one in ablation.VARIANTS]
    first = found.rows[0].splits["val"]
    assert list(vars(first.difference).values()) == pytest.approx([0, 0, 0], abs=1e-12)
    assert all(len(row.splits["val"].seeds) == 2 for row in found.rows)
    assert all(cpu is not None and cpu > 0 for row in found.rows for cpu in row.cpu_s)
    assert str(folder) not in (folder / "out" / "ablation.json").read_text()
    assert (folder / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "out" / "ablation.md").read_text() == table_of(found)

    run_folders = sorted((folder / "out").glob("*_[01]"))
    before = {path: (path / "weights.safetensors").stat().st_mtime_ns for path in run_folders}
    assert len(before) == 4
    capsys.readouterr()
    assert run(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["ablation"]["seeds"] == [0, 1]
    assert before == {p: (p / "weights.safetensors").stat().st_mtime_ns for p in run_folders}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_row_costs_the_same(variant: Variant) -> None:
    args = Namespace(student="mobilenetv3_small_100", epochs=2, pictures=3000)
    epochs, pictures = ablation._budget(args, variant)
    cost = sum(
        epochs * pictures * cost_of(build_student(args.student, size)[0], size).multiply_adds
        for size in ablation._sizes(variant)
    )
    reference = sum(
        6000 * cost_of(build_student(args.student, size)[0], size).multiply_adds
        for size in (128, 160, 224)
    )
    assert cost == pytest.approx(reference, rel=1e-3)


def test_rows_differ_from_the_first_in_what_their_name_says() -> None:
    first = VARIANTS[0]
    assert first == Variant("three stages")
    for other in VARIANTS[1:]:
        differs = [key for key, value in vars(other).items() if value != vars(first)[key]]
        assert set(differs) - {"name"}, other.name
    assert stages.one_stage(["labels", "u1"])[0].guards == Guards(0, 0)


def test_difference_is_the_mean_over_seeds_with_an_interval_over_people() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.random(60)
    rows = tuple(Row(i, f"{i}.png", s, identity=f"p{i // 3}") for i, s in enumerate(wanted))
    labels = LabelSet("x", Path(), rows, "0")
    good = [wanted + rng.normal(0, 0.05, 60) for _ in range(2)]
    poor = [wanted + rng.normal(0, 0.5, 60) for _ in range(2)]
    found = figures_of(poor, good, labels)
    assert found.score == pytest.approx(np.mean(found.seeds))
    assert found.difference.value == pytest.approx(
        found.score - np.mean(figures_of(good, good, labels).seeds)
    )
    assert found.difference.high < 0


def test_too_few_people_for_an_interval_are_compared_over_pictures() -> None:
    wanted = np.linspace(0, 1, 12)
    rows = tuple(Row(i, f"{i}.png", s, identity=f"p{i % 2}") for i, s in enumerate(wanted))
    found = figures_of([wanted], [wanted[::-1]], LabelSet("x", Path(), rows, "0"))
    assert found.difference.value == pytest.approx(2)


def test_validation_people_are_drawn_where_the_set_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(tmp_path / "data", 30, splits=False)
    make_set(tmp_path / "u1", 3, offset=100, splits=False)

    def seen(args: object, variant: object, seed: int, splits: dict[str, LabelSet]) -> None:
        assert [*splits] == ["val"]
        raise InputError("seen")

    monkeypatch.setattr(ablation, "_train", seen)
    with pytest.raises(InputError, match="seen"):
        ablation._ablate(
            Namespace(
                data=tmp_path / "data", root=None, scale=None, skip_bad=False,
                pseudo=[tmp_path / "u1"], seeds=[0], epochs=1, pictures=8,
            )
        )  # fmt: skip


@pytest.mark.parametrize("wrong", [("--epochs", "0"), ("--pictures", "0"), ("--seeds", "-1")])
def test_numbers_out_of_range_are_named(
    tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *wrong) == 2
    assert " is ".join(wrong) in capsys.readouterr().err


def test_the_table_of_the_docs_is_that_of_the_result_file() -> None:
    root = Path(__file__).parents[2]
    kept = read_ablation(root / "results" / "ablation.json")
    assert table_of(kept).strip() in (root / "docs" / "ablation.md").read_text()

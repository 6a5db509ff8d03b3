"""Plots of an evaluation: legible files, also where figures are not defined."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiqa.contract import Box, PreprocessSpec
from fiqa.labels import LabelSet, Row
from train.evaluation import Scored, SplitEvaluation, evaluate_split

pytest.importorskip("matplotlib", reason="plots need matplotlib")

from train import plots


def part(root: Path, split: str, labels: np.ndarray, kinds: bool = True) -> Scored:
    rows = []
    for number, label in enumerate(labels):
        name = f"{split}_{number}.png"
        Image.fromarray(np.full((40, 40, 3), (10 * number, 250, 20), np.uint8)).save(root / name)
        rows.append(Row(number, name, float(label), box=None))
    scores = np.clip(labels + 0.1 * np.sin(np.arange(len(labels)) * 7), 0, 1)
    steps = [("blur",) if n % 2 else ("jpeg", "rain") for n in range(len(labels))]
    return Scored(split, LabelSet("set", root, tuple(rows), ""), scores, None,
                  steps if kinds else None)  # fmt: skip


def draw_all(folder: Path, parts: list[Scored]) -> list[Path]:
    found = [evaluate_split(scored) for scored in parts]
    both: list[tuple[Scored, SplitEvaluation]] = list(zip(parts, found, strict=True))
    plots.draw_scatter(folder / "scatter.png", both)
    plots.draw_discard(folder / "discard.png", found)
    plots.draw_breakdown(folder / "breakdown.png", found)
    plots.draw_worst(folder / "worst.png", both, PreprocessSpec(size=32))
    names = ("scatter", "discard", "breakdown", "worst")
    return [folder / f"{name}.png" for name in names]


@pytest.mark.parametrize("splits", [1, 2, 5])
def test_plots_are_drawn_on_white_for_any_number_of_splits(tmp_path: Path, splits: int) -> None:
    parts = [part(tmp_path, f"s{n}", np.linspace(0, 1, 12)) for n in range(splits)]
    for path in draw_all(tmp_path, parts):
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert (picture[-1, -1] == 255).all(), path.name
        assert 0.005 < (picture < 250).any(axis=2).mean() < 0.9, path.name


def test_same_evaluation_draws_the_same_bytes(tmp_path: Path) -> None:
    parts = [part(tmp_path, "val", np.linspace(0, 1, 12))]
    first = [path.read_bytes() for path in draw_all(tmp_path, parts)]
    assert [path.read_bytes() for path in draw_all(tmp_path, parts)] == first


def test_labels_that_do_not_vary_are_drawn_without_a_curve(tmp_path: Path) -> None:
    flat = part(tmp_path, "flat", np.full(4, 0.5), kinds=False)
    assert evaluate_split(flat).discard is None
    assert all(path.stat().st_size > 0 for path in draw_all(tmp_path, [flat]))


def test_breakdown_shows_common_kinds_by_error_and_ranges_where_none_are_known(
    tmp_path: Path,
) -> None:
    scored = part(tmp_path, "val", np.linspace(0, 1, 24))
    kinds = [*(scored.kinds or [])[:-1], ("rare",)]
    found = evaluate_split(dataclasses.replace(scored, kinds=kinds))
    shown = plots._shown_groups(found)
    assert {group.name for group in shown} == {"blur", "jpeg", "rain"}
    errors = [group.mae or 0 for group in shown]
    assert errors == sorted(errors, reverse=True)
    plain = evaluate_split(dataclasses.replace(scored, kinds=None))
    assert plots._shown_groups(plain)[0].name == "0.0-0.2"


def test_worst_pictures_are_cut_as_the_model_saw_them(tmp_path: Path) -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:20, :20] = (200, 30, 30)
    Image.fromarray(picture).save(tmp_path / "a.png")
    from fiqa.contract import Square

    row = Row(1, "a.png", 0.5, crop=Square(0, 0, 20))
    face = np.asarray(plots._face(tmp_path, row, PreprocessSpec(size=8)))
    assert face.shape == (8, 8, 3)
    assert (face == (200, 30, 30)).all()


def test_worst_faces_of_one_photo_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (90, 30)).save(tmp_path / "group.png")
    rows = tuple(
        Row(number, "group.png", number / 2, box=Box(30 * number, 0, 30, 30)) for number in range(3)
    )
    labels = LabelSet("set", tmp_path, rows, "")
    scored = Scored("val", labels, np.array([0.1, 0.9, 0.2]))
    shown: list[Row] = []

    def face(root: Path, row: Row, spec: PreprocessSpec) -> np.ndarray:
        shown.append(row)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(plots, "_face", face)
    found = evaluate_split(scored)
    plots.draw_worst(tmp_path / "worst.png", [(scored, found)], PreprocessSpec(size=8))
    assert [row.score for row in shown] == [one.label for one in found.worst]
    assert {row.box for row in shown} == {row.box for row in rows}

"""Stages: what recipes promise, what guards do, and that a senseless stage is refused."""

from __future__ import annotations

import pytest

from fiqa.errors import InputError
from train.loop import Fitting
from train.stage_task import _shares
from train.stages import (
    GUARDS,
    RECIPES,
    Guards,
    Stage,
    demo,
    ending_at,
    mspt,
    mspt_fast,
    plain,
    without,
)

ALL = ["labels", "u1", "u2"]


@pytest.mark.parametrize(("recipe", "last"), [(mspt, 640), (mspt_fast, 224), (demo, 160)])
def test_progressive_recipes_raise_the_resolution_over_three_stages(recipe, last: int) -> None:  # type: ignore[no-untyped-def]
    sizes = [stage.size for stage in recipe(ALL)]
    assert len(sizes) == 3
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == last


def test_recipes_scale_to_another_final_size() -> None:
    stages = ending_at(mspt_fast(ALL), 160)
    assert [stage.size for stage in stages] == [96, 112, 160]
    assert [stage.name for stage in stages] == ["stage1@96", "stage2@112", "stage3@160"]
    assert [stage.fitting for stage in stages] == [stage.fitting for stage in mspt_fast(ALL)]
    assert ending_at(mspt_fast(ALL), 224) == mspt_fast(ALL)


def test_each_stage_adds_the_next_source() -> None:
    assert [list(stage.sources) for stage in mspt_fast(ALL)] == [["labels"], ["u1"], ["u2"]]
    assert [list(stage.sources) for stage in mspt_fast([*ALL, "u3"])][-1] == ["u2", "u3"]
    assert [list(stage.sources) for stage in mspt_fast(["labels"])] == [["labels"]] * 3


def test_replay_takes_its_share_from_earlier_sources() -> None:
    stages = mspt_fast(ALL)
    assert _shares(stages[:1]) == {"labels": 1.0}
    assert _shares(stages) == pytest.approx({"u2": 0.5, "labels": 0.25, "u1": 0.25})
    assert _shares(without(stages, "replay")) == {"u2": 1.0}


def test_every_guard_can_be_turned_off() -> None:
    for stage in without(without(without(mspt_fast(ALL), "replay"), "snapshot"), "ema"):
        assert stage.guards == Guards(0, 0)
        assert stage.fitting.ema_decay == 0
    assert set(GUARDS) == {"replay", "snapshot", "ema"}


def test_plain_baseline_is_one_stage_without_guards() -> None:
    (stage,) = plain(ALL)
    assert (stage.size, stage.fitting.epochs, stage.fitting.ema_decay) == (160, 5, 0)
    assert stage.guards == Guards(0, 0)
    assert plain in RECIPES.values()


def test_senseless_stages_are_refused() -> None:
    fitting = Fitting(1, 1e-3)
    with pytest.raises(InputError, match="no sources"):
        Stage("x", 64, {}, fitting)
    with pytest.raises(InputError, match="replays"):
        Stage("x", 64, {"labels": 1}, fitting, guards=Guards(replay=1.0))

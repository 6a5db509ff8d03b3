from __future__ import annotations

import pytest

from edge_bench.plan import Plan, Setup, full_plan, quick_plan
from fiqa.errors import InputError


def test_models_alternate_so_that_a_slow_drift_hits_both_alike() -> None:
    plan = Plan((Setup(),), blocks=4, runs=8, seconds=0)
    assert [model for _, _, model in plan.order(2)] == [0, 1, 1, 0, 0, 1, 1, 0]
    places = {model: [] for model in (0, 1)}
    for place, (_, _, model) in enumerate(plan.order(2)):
        places[model].append(place)
    assert sum(places[0]) == sum(places[1])


def test_each_setup_gets_all_its_rounds() -> None:
    plan = Plan((Setup(), Setup(threads=2)), blocks=3, runs=9, seconds=6)
    keys = list(plan.order(2))
    assert len(keys) == len(set(keys)) == 12
    assert (plan.runs_a_block, plan.seconds_a_block) == (3, 2.0)


def test_runs_are_never_fewer_than_asked_for() -> None:
    plan = Plan((Setup(),), blocks=6, runs=200, seconds=0)
    assert plan.runs_a_block * plan.blocks >= 200


def test_rigour_is_what_the_plan_deserves() -> None:
    setups = (Setup(),)
    assert full_plan(setups).rigour == "full"
    assert quick_plan(setups).rigour == "quick"
    assert Plan(setups, blocks=6, runs=1024, seconds=59).rigour == "quick"
    assert Plan(setups, blocks=2, runs=1024, seconds=60).rigour == "smoke"


def test_accuracy_alone_needs_no_blocks() -> None:
    assert list(Plan((Setup(),), blocks=0, runs=0, seconds=0).order(2)) == []


@pytest.mark.parametrize(("blocks", "runs"), [(5, 4), (-1, 10)])
def test_impossible_plans_are_refused(blocks: int, runs: int) -> None:
    with pytest.raises(InputError):
        Plan((Setup(),), blocks=blocks, runs=runs)


def test_threads_below_one_are_refused() -> None:
    with pytest.raises(InputError, match="without threads"):
        Plan((Setup(threads=0),))

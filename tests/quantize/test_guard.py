"""The guard as a table: what passes, what fails, what more pictures would decide."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fiqa.errors import InputError
from fiqa.metrics import challenge_score
from quantize.guard import FEWEST, GuardPolicy, Verdict, decide

COUNT = 600
RNG = np.random.default_rng(0)
LABELS = RNG.random(COUNT)
FLOAT = LABELS + RNG.normal(0, 0.1, COUNT)
TINY = FLOAT + RNG.normal(0, 0.002, COUNT)  # rounding of a good INT8
WORSE = FLOAT + RNG.normal(0, 0.3, COUNT)
BETTER = LABELS + RNG.normal(0, 0.02, COUNT)
EDGE = FLOAT + RNG.normal(0, 0.035, COUNT)  # loses about what the budget allows
PEOPLE = [f"p{index // 6}" for index in range(COUNT)]


def with_nan(values: np.ndarray) -> np.ndarray:
    found = values.copy()
    found[3] = np.nan
    return found


CASES = {
    "the same scores": (FLOAT, LABELS, "pass", "within"),
    "rounding": (TINY, LABELS, "pass", "within"),
    "improved": (BETTER, LABELS, "pass", "within"),
    "worse": (WORSE, LABELS, "fail", "above"),
    "upside down": (-FLOAT, LABELS, "fail", "above"),
    "at the edge": (EDGE, LABELS, "inconclusive", "either side"),
    "a nan": (with_nan(FLOAT), LABELS, "fail", "1 of 600 quantised scores are no numbers"),
    "infinite": (np.full(COUNT, np.inf), LABELS, "fail", "600 of 600"),
    "collapsed": (np.full(COUNT, 0.4), LABELS, "fail", "one score for all pictures"),
    "equal labels": (TINY, np.full(COUNT, 0.5), "unchecked", "all labels are equal"),
    "no labels, rounding": (TINY, None, "pass", "no labels"),
    "no labels, worse": (WORSE, None, "fail", "no labels"),
    "no labels, collapsed": (np.zeros(COUNT), None, "fail", "one score"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    after, labels, status, reason = CASES[name]
    found = decide(FLOAT, after, labels, PEOPLE)
    assert (found.status, found.ok) == (status, status == "pass")
    assert reason in found.reason
    assert found.judged == ("agreement" if labels is None else "labels")
    assert (found.pictures_needed is not None) == (status == "inconclusive")


@pytest.mark.parametrize("before", [with_nan(FLOAT), np.full(COUNT, 0.5)], ids=["nan", "constant"])
def test_broken_float_model_decides_nothing(before: np.ndarray) -> None:
    found = decide(before, TINY, LABELS)
    assert found.status == "unchecked"
    assert "the float model" in found.reason


def test_few_pictures_decide_nothing() -> None:
    few = slice(0, FEWEST - 1)
    assert decide(FLOAT[few], FLOAT[few], LABELS[few]).status == "unchecked"


def test_figures_are_those_of_the_metrics() -> None:
    found = decide(FLOAT, WORSE, LABELS, PEOPLE, GuardPolicy(threshold=0.5))
    assert found.before is not None
    assert found.after is not None
    assert found.drop is not None
    assert found.shift is not None
    assert found.before.score == pytest.approx(challenge_score(FLOAT, LABELS))
    assert found.drop.value == pytest.approx(found.before.score - found.after.score)
    assert found.drop.low < found.drop.value < found.drop.high
    flips = ((FLOAT >= 0.5) != (WORSE >= 0.5)).mean()
    assert found.shift.flip_share == pytest.approx(flips)
    assert (found.count, found.people) == (COUNT, 100)


def test_pass_needs_the_whole_interval() -> None:
    found = decide(FLOAT, EDGE, LABELS, PEOPLE)
    assert found.drop is not None
    for budget, status in (
        (found.drop.high + 1e-6, "pass"),
        (found.drop.high - 1e-6, "inconclusive"),
        (found.drop.low + 1e-6, "inconclusive"),
        (found.drop.low - 1e-6, "fail"),
    ):
        assert decide(FLOAT, EDGE, LABELS, PEOPLE, GuardPolicy(budget)).status == status


def test_the_advised_number_of_pictures_would_decide() -> None:
    def judge(count: int) -> Verdict:
        rng = np.random.default_rng(5)
        labels = rng.random(count)
        before = labels + rng.normal(0, 0.1, count)
        after = before + rng.normal(0, 0.06, count)
        return decide(before, after, labels, None, GuardPolicy(0.025))

    first = judge(100)
    assert first.status == "inconclusive"
    assert first.pictures_needed is not None
    assert 100 < first.pictures_needed < 2000  # this test would take long
    assert judge(2 * first.pictures_needed).status == "pass"


def test_unequal_vectors_are_refused() -> None:
    with pytest.raises(InputError, match="599, 600"):
        decide(FLOAT, FLOAT[1:], LABELS)
    with pytest.raises(InputError, match="largest drop"):
        GuardPolicy(max_drop=-0.1)


def test_guard_and_verify_leave_torch_unloaded() -> None:
    code = "import sys, quantize.guard, quantize.verify; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

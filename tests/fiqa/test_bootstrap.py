"""Bootstrap intervals against a naive resampling loop, and their statistical behaviour."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fiqa import bootstrap, metrics
from fiqa.bootstrap import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_mean_difference,
)
from fiqa.errors import MetricError

pytestmark = pytest.mark.filterwarnings("error")
STATISTICS = {"score": metrics.challenge_score, "srcc": metrics.srcc, "plcc": metrics.plcc}


def related(n: int, *, seed: int = 0, tied: bool = False) -> tuple[np.ndarray, ...]:
    """Labels and the scores of a good and a fair model."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=n)
    good, fair = labels + rng.normal(scale=0.5, size=n), labels + rng.normal(size=n)
    if tied:
        labels, good, fair = np.round(labels), np.round(good * 2) / 2, np.round(fair)
    return labels, good, fair


def naive_values(statistic, scores, labels, *, identities, resamples, seed):
    """One value for each resample: copy the drawn pictures, then compute as for any pictures."""
    rng = np.random.default_rng(seed)
    owners = np.arange(len(labels)) if identities is None else np.asarray(identities)
    units = list(dict.fromkeys(owners.tolist()))
    members = {unit: np.flatnonzero(owners == unit) for unit in units}
    values = []
    for drawn in rng.integers(0, len(units), (resamples, len(units))):
        rows = np.concatenate([members[units[unit]] for unit in drawn])
        x, y = scores[rows], labels[rows]
        constant = np.ptp(x) == 0 or np.ptp(y) == 0
        values.append(np.nan if constant else STATISTICS[statistic](x, y))
    return np.array(values)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("n", [5, 40])
def test_interval_equals_a_naive_loop_over_the_same_draws(statistic, tied, grouped, n):
    labels, scores, _ = related(n, tied=tied, seed=2)
    identities = np.arange(n) % (n // 2 + 1) if grouped else None
    found = bootstrap_interval(
        statistic, scores, labels, identities=identities, resamples=200, seed=7
    )
    values = naive_values(statistic, scores, labels, identities=identities, resamples=200, seed=7)
    low, high = np.nanquantile(values, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.degenerate == int(np.isnan(values).sum())
    assert found.resamples == 200 - found.degenerate
    assert found.estimate == STATISTICS[statistic](scores, labels)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_difference_is_taken_on_the_same_resample(statistic):
    labels, good, fair = related(30)
    found = bootstrap_difference(statistic, good, fair, labels, resamples=200, seed=3)
    draws = {"identities": None, "resamples": 200, "seed": 3}
    differences = naive_values(statistic, good, labels, **draws) - naive_values(
        statistic, fair, labels, **draws
    )
    expected = np.quantile(differences, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_difference_of_a_model_from_itself_is_exactly_zero():
    labels, good, _ = related(50)
    found = bootstrap_difference("score", good, good, labels, resamples=100)
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_mean_difference_averages_the_runs_of_each_side(statistic):
    labels, good, fair = related(30)
    draws = {"identities": None, "resamples": 200, "seed": 3}
    runs, baseline = [good, good**3, fair], [fair, labels[::-1] + good]
    values = [np.mean([naive_values(statistic, x, labels, **draws) for x in side], axis=0)
              for side in (runs, baseline)]  # fmt: skip
    found = bootstrap_mean_difference(statistic, runs, baseline, labels, resamples=200, seed=3)
    expected = np.quantile(values[0] - values[1], (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)
    means = [np.mean([STATISTICS[statistic](x, labels) for x in side]) for side in (runs, baseline)]
    assert found.estimate == pytest.approx(means[0] - means[1], abs=1e-12)


def test_mean_difference_needs_a_run_on_both_sides():
    labels, good, _ = related(30)
    with pytest.raises(MetricError, match="0 of the baseline"):
        bootstrap_mean_difference("score", [good], [], labels)


def test_pairing_makes_the_difference_of_like_models_narrow():
    labels, good, _ = related(200)
    rounded = np.round(good, 1)  # like an INT8 copy
    paired = bootstrap_difference("score", rounded, good, labels, resamples=400)
    alone = bootstrap_interval("score", good, labels, resamples=400)
    assert paired.high - paired.low < (alone.high - alone.low) / 10


def test_the_cut_into_chunks_changes_nothing(monkeypatch):
    labels, good, _ = related(64)
    whole = bootstrap_interval("score", good, labels, resamples=101)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 64 * 7)
    cut = bootstrap_interval("score", good, labels, resamples=101)
    assert (cut.low, cut.high) == pytest.approx((whole.low, whole.high), abs=1e-13)


def test_the_seed_decides_the_interval():
    labels, good, _ = related(50)
    first, again, other = (
        bootstrap_interval("srcc", good, labels, resamples=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    truth, covered, trials = 0.6, 0, 200
    for seed in range(trials):
        labels = rng.normal(size=80)
        scores = truth * labels + np.sqrt(1 - truth**2) * rng.normal(size=80)
        found = bootstrap_interval("plcc", scores, labels, resamples=300, level=0.9, seed=seed)
        covered += found.low <= truth <= found.high
    assert 0.82 <= covered / trials <= 0.96


def test_drawing_identities_widens_the_interval_of_clustered_pictures():
    rng = np.random.default_rng(5)
    identities = np.repeat([f"person {i}" for i in range(20)], 15)
    person = np.repeat(rng.normal(size=(20, 2)), 15, axis=0)
    labels, scores = (person @ [[1, 0.6], [0, 0.8]] + 0.1 * rng.normal(size=person.shape)).T
    people = bootstrap_interval("score", scores, labels, identities=identities, resamples=500)
    pictures = bootstrap_interval("score", scores, labels, resamples=500)
    assert (people.units, pictures.units) == ("identities", "pictures")
    assert people.high - people.low > 2 * (pictures.high - pictures.low)


def test_identities_of_one_picture_each_are_the_same_as_pictures():
    labels, good, _ = related(30)
    people = bootstrap_interval("plcc", good, labels, identities=list(range(30)), resamples=100)
    pictures = bootstrap_interval("plcc", good, labels, resamples=100)
    assert (people.low, people.high) == (pictures.low, pictures.high)


def test_degenerate_resamples_are_left_out_and_counted():
    found = bootstrap_interval("score", [1, 2, 3], [1, 3, 2], resamples=900)
    assert found.degenerate == pytest.approx(100, abs=45)  # 3 of 27 draws repeat one picture
    assert found.resamples + found.degenerate == 900


@pytest.mark.parametrize("seed", range(8))
def test_a_constant_resample_is_found_where_its_mean_is_rounded(seed):
    people = np.repeat(range(3), 34)  # so many equal values do not add up exactly
    scores, labels = np.random.default_rng(seed).normal(size=(2, 3))[:, people]
    draws = {"identities": people, "resamples": 200}
    by_value = bootstrap_interval("plcc", scores, labels, **draws)
    by_rank = bootstrap_interval("srcc", scores, labels, **draws)
    assert by_value.degenerate == by_rank.degenerate > 0


def test_mostly_degenerate_resamples_are_an_error():
    # Each vector has its one odd person, whom 33 % of the draws miss: 59 % miss one or both.
    with pytest.raises(MetricError, match="resamples held scores or labels that are all equal"):
        bootstrap_interval(
            "plcc",
            np.repeat([1.0, 0, 0, 0, 0], 8),
            np.repeat([0.0, 0, 1, 0, 0], 8),
            identities=np.repeat(range(5), 8),
            resamples=200,
        )


def test_interval_is_json_friendly():
    labels, good, _ = related(20)
    plain = dataclasses.asdict(bootstrap_interval("score", good, labels, resamples=50))
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"identities": [1, 2]}, "2 identities for 6 pictures"),
        (
            {"identities": ["a", "b", None, "c", "", float("nan")]},
            "3 of 6 pictures without an identity",
        ),
        ({"identities": ["a"] * 3 + ["b"] * 3}, "2 identities to draw from"),
        ({"resamples": 0}, "0 resamples"),
        ({"resamples": 10}, "10 resamples for a level of 0.95"),
        ({"level": 1.0}, "level of 1.0"),
        ({"statistic": "krcc"}, "statistic 'krcc'"),
        ({"scores": [1, 1, 1, 1, 1, 1]}, "all 6 scores equal 1"),
        ({"scores": [1, 2, 3]}, "3 scores and 6 labels"),
        ({"scores": [1, 2, 3, 4, 5, float("nan")]}, "1 of 6 scores not usable"),
    ],
)
def test_what_defines_no_interval_is_a_typed_error(keywords, message):
    call = {"statistic": "score", "scores": [1, 2, 3, 4, 5, 7], "labels": [1, 2, 3, 4, 6, 5]}
    with pytest.raises(MetricError, match=message):
        bootstrap_interval(**(call | keywords))

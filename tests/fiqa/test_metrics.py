"""Correlations and the logistic against SciPy; curves and thresholds against hand-made tables."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import optimize, stats

from fiqa.decisions import discard_curve, score_shift, threshold_for_rejection
from fiqa.errors import MetricError
from fiqa.logistic import LogisticFit, fit_logistic
from fiqa.metrics import challenge_score, evaluate_scores, krcc, midranks, plcc, rmse, srcc

pytestmark = pytest.mark.filterwarnings("error")


def drawn_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of 3 to 300 pictures: continuous, or with few to many ties."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 4, 5, 7, 8, 9, 33, 300]))
    labels = rng.normal(size=n)
    scores = labels * rng.choice([-1, 0, 1]) + rng.normal(size=n)
    if seed % 3:
        labels, scores = np.round(labels * (seed % 4 + 0.6)), np.round(scores * 2)
    labels[0], labels[1], scores[0], scores[1] = -3, 3, 4, -4  # never constant
    return scores, labels


# ---------------------------------------------------------------- correlations


@pytest.mark.parametrize("seed", range(60))
def test_correlations_equal_scipy_with_and_without_ties(seed):
    scores, labels = drawn_pair(seed)
    assert srcc(scores, labels) == pytest.approx(stats.spearmanr(scores, labels)[0], abs=1e-12)
    assert krcc(scores, labels) == pytest.approx(stats.kendalltau(scores, labels)[0], abs=1e-12)
    assert plcc(scores, labels) == pytest.approx(stats.pearsonr(scores, labels)[0], abs=1e-12)
    np.testing.assert_array_equal(midranks(scores), stats.rankdata(scores))


def test_krcc_equals_scipy_on_many_pictures():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 500, 30_001)
    scores = labels + rng.normal(scale=200, size=labels.size)
    assert krcc(scores, labels) == pytest.approx(stats.kendalltau(scores, labels)[0], abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_rank_correlations_ignore_a_monotone_change_of_scale(seed):
    scores, labels = drawn_pair(seed)
    bent = np.exp(scores / 3)
    assert srcc(bent, labels) == srcc(scores, labels)
    assert krcc(bent, labels) == krcc(scores, labels)
    assert plcc(7 * scores - 2, labels) == pytest.approx(plcc(scores, labels), abs=1e-12)


@pytest.mark.parametrize("statistic", [srcc, krcc, plcc, challenge_score])
@pytest.mark.parametrize("seed", range(6))
def test_correlations_are_symmetric_and_change_sign_with_the_scores(statistic, seed):
    scores, labels = drawn_pair(seed)
    assert statistic(labels, scores) == pytest.approx(statistic(scores, labels), abs=1e-12)
    assert statistic(-scores, labels) == pytest.approx(-statistic(scores, labels), abs=1e-12)


@pytest.mark.parametrize("statistic", [srcc, krcc, plcc])
def test_perfect_agreement_is_exactly_one(statistic):
    values = np.random.default_rng(0).normal(size=200)
    assert statistic(values, values) == 1
    assert statistic(values, -values) == -1


def test_plcc_survives_a_huge_offset_and_tiny_values():
    labels = np.array([1.0, 2, 4, 3, 7])
    scores = np.array([2.0, 1, 3, 4, 9])
    expected = stats.pearsonr(scores, labels)[0]
    assert plcc(scores + 2.0**52, labels) == pytest.approx(expected, abs=1e-12)
    assert plcc(scores * 1e-300, labels) == pytest.approx(expected, abs=1e-12)


def test_rmse_is_in_the_units_of_the_labels():
    assert rmse([0.0, 0, 0, 0], [3, 0, 0, 0]) == 1.5


# ---------------------------------------------------------------- logistic


@pytest.mark.parametrize("seed", range(30))
def test_noiseless_logistic_is_recovered(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=int(rng.integers(8, 200))) * 10 ** rng.uniform(-3, 3)
    true = LogisticFit(
        *rng.normal(size=2), np.quantile(x, rng.uniform(0.1, 0.9)), x.std() * rng.uniform(0.2, 1.5)
    )
    found = fit_logistic(x, true(x))
    np.testing.assert_allclose(
        dataclasses.astuple(found),
        dataclasses.astuple(true),
        rtol=1e-5,
        atol=1e-6 * abs(true.b3) + 1e-6 * x.std(),
    )
    assert found.increasing == true.increasing


@pytest.mark.parametrize("seed", range(10))
def test_noisy_logistic_is_no_worse_than_scipys_from_the_true_parameters(seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, 150)
    y = LogisticFit(5, 1, 0.4, 0.7)(x) + rng.normal(scale=0.4, size=x.size)
    theirs, _ = optimize.curve_fit(
        lambda x, b1, b2, b3, b4: (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4))) + b2,
        x,
        y,
        p0=(5, 1, 0.4, 0.7),
    )
    found = fit_logistic(x, y)
    np.testing.assert_allclose(dataclasses.astuple(found), theirs, rtol=1e-3)
    assert rmse(found(x), y) <= rmse(LogisticFit(*theirs)(x), y) * (1 + 1e-9)


SHAPES = {
    "line": lambda x, rng: 2 * x + 1,
    "falling": lambda x, rng: -x + rng.normal(size=x.size),
    "exponential": lambda x, rng: np.exp(3 * x),
    "saturating": lambda x, rng: -np.exp(-2 * x),
    "step": lambda x, rng: (x > np.median(x)) * 1.0,
    "outliers": lambda x, rng: x + rng.standard_cauchy(size=x.size),
    "noise": lambda x, rng: rng.normal(size=x.size),
    "wave": lambda x, rng: np.sin(4 * x) + 0.1 * x,
}


@pytest.mark.parametrize("n", [3, 4, 5, 20, 500])
@pytest.mark.parametrize("shape", SHAPES)
def test_fitted_plcc_is_not_below_the_raw_and_the_fit_follows_its_sign(shape, n):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=n)
        y = SHAPES[shape](x, rng)
        fit = fit_logistic(x, y)
        assert plcc(fit(x), y) >= abs(plcc(x, y)) - 1e-6
        assert fit.increasing == (plcc(x, y) > 0)


def test_the_search_starts_no_worse_than_the_straight_line(monkeypatch):
    monkeypatch.setattr("fiqa.logistic._LogisticSearch.descend", lambda self, start: start)
    x = np.linspace(0, 1, 50)
    assert plcc(fit_logistic(x, x)(x), x) > 1 - 1e-9


def test_uncorrelated_data_get_the_flat_fit_and_a_fitted_plcc_of_zero():
    scores, labels = [0, 0, 1, 1], [0, 1, 0, 1]
    fit = fit_logistic(scores, labels)
    assert (fit.b1, fit.b2, fit.increasing) == (0.5, 0.5, False)
    metrics = evaluate_scores(scores, labels)
    assert (metrics.plcc, metrics.plcc_fitted, metrics.rmse_fitted) == (0, 0, 0.5)


def test_labels_that_are_mostly_noise_settle_well_within_the_steps_allowed(monkeypatch):
    monkeypatch.setattr("fiqa.logistic._LogisticSearch.MOST_STEPS", 200)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        fit_logistic(rng.normal(size=20 + seed), rng.normal(size=20 + seed))


def test_a_search_that_does_not_settle_is_an_error(monkeypatch):
    monkeypatch.setattr("fiqa.logistic._LogisticSearch.MOST_STEPS", 1)
    rng = np.random.default_rng(0)
    with pytest.raises(MetricError, match="did not settle in 1 steps on 50 points"):
        fit_logistic(rng.normal(size=50), rng.normal(size=50))


def test_logistic_keeps_the_shape_and_saturates_far_out():
    fit = LogisticFit(b1=3, b2=-1, b3=0, b4=-1e-3)
    np.testing.assert_array_equal(fit([[-1e9, 0], [1e9, 1e99]]), [[-1, 1], [3, 3]])
    assert fit(0.0).shape == ()
    assert fit.increasing


@pytest.mark.parametrize("parameters", [(1, 0, 0, 0), (math.nan, 0, 0, 1), (1, math.inf, 0, 1)])
def test_logistic_refuses_parameters_that_are_no_curve(parameters):
    with pytest.raises(MetricError, match="logistic parameters"):
        LogisticFit(*parameters)


# ---------------------------------------------------------------- the set of figures


def test_evaluate_scores_gathers_the_single_figures_as_plain_numbers():
    rng = np.random.default_rng(3)
    scores = rng.uniform(0, 5, 200).astype(np.float32)
    labels = np.tanh(3 * (scores - 2)) + rng.normal(scale=0.2, size=200)
    metrics = evaluate_scores(scores, list(labels))
    assert metrics.count == 200
    assert metrics.srcc == srcc(scores, labels)
    assert metrics.krcc == krcc(scores, labels)
    assert metrics.plcc == plcc(scores, labels)
    assert metrics.rmse == rmse(scores, labels)
    assert metrics.score == challenge_score(scores, labels) == (metrics.srcc + metrics.plcc) / 2
    fitted = fit_logistic(scores, labels)(scores)
    assert metrics.plcc_fitted == pytest.approx(stats.pearsonr(fitted, labels)[0], abs=1e-12)
    assert metrics.rmse_fitted == pytest.approx(np.sqrt(np.mean((fitted - labels) ** 2)))
    assert metrics.plcc_fitted > metrics.plcc + 0.01
    assert json.loads(json.dumps(dataclasses.asdict(metrics))) == dataclasses.asdict(metrics)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2], [1, 2], "2 scores"),
        ([], [], "0 scores"),
        ([1, 2, 3], [1, 2, 3, 4], "3 scores and 4 labels"),
        ([1, math.nan, 3], [1, 2, 3], "1 of 3 scores not usable, the first at position 1: nan"),
        ([1, 2, 3], [1, math.inf, -math.inf], "2 of 3 labels not usable"),
        ([1, 2, 1e200], [1, 2, 3], "position 2: 1e"),
        ([1, 1, 1], [1, 2, 3], "all 3 scores equal 1"),
        ([1, 2, 3], [0.5, 0.5, 0.5], "all 3 labels equal 0.5"),
        ([[1], [2], [3]], [1, 2, 3], r"scores of shape \(3, 1\)"),
        (4.0, [1, 2, 3], r"scores of shape \(\)"),
        ([1, None, 3], [1, 2, 3], "scores of type object"),
        (["1", "2", "3"], [1, 2, 3], "scores of type <U1"),
        ([[1], [2, 3], 4], [1, 2, 3], "uneven rows"),
    ],
)
@pytest.mark.parametrize("statistic", [evaluate_scores, srcc, krcc, plcc, challenge_score])
def test_what_defines_no_correlation_is_a_typed_error(statistic, scores, labels, message):
    with pytest.raises(MetricError, match=message):
        statistic(scores, labels)


def test_fit_of_constant_values_is_a_typed_error():
    with pytest.raises(MetricError, match="all 3 x values equal 2"):
        fit_logistic([2, 2, 2], [1, 2, 3])
    with pytest.raises(MetricError, match="values to map not usable"):
        LogisticFit(1, 0, 0, 1)([math.nan])


# ---------------------------------------------------------------- shift and thresholds


def test_score_shift_counts_flips_in_both_directions():
    before = [0.1, 0.4, 0.5, 0.6, 0.9]
    after = [0.1, 0.5, 0.4, 0.5, 0.6]
    shift = score_shift(before, after, threshold=0.5)
    assert shift.count == 5
    assert shift.largest == pytest.approx(0.3)
    assert shift.mean_absolute == pytest.approx(0.12)
    assert shift.mean_signed == pytest.approx(-0.08)
    assert (shift.accept_to_reject, shift.reject_to_accept, shift.flip_share) == (1, 1, 0.4)
    back = score_shift(after, before, threshold=0.5)
    assert back.mean_signed == -shift.mean_signed
    assert json.loads(json.dumps(dataclasses.asdict(shift))) == dataclasses.asdict(shift)


def test_score_shift_without_threshold_states_no_flips():
    shift = score_shift([1.0], [1.0])
    assert (shift.largest, shift.mean_absolute, shift.mean_signed) == (0, 0, 0)
    assert shift.flip_share is shift.accept_to_reject is shift.reject_to_accept is None


def test_score_shift_refuses_other_lengths_and_a_nan_threshold():
    with pytest.raises(MetricError, match="2 scores before and 1 scores after"):
        score_shift([1, 2], [1])
    with pytest.raises(MetricError, match="threshold not usable"):
        score_shift([1, 2], [1, 2], threshold=math.nan)


@pytest.mark.parametrize(
    ("scores", "rate", "threshold", "rejected"),
    [
        ([4, 1, 3, 2], 0.5, 2.5, 2),
        ([4, 1, 3, 2], 0.49, 1.5, 1),
        ([4, 1, 3, 2], 0.0, 1, 0),
        ([1, 2, 2, 2, 3], 0.6, 1.5, 1),  # the tie at 2 stays whole
        ([1, 2, 2, 2, 3], 0.8, 2.5, 4),
        ([5, 5, 5], 0.9, 5, 0),
        ([5, 5, 5], 1.0, math.nextafter(5, 6), 3),
        (list(range(100)), 0.29, 28.5, 29),  # 0.29 * 100 falls just short of 29
        ([1.0, math.nextafter(1, 2)], 0.5, math.nextafter(1, 2), 1),  # nothing lies between
    ],
)
def test_rejection_threshold_rejects_no_more_than_asked(scores, rate, threshold, rejected):
    found = threshold_for_rejection(scores, rate)
    assert (found.threshold, found.rejected) == (threshold, rejected)
    assert sum(score < found.threshold for score in scores) == rejected
    assert found.achieved_rate == rejected / len(scores)
    assert (found.requested_rate, found.count) == (rate, len(scores))


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_rejection_rate_is_a_share(rate):
    with pytest.raises(MetricError, match="rejection rate"):
        threshold_for_rejection([1, 2, 3], rate)


# ---------------------------------------------------------------- error versus discard

# Bad are the labels 1 and 2. By score the order of discarding is 1, 9, 2, 8, 7.
SCORES, LABELS = [0.1, 0.3, 0.2, 0.4, 0.5], [1, 2, 9, 8, 7]


def test_discard_curve_equals_the_hand_made_table():
    curve = discard_curve(SCORES, LABELS, bad_below=3, fractions=[0, 0.2, 0.4, 0.6, 0.8])
    assert curve.errors == pytest.approx((2 / 5, 1 / 4, 1 / 3, 0, 0))
    assert curve.oracle == pytest.approx((2 / 5, 1 / 4, 0, 0, 0))
    assert curve.random == pytest.approx((0.4,) * 5)
    assert curve.area == pytest.approx(0.2 * (0.4 / 2 + 1 / 4 + 1 / 3))
    assert curve.area_oracle == pytest.approx(0.2 * (0.4 / 2 + 1 / 4))
    assert curve.area_random == pytest.approx(0.8 * 0.4)
    assert (curve.count, curve.bad_below, curve.bad_share) == (5, 3, 0.4)
    assert 0 < curve.gain < 1


def test_discard_curve_takes_the_expectation_over_ties_and_part_pictures():
    tied = discard_curve([1, 1, 1, 1], [0, 5, 5, 5], bad_below=3, fractions=[0, 0.25, 0.75])
    assert tied.errors == tied.random == pytest.approx((0.25,) * 3)
    assert tied.gain == 0
    part = discard_curve([1, 2, 3, 4], [0, 5, 5, 5], bad_below=3, fractions=[0, 0.125])
    assert part.errors[1] == pytest.approx(0.5 / 3.5)  # half of the bad picture is gone


def test_discard_curve_ignores_the_order_of_pictures_and_monotone_changes():
    scores, labels = drawn_pair(2)
    curve = discard_curve(scores, labels)
    shuffled = np.random.default_rng(0).permutation(scores.size)
    assert discard_curve(scores[shuffled], labels[shuffled]) == curve
    assert discard_curve(np.exp(scores / 4), labels).errors == curve.errors


def test_discarding_by_the_labels_gains_one_and_by_their_opposite_less_than_nothing():
    labels = np.arange(40.0)
    assert discard_curve(labels, labels).gain == pytest.approx(1)
    assert discard_curve(-labels, labels).gain < 0


@pytest.mark.parametrize(
    ("labels", "bad_below", "share"),
    [
        (list(range(1000)), 200, 0.2),
        ([0, 0, 0, 1, 2, 3, 4, 5], 1, 3 / 8),  # the tie at 0 is bad as a whole
        ([0, 1, 1, 1, 1, 1, 1, 1], 1, 1 / 8),  # no limit above 1 would leave a good picture
    ],
)
def test_bad_pictures_are_the_lowest_fifth_of_labels_by_default(labels, bad_below, share):
    curve = discard_curve(labels, labels)
    assert (curve.bad_below, curve.bad_share) == (bad_below, share)


def test_discard_curve_is_json_friendly():
    plain = dataclasses.asdict(discard_curve(SCORES, LABELS))
    assert json.loads(json.dumps(plain))["errors"] == list(plain["errors"])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"bad_below": 1}, "0 of 5 labels below 1"),
        ({"bad_below": 99}, "5 of 5 labels below 99"),
        ({"bad_below": math.nan}, "bad_below not usable"),
        ({"fractions": [0, 1]}, "discard fractions"),
        ({"fractions": [0.5, 0.2]}, "discard fractions"),
        ({"fractions": [0.5]}, "1 discard fractions"),
    ],
)
def test_discard_curve_refuses_what_defines_no_curve(keywords, message):
    with pytest.raises(MetricError, match=message):
        discard_curve(SCORES, LABELS, **keywords)


def test_discard_curve_of_constant_labels_is_an_error():
    with pytest.raises(MetricError, match="all 3 labels equal 1"):
        discard_curve([1, 2, 3], [1, 1, 1])

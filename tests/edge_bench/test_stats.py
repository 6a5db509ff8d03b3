from __future__ import annotations

import numpy as np
import pytest

from edge_bench.stats import (
    T_QUANTILES,
    doubts,
    drift,
    paired_ratio,
    percentile,
    ratio_doubts,
    summarise,
    t_quantile,
)
from fiqa.errors import MetricError


def test_percentiles_are_times_that_were_seen() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.99) == 7.0


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(MetricError):
        percentile([], 0.5)


def test_a_summary_keeps_every_sample_and_gives_milliseconds() -> None:
    latency = summarise([[1000.0, 2000.0], [3000.0, 90_000.0]])
    assert (latency.runs, latency.blocks) == (4, 2)
    assert (latency.p50_ms, latency.p99_ms, latency.min_ms) == (2.0, 90.0, 1.0)
    assert latency.mean_ms == 24.0


def test_spread_between_blocks_is_that_of_their_medians() -> None:
    latency = summarise([[100.0] * 9, [110.0] * 9])
    assert latency.cv_blocks == pytest.approx(np.std([100, 110], ddof=1) / 105)
    assert summarise([[1.0, 2.0]]).cv_blocks is None


def test_a_ratio_of_equal_pairs_is_exact() -> None:
    ratio = paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_drift_that_both_models_share_leaves_their_ratio_alone() -> None:
    slower = np.linspace(1, 2, 8)
    ratio = paired_ratio(3 * slower, slower)
    assert ratio.value == pytest.approx(3.0)
    assert ratio.half_width == pytest.approx(0, abs=1e-12)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        noise = np.exp(rng.normal(0, 0.05, 6))
        ratio = paired_ratio(1.5 * noise, np.ones(6))
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= 1.5 <= ratio.high
    assert 0.92 <= hits / 400 <= 0.98


def test_one_pair_has_no_interval_and_says_so() -> None:
    ratio = paired_ratio([2.0], [1.0])
    assert ratio.low is None
    assert ratio_doubts(ratio) == ["one pair of blocks: no interval"]


def test_quantiles_are_student_s() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 5, len(T_QUANTILES)):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)
    assert t_quantile(1000) == 1.96


def test_a_device_that_slows_down_is_doubted() -> None:
    medians = [100.0, 101, 102, 110, 118, 120, 125, 130]
    latency = summarise([[value] * 5 for value in medians])
    said = " ".join(doubts(latency, medians))
    assert drift(medians) == pytest.approx(127.5 / 100.5)
    assert "throttled" in said
    assert "unstable" in said


def test_a_steady_device_is_not_doubted() -> None:
    medians = [100.0, 101, 100, 99, 100, 101]
    assert doubts(summarise([[value] * 5 for value in medians]), medians) == []
    assert ratio_doubts(paired_ratio(medians, medians)) == []

"""Products and means stay clear of the middle between two steps, where kernels differ."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from quantize.aten import aten, calls  # noqa: E402
from quantize.corrections import observe  # noqa: E402
from quantize.gates import insert_gates, swishes  # noqa: E402
from quantize.integer_places import HIGH, LOW, Range, Ranges, range_of  # noqa: E402
from quantize.ties import (  # noqa: E402
    NEAR_TIE,
    NUDGE,
    NUDGES,
    Results,
    avoid_ties,
    cleared,
    means,
    nearest_tie,
    products,
)
from tests.doubles.planted import calm, pictures  # noqa: E402

WIDEST = 1 + NUDGE * NUDGES


def in_float32(first: Range, second: Range, out: Range) -> np.ndarray:
    """All products as kernels on x86 compute them."""
    a, b = (np.arange(LOW, HIGH + 1) - one.zero_point for one in (first, second))
    scale = np.float32(first.scale) * np.float32(second.scale) / np.float32(out.scale)
    steps = np.rint(np.multiply.outer(a, b).astype(np.float32) * scale)
    return np.clip(steps + out.zero_point, LOW, HIGH)


def in_fixed_point(first: Range, second: Range, out: Range) -> np.ndarray:
    """The same as kernels on ARM do: a 31-bit multiplier, and halves rounded up."""
    a, b = (np.arange(LOW, HIGH + 1) - one.zero_point for one in (first, second))
    scale = np.float32(first.scale) * np.float32(second.scale) / np.float32(out.scale)
    fraction, exponent = np.frexp(np.float64(scale))
    shift = 31 - int(exponent)
    product = np.multiply.outer(a, b) * int(fraction * 2**31)
    steps = (product + (1 << (shift - 1))) >> shift
    return np.clip(steps + out.zero_point, LOW, HIGH)


def differing(first: Range, second: Range, out: Range) -> int:
    return int((in_float32(first, second, out) != in_fixed_point(first, second, out)).sum())


def test_both_kinds_of_kernels_agree_on_every_product() -> None:
    rng = np.random.default_rng(0)
    wide = rng.uniform(0.5, 20, 400)
    drawn = [(Range(-one, 2 * one), Range(0.0, 6.0)) for one in wide]
    outs = [Range(-one, float(rng.uniform(6, 12)) * one) for one in wide]
    cases = [(*taken, out) for taken, out in zip(drawn, outs, strict=True)]
    apart = [case for case in cases if differing(*case)]
    assert len(apart) >= 3  # else there was nothing to avoid
    for first, second, out in apart[:5]:
        found = cleared(out, products(first, second))
        assert out.high < found.high <= out.high * WIDEST
        assert differing(first, second, found) == 0


def test_a_mean_of_half_a_step_is_moved_off() -> None:
    """With one scale before and after, half of 2 pixels' sums lie in the very middle."""
    covered = Range(0.0, 255.0)
    results = means(covered, 2)
    assert nearest_tie(covered, results) == 0
    found = cleared(covered, results)
    assert nearest_tie(found, results) > NEAR_TIE
    assert covered.high < found.high <= covered.high * WIDEST


def means_in_float32(taken: Range, count: int, out: Range, late: bool) -> np.ndarray:
    """All means as two kinds of kernels compute them: the zero point leaves before or after the
    scaling."""
    stored = np.arange(LOW * count, HIGH * count + 1)
    scale = np.float32(np.float32(taken.scale) / (np.float32(out.scale) * count))
    zero = taken.zero_point * count
    early = (stored - zero).astype(np.float32) * scale
    steps = stored.astype(np.float32) * scale - np.float32(zero) * scale if late else early
    return np.clip(np.rint(steps) + out.zero_point, LOW, HIGH)


def test_both_kinds_of_kernels_agree_on_every_mean() -> None:
    """Of tensors far from zero, where a kernel adds up more than is left."""
    rng = np.random.default_rng(0)
    apart = 0
    for wide in rng.uniform(0.5, 20, 60):
        taken, out = Range(-0.02 * wide, wide), Range(0.0, float(rng.uniform(0.05, 0.3)) * wide)
        found = cleared(out, means(taken, 196))
        before, after = (
            means_in_float32(taken, 196, one, True) != means_in_float32(taken, 196, one, False)
            for one in (out, found)
        )
        apart += bool(before.any())
        assert not after.any()
    assert apart >= 5  # else there was nothing to avoid


def test_a_mean_of_too_many_pixels_is_left_as_it_is() -> None:
    assert cleared(Range(0.0, 1.0), means(Range(0.0, 3.0), 112 * 112)) == Range(0.0, 1.0)


def test_what_lies_beyond_the_tensor_does_not_count() -> None:
    covered = Range(0.0, 255.0)
    for values, nearest in (([0, 1, 500.5], 0.5), ([0, 1, 50.5], 0)):
        assert nearest_tie(covered, Results(np.array(values), np.array(values))) == nearest


def graph_ties(graph, ranges: Ranges) -> list[float]:  # type: ignore[no-untyped-def]
    """How near each product of the graph comes to a middle."""
    found = []
    for node in calls(graph, aten.mul.Tensor):
        first, second, out = (range_of(one, ranges) for one in (*node.args[:2], node))
        assert first is not None
        assert second is not None
        assert out is not None
        found.append(nearest_tie(out, products(first, second)))
    return found


def test_a_whole_graph_is_clear_and_its_ranges_hardly_wider() -> None:
    graph = calm().module
    insert_gates(graph, range(len(swishes(graph))))
    graph.recompile()
    ranges = observe(graph, pictures(8))
    found = avoid_ties(graph, ranges)
    before, after = graph_ties(graph, ranges), graph_ties(graph, found)
    assert min(before) < NEAR_TIE < min(after)
    assert len(after) > 10
    assert set(found) == set(ranges)
    for name, covered in ranges.items():
        assert covered.high <= found[name].high <= covered.high * WIDEST
        assert covered.low >= found[name].low >= covered.low * WIDEST
    changed = {name for name in ranges if found[name] != ranges[name]}
    ours = {node.name for node in calls(graph, aten.mul.Tensor, aten.mean.dim)}
    assert changed <= ours
    assert changed & {node.name for node in calls(graph, aten.mean.dim)}

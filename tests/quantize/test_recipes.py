"""Quantising a graph: exact where it must be, and faithful where naive rounding collapses."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from fiqa.errors import InputError  # noqa: E402
from quantize.aten import CONV, LINEAR, calls, known_weights, tidy  # noqa: E402
from quantize.centring import centre  # noqa: E402
from quantize.channel_groups import find_groups  # noqa: E402
from quantize.corrections import BIAS_BITS, fit_channels, observe  # noqa: E402
from quantize.deployable import Deployable, trace  # noqa: E402
from quantize.equalisation import (  # noqa: E402
    UNEQUAL,
    Extent,
    channel_extents,
    equalise,
    unequal_swishes,
)
from quantize.gates import gated, insert_gates, swishes  # noqa: E402
from quantize.hard_activations import THREE  # noqa: E402
from quantize.integer_places import Range, RangeError, range_of, stored_nodes  # noqa: E402
from quantize.ranges import cut_tails  # noqa: E402
from quantize.recipes import (  # noqa: E402
    RECIPES,
    faithful,
    naive,
    named,
    prepared,
    quantise,
)
from quantize.rounding import _covariances, round_together  # noqa: E402
from quantize.simulation import Walk, round_weight, scores_of  # noqa: E402
from tests.doubles.planted import calm, pictures, plant_dead_channel, plant_outliers  # noqa: E402

EXACT = 2e-5  # float32, through a network and back


@pytest.fixture(scope="module")
def network() -> Deployable:
    return calm()


@pytest.fixture
def graph(network: Deployable):  # type: ignore[no-untyped-def]
    return copy.deepcopy(network.module)


def shift(graph, other, walk: Walk | None = None) -> float:  # type: ignore[no-untyped-def]
    """How far scores of the second graph lie from those of the first, on average."""
    seen = pictures()
    return float((scores_of(graph, seen) - scores_of(other, seen, walk)).abs().mean())


@pytest.mark.parametrize(("low", "high"), [(0.2, 3.0), (-2.0, -1.0), (-1.0, 5.0)])
def test_a_range_holds_zero_and_its_integers_hold_the_range(low: float, high: float) -> None:
    found = Range.holding(low, high)
    assert found.low <= 0 <= found.high
    steps = np.array([-128, 127]) - found.zero_point
    np.testing.assert_allclose(steps * found.scale, [found.low, found.high], atol=found.scale)


def test_a_tensor_that_is_always_zero_gets_room() -> None:
    assert Range.holding(0.0, 0.0).scale > 1e-4


@pytest.mark.parametrize("values", [(float("nan"), 1.0), (0.0, float("inf")), (1.0, 2.0), (0, 0)])
def test_a_range_that_would_crash_an_interpreter_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(RangeError):
        Range(*values)


def test_values_are_stored_once_a_kernel(graph) -> None:  # type: ignore[no-untyped-def]
    stored = {node.name for node in stored_nodes(graph)}
    ranges = observe(graph, pictures())
    assert set(ranges) == stored
    for conv in calls(graph, CONV):
        is_kernel_alone = conv.name in stored
        assert range_of(conv, ranges) is not None
        assert is_kernel_alone == (not range_of(conv, {}) and conv.name in ranges)


def test_any_number_of_pictures_scores_as_they_do_alone(graph) -> None:  # type: ignore[no-untyped-def]
    seen = pictures(5)
    alone = torch.cat([scores_of(graph, seen[at : at + 1]) for at in range(5)])
    torch.testing.assert_close(scores_of(graph, seen), alone, atol=1e-5, rtol=0)


def test_gates_keep_the_scores_and_come_first_to_last(network: Deployable, graph) -> None:  # type: ignore[no-untyped-def]
    count = len(swishes(graph))
    assert count > 5
    assert insert_gates(graph, [0, 1]) == (0, 1)
    tidy(graph)
    assert [one[2] for one in gated(graph)] == [one[2] for one in swishes(graph)][:2]
    assert insert_gates(graph, range(count)) == tuple(range(2, count))  # two have theirs
    tidy(graph)
    assert len(gated(graph)) == count
    assert shift(network.module, graph) <= EXACT


def test_only_hard_swishes_with_unequal_channels_are_worth_a_gate(graph) -> None:  # type: ignore[no-untyped-def]
    extents = channel_extents(graph, pictures())
    for place, (x, _, _) in enumerate(swishes(graph)):
        high = torch.ones_like(extents[x.name].high)
        high[0] = UNEQUAL * (1.1 if place % 2 else 0.9)
        extents[x.name] = Extent(torch.full_like(high, -99.0), high * THREE)
    assert unequal_swishes(graph, extents) == tuple(range(1, len(swishes(graph)), 2))


@pytest.mark.parametrize("with_gates", [False, True])
def test_equalisation_is_exact_and_undoes_planted_outliers(
    with_gates: bool, network: Deployable
) -> None:
    planted = dataclasses.replace(network, module=copy.deepcopy(network.module))
    if with_gates:
        insert_gates(planted.module, range(len(swishes(planted.module))))
        tidy(planted.module)
    plant_outliers(planted)
    graph = planted.module
    assert shift(network.module, graph) <= EXACT  # planting is exact too
    before = _worst_share(planted)
    assert equalise(graph, channel_extents(graph, pictures()), network.example).places > 5
    tidy(graph)
    assert shift(network.module, graph) <= EXACT
    assert before < 0.02 < 0.05 < _worst_share(planted)


def test_centring_is_exact_and_leaves_no_offset_where_it_may_move(
    network: Deployable, graph
) -> None:  # type: ignore[no-untyped-def]
    before = channel_extents(graph, pictures())
    assert centre(graph, before, network.example).places > 5
    tidy(graph)
    assert shift(network.module, graph) <= EXACT
    after = channel_extents(graph, pictures())
    layers = [node.name for node in calls(graph, CONV, LINEAR)]
    offsets = {name: after[name].low + after[name].high for name in layers if name in after}
    still = {n for n in offsets if torch.allclose(after[n].low, before[n].low, atol=EXACT)}
    moved = offsets.keys() - still
    assert moved
    assert still  # those behind which zeros are padded, or that are multiplied
    for name in moved:
        assert float(offsets[name].abs().max()) <= 1e-4 * float(after[name].high.max())


class Borders(torch.nn.Module):
    """A convolution read by one that pads, and sums of sums read by one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 3, padding=1)
        self.third, self.last = torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 1, 1)

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        second = self.second(self.first(r.permute(0, 3, 1, 2)))
        return self.last(second + (second + self.third(second))).mean((1, 2, 3))


def test_what_a_border_of_zeros_is_added_to_keeps_its_offset() -> None:
    example = torch.zeros(1, 8, 8, 3)
    graph = trace(Borders(), 8, 1).float()
    first, second, third, _ = calls(graph, CONV)
    kept = {node.name: known_weights(graph, node)[1] for node in (first, second, third)}
    reference, seen = copy.deepcopy(graph), pictures()[:, :8, :8]
    assert centre(graph, channel_extents(graph, seen), example).places == 2
    tidy(graph)
    changed = {n.name for n in calls(graph, CONV)[:3] if _bias_moved(graph, n, kept[n.name])}
    assert changed == {second.name, third.name}
    torch.testing.assert_close(scores_of(graph, seen), scores_of(reference, seen))


def _bias_moved(graph, node, kept) -> bool:  # type: ignore[no-untyped-def]
    return not torch.equal(known_weights(graph, node)[1], kept)


def _worst_share(deployable: Deployable) -> float:
    """The median over groups of the median channel's share of its tensor."""
    extents = channel_extents(deployable.module, pictures())
    shares = []
    for group in find_groups(deployable.module, deployable.example):
        one = extents[group.tensors[0].name]
        reach = torch.maximum(one.high, -one.low)
        shares.append(float(reach.median() / reach.max()))
    return float(np.median(shares))


def test_a_bias_too_large_for_int32_is_mended_without_moving_scores(
    network: Deployable, graph
) -> None:  # type: ignore[no-untyped-def]
    plant_dead_channel(graph)
    reference = copy.deepcopy(graph)
    ranges = observe(graph, pictures())
    assert _largest_bias(graph, ranges) > 2**31  # what a naive conversion would saturate
    assert fit_channels(graph, ranges) >= 1
    tidy(graph)
    assert _largest_bias(graph, ranges) <= 2**BIAS_BITS * 1.01
    assert shift(reference, graph) <= 1e-3


def _largest_bias(graph, ranges) -> float:  # type: ignore[no-untyped-def]
    found = 0.0
    for node in calls(graph, CONV):
        weight, bias = known_weights(graph, node)
        covered = range_of(node.args[0], ranges)
        step = weight.flatten(1).abs().amax(1).clamp_min(1e-30) / 127 * covered.scale
        found = max(found, float((bias.abs() / step).max()))
    return found


def test_rounding_together_puts_weights_on_their_grid_and_errs_less(
    network: Deployable, graph
) -> None:  # type: ignore[no-untyped-def]
    layers = calls(network.module, CONV)
    seen = _covariances(network.module, layers, pictures())
    assert round_together(graph, pictures()) == len(seen) > 5
    joint, nearest = 0.0, 0.0
    for node, rounded in zip(layers, calls(graph, CONV), strict=True):
        weight, _ = known_weights(network.module, node)
        found, _ = known_weights(graph, rounded)
        if node in seen:
            torch.testing.assert_close(round_weight(found), found, atol=1e-6, rtol=1e-4)
            joint += _error(found - weight, weight, seen[node])
            nearest += _error(round_weight(weight) - weight, weight, seen[node])
    assert joint < 0.9 * nearest


def _error(error, weight, covariance) -> float:  # type: ignore[no-untyped-def]
    """The share of a layer's output variance that rounding adds."""

    def variance(values) -> float:  # type: ignore[no-untyped-def]
        rows = values.double().reshape(len(covariance), -1, covariance.shape[-1])
        return float((rows @ covariance * rows).sum())

    return variance(error) / variance(weight)


def test_tails_are_cut_only_where_scores_move_less(network: Deployable, graph) -> None:  # type: ignore[no-untyped-def]
    ranges = observe(graph, pictures())
    name = next(n for n in list(ranges)[5:])
    ranges[name] = Range(ranges[name].low * 30, ranges[name].high * 30)  # one wild value long ago
    found = cut_tails(graph, ranges, pictures())
    assert found[name].scale < ranges[name].scale
    seen = pictures()
    for cut in (one for one in ranges if found[one] != ranges[one]):
        costs = [
            float(
                (scores_of(graph, seen, Walk({cut: r[cut]})) - scores_of(graph, seen)).abs().mean()
            )
            for r in (found, ranges)
        ]
        assert costs[0] < costs[1] * 1.2


def test_faithful_survives_what_makes_naive_rounding_collapse(network: Deployable) -> None:
    planted = dataclasses.replace(network, module=copy.deepcopy(network.module))
    plant_outliers(planted)
    plant_dead_channel(planted.module)
    seen = pictures()
    shifts = {}
    for recipe in (naive(), faithful()):
        found = quantise(planted.module, network.example, seen, recipe)
        shifts[recipe.name] = shift(planted.module, found.module, found.walk)
    spread = float(scores_of(planted.module, seen).std())
    assert shifts["naive"] > 0.3 * spread
    assert shifts["faithful"] < 0.1 * shifts["naive"]


def test_quantising_leaves_the_graph_it_was_given_alone(network: Deployable) -> None:
    before = scores_of(network.module, pictures(4))
    quantise(network.module, network.example, pictures(16), faithful())
    torch.testing.assert_close(scores_of(network.module, pictures(4)), before)


def test_an_unknown_recipe_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError) as raised:
        named("fast")
    assert all(name in raised.value.expected for name in RECIPES)


def test_a_graph_with_attention_runs_on_any_number_of_pictures() -> None:
    graph = calm("edgenext_xx_small").module
    seen = pictures(3)
    alone = torch.cat([scores_of(graph, seen[at : at + 1]) for at in range(3)])
    torch.testing.assert_close(scores_of(graph, seen), alone, atol=1e-4, rtol=0)


def test_only_gates_that_were_put_in_are_told(network: Deployable) -> None:
    """A swish of which nobody knows how many channels it has keeps the gate that it has."""
    graph = copy.deepcopy(network.module)
    x = swishes(graph)[0][0]
    with graph.graph.inserting_after(x):
        plain = graph.graph.call_function(torch.ops.aten.relu.default, (x,))
    x.replace_all_uses_with(plain, lambda user: user is not plain)
    tidy(graph)
    made, inserted = prepared(graph, (0, 1))
    assert inserted == (1,)
    assert len(gated(made)) == 1

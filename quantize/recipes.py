"""Named ways to quantise a graph: which remedies, in which order. Each can be left out.

The graph that comes out has weights on the grid of the integers where they are rounded together,
and ranges for every stored value; but for that rounding and the corrections it computes the same.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule

from fiqa.errors import InputError
from quantize.aten import tidy
from quantize.centring import centre
from quantize.corrections import correct_outputs, correct_scores, fit_channels, observe
from quantize.equalisation import channel_extents, equalise, unequal_swishes
from quantize.gates import insert_gates
from quantize.integer_places import Range
from quantize.ranges import cut_tails
from quantize.rounding import round_together
from quantize.simulation import Walk, scores_of


@dataclass(frozen=True)
class QuantRecipe:
    """The remedies; gates, centring and equalisation are exact in float."""

    name: str
    gates: int | None = None  # of the hard-swishes whose channels differ, from the first; None: all
    centre: bool = True  # channels of a tensor moved to the middle of its range
    equalise: bool = True  # and brought to one range
    cut_tails: bool = True  # ranges narrowed where that moves scores less
    round_together: bool = True  # weights, not each to its nearest
    correct: bool = True  # outputs of layers, and of the whole


def naive() -> QuantRecipe:
    """True ranges and nothing else, as converters do it: what the others are measured against."""
    return QuantRecipe("naive", 0, False, False, False, False, False)


def fastest() -> QuantRecipe:
    """Gates for the first few of these hard-swishes, where rounding costs most."""
    return QuantRecipe("fastest", gates=4)


def faithful() -> QuantRecipe:
    """A gate wherever channels differ: nearest to the float scores, for one operator a swish."""
    return QuantRecipe("faithful")


RECIPES = {recipe.__name__: recipe for recipe in (faithful, fastest, naive)}


@dataclass(frozen=True)
class Quantised:
    """A graph whose weights suit the integers, with the range of every stored value."""

    module: GraphModule
    ranges: dict[str, Range]
    recipe: QuantRecipe
    gates_at: tuple[int, ...]  # hard-swishes, by place
    mended_channels: int  # whose bias or slope the kernels could not hold

    @property
    def walk(self) -> Walk:
        """The simulation of the integer model."""
        return Walk(dict(self.ranges), rounds_weights=True)

    @property
    def facts(self) -> dict[str, object]:
        return dataclasses.asdict(self.recipe) | {
            "gates_at": list(self.gates_at),
            "mended_channels": self.mended_channels,
        }


def named(name: str) -> QuantRecipe:
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}", expected=", ".join(RECIPES))
    return RECIPES[name]()


def prepared(module: GraphModule, gates: Collection[int]) -> tuple[GraphModule, tuple[int, ...]]:
    """A copy with gates at those of these hard-swishes that take one, and which they are.

    It computes the same.
    """
    graph = copy.deepcopy(module)
    inserted = insert_gates(graph, gates)
    tidy(graph)
    return graph, inserted


def quantise(
    module: GraphModule, example: Tensor, pictures: Tensor, recipe: QuantRecipe
) -> Quantised:
    """Prepare a deployable graph for integers on some calibration pictures.

    `pictures` are (N, S, S, 3) bytes - 128, unlabelled. The module stays as it is.
    """
    wanted = scores_of(module, pictures)
    extents = channel_extents(module, pictures)
    graph, gates = prepared(module, unequal_swishes(module, extents)[: recipe.gates])
    if recipe.centre:
        centre(graph, extents, example)
        tidy(graph)
    if recipe.equalise:
        equalise(graph, channel_extents(graph, pictures), example)
        tidy(graph)
    ranges = observe(graph, pictures)
    mended = fit_channels(graph, ranges)
    tidy(graph)
    if recipe.cut_tails:
        ranges = cut_tails(graph, ranges, pictures)
    reference = copy.deepcopy(graph)
    if recipe.round_together:
        round_together(graph, pictures)
    if recipe.correct:
        correct_outputs(graph, reference, ranges, pictures)
        correct_scores(graph, ranges, pictures, wanted)
    tidy(graph)
    return Quantised(graph, ranges, recipe, gates, mended)

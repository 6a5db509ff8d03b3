"""Named ways to quantise a graph: which remedies, in which order. Each can be left out.

The graph that comes out computes the same in float, but for the corrections; its ranges and
weights are ready for the integers.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule

from fiqa.errors import InputError
from quantize.aten import tidy
from quantize.corrections import correct_outputs, correct_scores, fit_channels, observe
from quantize.equalisation import channel_extents, equalise
from quantize.gates import insert_gates
from quantize.integer_places import Range
from quantize.simulation import Walk, scores_of


@dataclass(frozen=True)
class QuantRecipe:
    """The remedies, all exact in float but the corrections."""

    name: str
    gates: int | None = None  # hard-swishes that get one, from the first; None: all
    equalise: bool = True  # channels of a tensor brought to one range
    correct: bool = True  # outputs of layers, and of the whole


def naive() -> QuantRecipe:
    """True ranges and nothing else, as converters do it: what the others are measured against."""
    return QuantRecipe("naive", gates=0, equalise=False, correct=False)


def fastest() -> QuantRecipe:
    """Gates for the first few hard-swishes, whose channels differ most; the others stay plain."""
    return QuantRecipe("fastest", gates=4)


def faithful() -> QuantRecipe:
    """All gates: the scores of the float model, at the price of one cheap operator a swish."""
    return QuantRecipe("faithful")


RECIPES = {recipe.__name__: recipe for recipe in (faithful, fastest, naive)}


@dataclass(frozen=True)
class Quantised:
    """A graph whose weights suit the integers, with the range of every stored value."""

    module: GraphModule
    ranges: dict[str, Range]
    recipe: QuantRecipe
    mended_channels: int  # whose bias or slope the kernels could not hold

    @property
    def walk(self) -> Walk:
        """The simulation of the integer model."""
        return Walk(dict(self.ranges), rounds_weights=True)

    @property
    def facts(self) -> dict[str, object]:
        return dataclasses.asdict(self.recipe) | {"mended_channels": self.mended_channels}


def named(name: str) -> QuantRecipe:
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}", expected=", ".join(RECIPES))
    return RECIPES[name]()


def prepared(module: GraphModule, recipe: QuantRecipe) -> GraphModule:
    """A copy with the operators that the recipe wants; it computes the same."""
    graph = copy.deepcopy(module)
    if recipe.gates != 0:
        insert_gates(graph, recipe.gates)
        tidy(graph)
    return graph


def quantise(
    module: GraphModule, example: Tensor, pictures: Tensor, recipe: QuantRecipe
) -> Quantised:
    """Prepare a deployable graph for integers on some calibration pictures.

    `pictures` are (N, S, S, 3) bytes - 128, unlabelled. The module stays as it is.
    """
    wanted = scores_of(module, pictures)
    graph = prepared(module, recipe)
    if recipe.equalise:
        equalise(graph, channel_extents(graph, pictures), example)
        tidy(graph)
    ranges = observe(graph, pictures)
    mended = fit_channels(graph, ranges)
    tidy(graph)
    if recipe.correct:
        correct_outputs(graph, ranges, pictures)
        correct_scores(graph, ranges, pictures, wanted)
    tidy(graph)
    return Quantised(graph, ranges, recipe, mended)

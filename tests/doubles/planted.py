"""Deployable graphs with the faults that make INT8 collapse, planted without moving a score."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache

import torch
from torch import Tensor
from torch.fx import GraphModule

from fiqa.contract import PreprocessSpec
from quantize.aten import CONV, calls, known_weights, set_weights, tidy
from quantize.channel_groups import find_groups
from quantize.deployable import BYTE_CENTRE, Deployable, make_deployable
from quantize.equalisation import scale_channels
from quantize.integer_places import is_activation
from tests.doubles.lively_networks import make_lively
from tests.doubles.lively_networks import pictures as lively_pictures
from train.network import QualityNet

SIZE = 64
SWISHING = "mobilenetv3_small_050"  # hard-swish, squeeze-excite


def calm(name: str = SWISHING, spread: float = 0.05) -> Deployable:
    """A small network's graph, always the same: made once a run, each caller's own copy."""
    found = _traced(name, spread)
    return dataclasses.replace(found, module=copy.deepcopy(found.module))


@cache
def _traced(name: str, spread: float) -> Deployable:
    torch.manual_seed(0)
    spec = PreprocessSpec(size=SIZE)
    return make_deployable(make_lively(QualityNet(name, SIZE), SIZE, spread), spec)


def pictures(count: int = 48) -> Tensor:
    """(count, S, S, 3) bytes - 128."""
    return torch.from_numpy(lively_pictures(count, SIZE).astype("int16")) - BYTE_CENTRE


def plant_outliers(deployable: Deployable, factor: float = 200.0) -> None:
    """In every group of channels, one channel so much wider than the others."""
    graph = deployable.module
    for group in find_groups(graph, deployable.example):
        weight, _ = known_weights(graph, group.producers[0])
        scale = torch.ones(len(weight))
        scale[0] = factor
        scale_channels(graph, group, scale)
    tidy(graph)


def plant_dead_channel(graph: GraphModule) -> None:
    """A channel with weights near nothing and a bias that no int32 holds in their scale."""
    node = next(n for n in calls(graph, CONV) if is_activation(next(iter(n.users))))
    weight, bias = (one.clone() for one in known_weights(graph, node))
    weight[0], bias[0] = 1e-11, 1.0
    set_weights(graph, node, weight, bias)
    tidy(graph)

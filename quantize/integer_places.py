"""Where integer runtimes round: which values of a graph become 8-bit tensors, and their ranges.

A convolution with the activation behind it is one kernel and stores one tensor; views store none
of their own. The ranges are asymmetric, hold zero, and give the integers scale and zero point as
TFLite's kernels read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from fiqa.errors import ToolkitError
from quantize.aten import CONV, LINEAR, argument, aten, is_call

VIEWS = (
    aten.permute.default, aten.reshape.default, aten.flatten.using_ints, aten.transpose.int,
    aten.slice.Tensor, aten.expand.default, aten.unsqueeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.max_pool2d.default, aten.constant_pad_nd.default, aten.pad.default,
)  # fmt: skip
TAKE_ACTIVATION = (
    CONV, LINEAR, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.avg_pool2d.default,
)  # fmt: skip
RELU, CLAMP = aten.relu.default, aten.hardtanh.default
LOW, HIGH = -128, 127
PICTURE = (float(LOW), float(HIGH))  # r = byte - 128: scale 1, zero point 0
DEAD_RANGE = 0.5  # for a tensor that is always zero: another picture may wake it


class RangeError(ToolkitError):
    """A range that no integer tensor can have."""


@dataclass(frozen=True)
class Range:
    """What a tensor's 8 bits cover, zero included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise RangeError(
                f"a tensor ranges from {self.low} to {self.high}", expected="finite values",
                fix="see which calibration pictures make the network overflow",
            )  # fmt: skip
        if not self.low <= 0 <= self.high or self.scale <= 0:
            raise RangeError(
                f"a range of [{self.low}, {self.high}]", expected="room around zero",
                fix="calibrate with pictures like those it will judge",
            )  # fmt: skip

    @classmethod
    def holding(cls, low: float, high: float) -> Range:
        """The range with zero in it; a tensor that is always zero gets some room."""
        low, high = min(low, 0.0), max(high, 0.0)
        return cls(low, high if high - low > 1e-6 else low + DEAD_RANGE)

    @property
    def scale(self) -> float:
        return (self.high - self.low) / (HIGH - LOW)

    @property
    def zero_point(self) -> int:
        return int(min(max(round(LOW - self.low / self.scale), LOW), HIGH))


Ranges = Mapping[str, Range]  # by the name of the node


def stored_nodes(gm: GraphModule) -> list[Node]:
    """The nodes whose values an integer runtime keeps as tensors, the picture first."""
    return [node for node in gm.graph.nodes if is_stored(node)]


def is_stored(node: Node) -> bool:
    if node.op == "placeholder":
        return True
    if node.op != "call_function" or is_call(node, *VIEWS):
        return False
    value = node.meta.get("val")
    if isinstance(value, Tensor) and not value.is_floating_point():
        return False
    return not is_fused(node)


def is_fused(node: Node) -> bool:
    """Whether its only reader is an activation that the same kernel applies."""
    return (
        is_call(node, *TAKE_ACTIVATION)
        and len(node.users) == 1
        and is_activation(next(iter(node.users)))
    )


def is_activation(node: Node) -> bool:
    if is_call(node, RELU):
        return True
    return is_call(node, CLAMP) and (argument(node, 1, -1.0), argument(node, 2, 1.0)) == (0, 6)


def range_of(node: Node, ranges: Ranges) -> Range | None:
    """A stored node's own range, or that of the tensor a view looks at."""
    while node.name not in ranges and (is_call(node, *VIEWS) or is_fused(node)):
        following = next(iter(node.users)) if is_fused(node) else node.args[0]
        assert isinstance(following, Node)
        node = following
    return ranges.get(node.name)

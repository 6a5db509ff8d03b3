"""Which tensor of a converted file is which of the graph: they hold the same values.

Converters rename, reorder and split what they are given. A few pictures are run through both;
a tensor whose values the graph computes too gets the range that it was given there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quantize.deployable import INPUT
from quantize.integer_places import PICTURE, Range, range_of
from quantize.recipes import Quantised
from quantize.simulation import Walk

LOOKS = 2  # pictures that tell tensors apart
CLOSE = 1e-3  # of a tensor's largest value: float kernels differ by far less
Values = list[NDArray[np.float32]]  # one array a picture, batch left out


def recognise(
    tensors: Mapping[str, Values], quantised: Quantised, shown: Tensor, moved: Mapping[str, str]
) -> dict[str, Range]:
    """Ranges of a file's tensors, by name; what `moved` only moves has that of where it was."""
    known = _known_values(quantised, shown)
    found = {INPUT: Range(*PICTURE)}
    for name, value in tensors.items():
        covered = found.get(moved.get(name, "")) or next(
            (one for values, one in known if _same(value, values)), None
        )
        if name != INPUT and covered is not None:
            found[name] = covered
    return found


def _known_values(quantised: Quantised, shown: Tensor) -> list[tuple[Values, Range]]:
    """What the graph computes, with the range it has there."""
    nodes = {node.name: node for node in quantised.module.graph.nodes}
    seen: dict[str, Values] = {}

    def look(name: str, value: Tensor) -> None:
        if value.is_floating_point() and value.dim():
            seen.setdefault(name, []).append(value.numpy().astype(np.float32))

    with torch.no_grad():
        for picture in shown:
            Walk(everything=look).run(quantised.module, picture[None])
    found = [(values, range_of(nodes[name], quantised.ranges)) for name, values in seen.items()]
    return [(values, covered) for values, covered in found if covered is not None]


def _same(tensor: Values, node: Values) -> bool:
    """Whether they hold the same values, channels last or first."""
    if tensor[0].size != node[0].size:
        return False
    for turn in ((0, 2, 3, 1), None):
        if turn and node[0].ndim != 4:
            continue
        if all(
            _close(a, b.transpose(turn) if turn else b) for a, b in zip(tensor, node, strict=True)
        ):
            return True
    return False


def _close(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    reach = float(np.abs(a).max())
    return bool(np.abs(a.ravel() - b.ravel()).max() <= CLOSE * reach + 1e-6)

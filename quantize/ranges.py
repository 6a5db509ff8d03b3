"""Ranges narrower than the values, where that costs the score less than coarse steps do."""

from __future__ import annotations

from torch import Tensor
from torch.fx import GraphModule

from quantize.integer_places import PICTURE, Range, Ranges
from quantize.simulation import Walk, few, scores_of

SHARES = (0.85, 0.7)  # of the true range that are tried
TENSORS = 8  # the ones whose rounding moves scores most
LOOKS = 32  # pictures


def cut_tails(gm: GraphModule, ranges: Ranges, pictures: Tensor) -> dict[str, Range]:
    """The ranges, those of the costliest tensors narrowed where scores then move less."""
    some = few(pictures, LOOKS)
    wanted = scores_of(gm, some)

    def cost(name: str, covered: Range) -> float:
        """How far scores move when this tensor alone is rounded."""
        return float((scores_of(gm, some, Walk({name: covered})) - wanted).abs().mean())

    found = dict(ranges)
    costs = {
        name: cost(name, covered)
        for name, covered in ranges.items()
        if (covered.low, covered.high) != PICTURE
    }
    for name in sorted(costs, key=lambda one: costs[one], reverse=True)[:TENSORS]:
        tried = [Range(ranges[name].low * share, ranges[name].high * share) for share in SHARES]
        best = min(tried, key=lambda covered: cost(name, covered))
        if cost(name, best) < costs[name]:
            found[name] = best
    return found

"""A checkpoint as the graph that devices run: bytes in, score out, nothing left to fold.

The network is traced at its fixed size into aten operations, and takes NHWC float32 pictures
r = byte - 128 instead of normalised ones. A list of exact rewrites then prepares the graph for
converters and integer runtimes. Each is proved on its own: in float64, the scores of a few
pictures before and after must agree to 1e-6.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError, ToolkitError
from fiqa.manifest import Check, Manifest
from quantize.aten import tidy
from quantize.hard_activations import rewrite_hard_activations
from quantize.rewrites import (
    Rewrite,
    drop_idle,
    fold_batch_norm,
    fold_constants,
    fold_normalisation,
    rewrite_global_pool,
    rewrite_normalize,
)
from train.checkpoint import load_checkpoint
from train.network import QualityNet

INPUT, OUTPUT = "image", "score"  # names in every artifact
BYTE_CENTRE = 128  # r = byte - 128: int8 with scale 1 and zero point 0
PROOF_BOUND = 1e-6
REWRITES: tuple[Rewrite, ...] = (
    fold_batch_norm,
    fold_normalisation,
    rewrite_global_pool,
    rewrite_hard_activations,
    rewrite_normalize,
)


class RewriteError(ToolkitError):
    """A rewrite that would have changed the scores."""


@dataclass(frozen=True)
class Step:
    """A rewrite that was done: how often, where not, and by how much scores moved in float64."""

    name: str
    places: int
    left: tuple[str, ...]
    difference: float

    @property
    def check(self) -> Check:
        return Check(
            f"rewrite {self.name}", "passed", "; ".join(self.left), self.difference, PROOF_BOUND
        )


@dataclass(frozen=True)
class Deployable:
    """`module` takes (batch, size, size, 3) r = byte - 128 and gives (batch, 1) scores."""

    module: GraphModule
    spec: PreprocessSpec  # of the module: mean 128, std 1
    batch: int
    steps: tuple[Step, ...]

    @property
    def example(self) -> Tensor:
        return torch.zeros(self.batch, self.spec.size, self.spec.size, 3)


class _Deployed(nn.Module):
    """The network behind the picture's own numbers."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: QualityNet, spec: PreprocessSpec) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (spec.mean, spec.std))
        self.register_buffer("shift", mean - BYTE_CENTRE)
        self.register_buffer("scale", 1 / std)

    def forward(self, r: Tensor) -> Tensor:
        x = (r.permute(0, 3, 1, 2) - self.shift) * self.scale
        return self.network.head(self.network.features(x))


def open_network(checkpoint: Path, size: int | None) -> tuple[QualityNet, Manifest]:
    """The checkpoint's network, built for another size where one is asked for."""
    if checkpoint.is_file():
        raise InputError(
            f"{checkpoint} is a file", expected="a checkpoint folder of fiqa-edge",
            fix="for other projects' weights: python -m train.import_weights --help",
        )  # fmt: skip
    network, manifest = load_checkpoint(checkpoint)
    if size is None or size == manifest.preprocess.size:
        return network, manifest
    try:
        spec = dataclasses.replace(manifest.preprocess, size=size)
    except ValueError as error:
        raise InputError(f"--size {size}", expected=str(error), fix="leave --size out") from error
    other = QualityNet(manifest.model, size)
    try:
        other.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"{manifest.model} cannot be exported at {size}: its weights are bound to a size",
            expected=f"{manifest.preprocess.size}", fix="leave --size out",
        ) from error  # fmt: skip
    return other.eval(), dataclasses.replace(manifest, preprocess=spec)


def make_deployable(network: QualityNet, spec: PreprocessSpec, batch: int = 1) -> Deployable:
    """Trace, rewrite and prove; `spec` is the checkpoint's, its size the one to deploy at."""
    graph = trace(_Deployed(copy.deepcopy(network), spec), spec.size, batch)
    pictures = proof_pictures(spec.size, batch)
    steps = [_proved(graph, rewrite, pictures) for rewrite in REWRITES]
    graph.float()
    own = dataclasses.replace(spec, mean=(BYTE_CENTRE,) * 3, std=(1.0,) * 3)
    return Deployable(graph, own, batch, tuple(step for step in steps if step.places or step.left))


def trace(module: nn.Module, size: int, batch: int) -> GraphModule:
    """The module as a float64 graph of functional aten operations, its constants computed.

    The module's own weights become those of the graph.
    """
    example = torch.zeros(batch, size, size, 3)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (example,), strict=False)
        graph = program.run_decompositions({}).module(check_guards=False)
        assert isinstance(graph, GraphModule)
        for prepare in (fold_constants, drop_idle):
            prepare(graph)
        tidy(graph)
    for part in graph.modules():
        part.training = False  # an exported graph refuses eval(), and converters look at this
    return graph.double()


def proof_pictures(size: int, batch: int) -> list[Tensor]:
    """Noise, black, white, and colours that tell the channels apart, as r = byte - 128."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, size, size, 3))
    plain = [np.broadcast_to(colour, (size, size, 3)) for colour in (0, 255, (255, 128, 0))]
    found = [torch.tensor(np.array(one, np.float64)) - BYTE_CENTRE for one in (*noise, *plain)]
    return [one.expand(batch, -1, -1, -1) for one in found]


def _proved(graph: GraphModule, rewrite: Rewrite, pictures: list[Tensor]) -> Step:
    with torch.no_grad():
        before = [graph(one) for one in pictures]
        if not all(bool(one.isfinite().all()) for one in before):
            raise InputError(
                "the checkpoint gives scores that are no numbers", expected="finite weights",
                fix="train it anew, with a lower rate, or name another --checkpoint",
            )  # fmt: skip
        done = rewrite(graph)
        tidy(graph)
        after = [graph(one) for one in pictures]
    difference = max(float((x - y).abs().max()) for x, y in zip(before, after, strict=True))
    if not difference <= PROOF_BOUND:  # NaN too
        raise RewriteError(
            f"the rewrite {rewrite.__name__} moved a score by {difference:.2g}",
            expected=f"at most {PROOF_BOUND:g} in float64",
            fix="report this network: the rewrite does not fit it",
        )
    return Step(rewrite.__name__, done.places, done.left, difference)

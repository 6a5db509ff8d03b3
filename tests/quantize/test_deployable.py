"""Deployable graphs: every rewrite alone keeps the scores, and leaves what it promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from torch import Tensor, nn  # noqa: E402
from torch.fx import GraphModule  # noqa: E402

from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.errors import InputError  # noqa: E402
from quantize import deployable  # noqa: E402
from quantize.aten import aten, calls  # noqa: E402
from quantize.deployable import (  # noqa: E402
    PROOF_BOUND,
    RewriteError,
    make_deployable,
    open_network,
    proof_pictures,
    trace,
)
from quantize.hard_activations import rewrite_hard_activations  # noqa: E402
from quantize.rewrites import (  # noqa: E402
    BATCH_NORM,
    Done,
    fold_batch_norm,
    fold_normalisation,
    rewrite_global_pool,
    rewrite_normalize,
)
from tests.doubles.checkpoints import save_network  # noqa: E402
from tests.doubles.lively_networks import make_lively  # noqa: E402
from tests.doubles.lively_networks import pictures as pictures_of  # noqa: E402
from train.network import QualityNet  # noqa: E402

SIZE = 32
IMAGENET = PreprocessSpec(size=SIZE, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
NETWORKS = ("mobilenetv3_small_050", "mobilenetv4_conv_small_035", "tf_efficientnet_lite0")


def graph_of(module: nn.Module) -> GraphModule:
    return trace(module.eval(), SIZE, 1)


def scores_of(module: Any) -> Tensor:
    with torch.no_grad():
        return torch.stack([module(one) for one in proof_pictures(SIZE, 1)])


def same_after(rewrite: Callable[[GraphModule], Done], module: nn.Module) -> tuple[Done, Any]:
    """Apply one rewrite, show that it kept the scores, and that these move at all."""
    graph = graph_of(module)
    before = scores_of(graph)
    done = rewrite(graph)
    deployable.tidy(graph)
    after = scores_of(graph)
    assert before.std() > 1e-3
    assert float((before - after).abs().max()) < PROOF_BOUND * max(1, float(before.abs().max()))
    return done, graph


class Pictures(nn.Module):
    """A network behind r / 128, as the graphs of this project begin."""

    def __init__(self, *layers: nn.Module, spec: PreprocessSpec | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        spec = spec or PreprocessSpec(size=SIZE)
        self.register_buffer("shift", torch.tensor(spec.mean).reshape(1, 3, 1, 1) - 128)
        self.register_buffer("scale", 1 / torch.tensor(spec.std).reshape(1, 3, 1, 1))

    def forward(self, r: Tensor) -> Tensor:
        return self.body((r.permute(0, 3, 1, 2) - self.shift) * self.scale)


def conv(inside: int = 3, out: int = 8, **options: Any) -> nn.Conv2d:
    torch.manual_seed(inside + out)
    return nn.Conv2d(inside, out, 3, **options)


def batch_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(0.5 + torch.rand(width))  # type: ignore[union-attr]
    return norm


def test_batch_norm_goes_into_its_convolution() -> None:
    done, graph = same_after(fold_batch_norm, Pictures(conv(), batch_norm(8), nn.ReLU()))
    assert (done.places, done.left) == (1, ())
    assert not calls(graph, BATCH_NORM, aten.mul.Tensor, aten.add.Tensor)[2:]


def test_batch_norm_without_a_convolution_of_its_own_becomes_a_product_and_a_sum() -> None:
    done, graph = same_after(fold_batch_norm, Pictures(conv(), nn.ReLU(), batch_norm(8)))
    assert done.places == 0
    assert "no convolution of its own" in done.left[0]
    assert not calls(graph, BATCH_NORM)


class Twice(nn.Module):
    """A convolution whose result two readers want: one may not change it for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv(), batch_norm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


def test_batch_norm_leaves_a_shared_convolution_alone() -> None:
    done, _ = same_after(fold_batch_norm, Pictures(Twice()))
    assert done.places == 0


@pytest.mark.parametrize("padding", [0, 1])
def test_normalisation_of_other_projects_folds_exactly_or_says_what_stays(padding: int) -> None:
    module = Pictures(conv(padding=padding), nn.ReLU(), spec=IMAGENET)
    done, graph = same_after(fold_normalisation, module)
    assert done.places == 1
    assert len(calls(graph, aten.sub.Tensor)) == padding
    assert bool(done.left) == bool(padding)
    assert not calls(graph, aten.mul.Tensor, aten.div.Tensor)


def test_our_own_normalisation_folds_into_a_padded_convolution() -> None:
    done, graph = same_after(fold_normalisation, Pictures(conv(padding=1), nn.ReLU()))
    assert done == Done(1)
    assert not calls(graph, aten.sub.Tensor, aten.mul.Tensor)


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.expand(y))


def test_hard_activations_leave_their_sixth_to_the_next_weights() -> None:
    module = Pictures(conv(), nn.Hardswish(), SqueezeExcite(8), conv(8, 6), nn.Hardswish(), conv(6))
    done, graph = same_after(rewrite_hard_activations, module)
    assert (done.places, done.left) == (3, ())
    assert not calls(graph, aten.hardswish.default, aten.hardsigmoid.default)
    assert len(calls(graph, aten.add.Tensor)) == 2  # the gate's three stands in a bias


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(8, 8, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_hard_swish_before_a_residual_sum_stays_and_says_so() -> None:
    module = Pictures(conv(), nn.Hardswish(), Residual(), conv(8, 4), nn.Hardswish(), conv(4))
    done, graph = same_after(rewrite_hard_activations, module)
    assert done.places == 1
    assert "its factor of six meets add" in done.left[0]
    assert len(calls(graph, aten.hardswish.default)) == 1


def test_hard_swish_at_the_very_end_stays() -> None:
    done, _ = same_after(rewrite_hard_activations, Pictures(conv(), nn.Hardswish()))
    assert done.places == 0
    assert "output" in done.left[0]


def test_pooling_to_one_pixel_becomes_a_mean_and_other_pooling_stays() -> None:
    module = Pictures(conv(), nn.AdaptiveAvgPool2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    done, graph = same_after(rewrite_global_pool, module)
    assert done == Done(1)
    assert len(calls(graph, aten.adaptive_avg_pool2d.default)) == 1
    assert len(calls(graph, aten.mean.dim)) == 1


class Normalised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1)


def test_normalize_becomes_a_product_also_for_zeros() -> None:
    module = Pictures(conv(bias=False), nn.ReLU(), Normalised())
    done, graph = same_after(rewrite_normalize, module)
    assert done == Done(1)
    assert not calls(graph, aten.linalg_vector_norm.default)
    with torch.no_grad():
        assert torch.equal(
            graph(torch.zeros(1, SIZE, SIZE, 3).double()).abs().max(), torch.zeros([]).double()
        )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mean", [128.0, 117.3], ids=["ours", "another"])
def test_whole_network_scores_bytes_as_the_checkpoint_does(name: str, mean: float) -> None:
    size = 64  # smaller, a random network is so steep that float32 shows
    spec = PreprocessSpec(size=size, mean=(mean,) * 3, std=(58.4, 57.1, 57.4))
    network = make_lively(QualityNet(name, size), size)
    found = make_deployable(network, spec, batch=2)
    assert found.spec == PreprocessSpec(size=size, mean=(128,) * 3, std=(1.0,) * 3)
    pictures = torch.from_numpy(pictures_of(2, size)).float()
    normalised = (pictures - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    with torch.no_grad():
        wanted = network(normalised.permute(0, 3, 1, 2))
        got = found.module(pictures - 128)
    assert got.shape == (2, 1)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(got[:, 0], wanted, atol=2e-5, rtol=1e-5)
    assert all(step.difference <= PROOF_BOUND for step in found.steps)


def test_positional_encodings_are_computed_once() -> None:
    found = make_deployable(QualityNet("edgenext_xx_small", 64), PreprocessSpec(size=64))
    assert not calls(found.module, aten.sin.default, aten.cos.default, aten.arange.default)
    assert "rewrite_normalize" in {step.name for step in found.steps}


def test_the_networks_own_weights_are_left_alone() -> None:
    network = make_lively(QualityNet(NETWORKS[0], SIZE), SIZE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    make_deployable(network, IMAGENET)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name


def test_a_rewrite_that_moves_scores_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(gm: GraphModule) -> Done:
        next(gm.parameters()).data.mul_(1.01)
        return Done(1)

    monkeypatch.setattr(deployable, "REWRITES", (careless,))
    with pytest.raises(RewriteError, match="careless moved a score"):
        make_deployable(make_lively(QualityNet(NETWORKS[0], SIZE), SIZE), PreprocessSpec(size=SIZE))


@pytest.mark.parametrize("size", [4, 0, -3])
def test_a_size_that_no_picture_can_have_is_refused(size: int, tmp_path: Path) -> None:
    network = QualityNet(NETWORKS[1], SIZE)
    folder = save_network(tmp_path / "run", network, PreprocessSpec(size=SIZE))
    with pytest.raises(InputError, match=rf"--size {size}"):
        open_network(folder, size)


def test_weights_that_are_no_numbers_are_not_blamed_on_a_rewrite() -> None:
    network = QualityNet(NETWORKS[1], SIZE)
    next(network.head.parameters()).data.fill_(float("nan"))
    with pytest.raises(InputError, match="scores that are no numbers"):
        make_deployable(network, PreprocessSpec(size=SIZE))


def test_the_node_before_the_first_convolution_is_named() -> None:
    class TwoWays(nn.Module):
        shift, scale = torch.full((1, 3, 1, 1), 3.0), torch.full((1, 3, 1, 1), 0.5)

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, r: Tensor) -> Tensor:
            x = (r.permute(0, 3, 1, 2) - self.shift) * self.scale
            return (self.conv(x) + torch.relu(x)).mean((2, 3))

    (left,) = fold_normalisation(graph_of(TwoWays())).left
    assert left.startswith("relu comes before")

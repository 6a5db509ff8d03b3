"""The shared network: names and variants, its head, and what it is said to cost."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from torch import nn  # noqa: E402

from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.errors import InputError, ManifestError  # noqa: E402
from tests.doubles.checkpoints import save_network  # noqa: E402
from train.checkpoint import load_checkpoint  # noqa: E402
from train.network import QualityNet, cost_of  # noqa: E402


def test_a_batch_of_pictures_gives_one_score_each() -> None:
    network = QualityNet("lcnet_050", 64).eval()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        features = network.features(pictures)
        scores = network(pictures)
    assert features.shape == (3, network.width) == (3, 1280)
    assert scores.shape == (3,)
    torch.testing.assert_close(network.score(features), scores)


def test_mixed_precision_leaves_the_score_in_float32() -> None:
    network = QualityNet("lcnet_050", 64).eval()
    features = torch.rand(64, network.width)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network.features(torch.randn(1, 3, 64, 64)).dtype == torch.bfloat16
        scores = network.score(features)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, network.score(features))


def test_the_untrained_head_is_small_and_starts_in_the_middle_of_the_range() -> None:
    head = QualityNet("mobilenetv3_small_100", 64).head
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert abs(head.weight.mean().item()) < 0.001
    assert head.bias.item() == 0.5


def test_a_mistyped_name_lists_near_ones() -> None:
    with pytest.raises(InputError) as raised:
        QualityNet("edgenet_xx_small", 64)
    assert "'edgenet_xx_small'" in raised.value.found
    assert "edgenext_xx_small" in raised.value.expected


def test_an_unlike_name_still_gets_an_example() -> None:
    with pytest.raises(InputError) as raised:
        QualityNet("qqqqqqqqqqq", 64)
    assert "mobilenetv3_small_100" in raised.value.expected


def test_the_variant_without_head_norm_pools_and_nothing_more() -> None:
    network = QualityNet("edgenext_xx_small.no_head_norm", 64).eval()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        pooled = network.backbone.forward_features(pictures).mean((2, 3))
        torch.testing.assert_close(network.features(pictures), pooled)
    assert network.name == "edgenext_xx_small.no_head_norm"
    full = QualityNet("edgenext_xx_small", 64).state_dict()
    assert set(full) - set(network.state_dict()) == {
        "backbone.head.norm.weight",
        "backbone.head.norm.bias",
    }


def test_the_variant_with_a_relu_stem_differs_in_nothing_else() -> None:
    plain, variant = (
        QualityNet(f"mobilenetv3_small_050{which}", 64) for which in ("", ".relu_stem")
    )
    variant.load_state_dict(plain.state_dict())  # the same weights fit
    kinds = [[type(module) for module in one.modules()] for one in (plain, variant)]
    different = [pair for pair in zip(*kinds, strict=True) if pair[0] is not pair[1]]
    assert different == [(torch.nn.Hardswish, torch.nn.ReLU)]
    stem = variant.eval().backbone.bn1(variant.backbone.conv_stem(torch.randn(2, 3, 64, 64)))
    assert float(stem.detach().min()) == 0.0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18.no_head_norm", "no norm in its head"),
        ("resnet18.relu_stem", "no hard-swish behind its first convolution"),
    ],
)
def test_a_variant_that_a_model_does_not_have_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        QualityNet(name, 64)


def test_a_pretrained_tag_is_not_part_of_a_name() -> None:
    with pytest.raises(InputError) as raised:
        QualityNet("lcnet_050.ra2_in1k", 64)
    assert "no variant 'ra2_in1k'" in raised.value.found
    assert "--init" in raised.value.fix


def test_a_model_built_for_one_size_is_built_for_the_size_asked() -> None:
    network = QualityNet("vit_tiny_patch16_224", 64).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1,)


class Tiny(nn.Module):
    """3 -> 4 channels by 3 x 3, stride 2, then 4 numbers to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.linear = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).mean((2, 3)))


def test_a_size_that_a_network_cannot_take_is_told() -> None:
    with pytest.raises(InputError, match="cannot be built for 33 x 33 pixels"):
        QualityNet("xcit_nano_12_p16_224", 33)


def test_a_manifest_that_names_a_giant_is_refused_before_one_is_built(tmp_path: Path) -> None:
    network = QualityNet("lcnet_050", 32)
    folder = save_network(tmp_path / "student", network, PreprocessSpec(size=32))
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("lcnet_050", "vit_giant_patch14_224"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ManifestError, match="does not hold the weights of vit_giant_patch14_224"):
        load_checkpoint(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # of its 4 GB


def test_cost_counts_each_multiply_add_once() -> None:
    cost = cost_of(Tiny(), 16)
    assert cost.parameters == 3 * 4 * 9 + 4 + 1
    assert cost.multiply_adds == 8 * 8 * 4 * (3 * 9) + 4
    assert str(cost) == "0.00 M parameters, 0.0 M multiply-adds at 16 x 16"


def test_counting_leaves_the_network_as_it_was() -> None:
    network = QualityNet("lcnet_050", 32).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    cost_of(network, 32)
    assert network.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)

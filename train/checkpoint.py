"""Checkpoints: safetensors weights beside a manifest, never pickle, written atomically."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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
    network = QualityNet(manifest.model, manifest.preprocess.size)
    load_tensors(network, folder / WEIGHTS)
    return network.eval(), manifest


def load_tensors(network: QualityNet, path: Path) -> None:
    """Strictly: every tensor of the network, and nothing else."""
    try:
        tensors = load_file(path)
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ManifestError(
            f"{path} does not hold the weights of {network.name}: {reason}",
            expected="a checkpoint as fiqa-edge wrote it",
            fix="for other projects' weights: python -m train.import_weights --help",
        ) from error

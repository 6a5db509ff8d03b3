"""A network as the checkpoint that training would have written."""

from __future__ import annotations

from pathlib import Path

from fiqa.contract import PreprocessSpec
from fiqa.manifest import Manifest
from train.checkpoint import save_checkpoint
from train.network import QualityNet


def save_network(folder: Path, network: QualityNet, spec: PreprocessSpec) -> Path:
    manifest = Manifest("checkpoint", network.name, "", spec)
    save_checkpoint(folder, network.state_dict(), manifest)
    return folder

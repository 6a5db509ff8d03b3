"""Learned integers on disk, beside the float weights they came from.

A checkpoint with integers is still a checkpoint: float exports read its float weights, integer
exports its integers. The file holds what learning moved; the graph itself is traced anew.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fiqa.errors import InputError, ManifestError
from fiqa.files import sha256_bytes, write_bytes, write_json, writing
from fiqa.manifest import SIDECAR, WEIGHTS, Manifest, read_manifest
from fiqa.records import from_plain, to_plain
from quantize.aten import CONV, LINEAR, calls, known_weights, set_weights, tidy
from quantize.deployable import Deployable
from quantize.integer_places import Range, stored_nodes
from quantize.recipes import Quantised, QuantRecipe, prepared

INTEGERS = "integers.safetensors"
NOTE = "learned_integers"  # the manifest's recipe entry


def save_integers(
    folder: Path, source: Path, quantised: Quantised, facts: dict[str, object]
) -> Manifest:
    """Write the float checkpoint `source` and the integers, then the manifest of both."""
    graph = quantised.module
    tensors = {}
    for number, node in enumerate(calls(graph, CONV, LINEAR)):
        tensors[f"{number:03}.weight"], tensors[f"{number:03}.bias"] = known_weights(graph, node)
    ranges = [quantised.ranges[node.name] for node in stored_nodes(graph)]
    tensors["ranges"] = torch.tensor([(one.low, one.high) for one in ranges], dtype=torch.float64)
    about = {"quantised": json.dumps(quantised.facts)}
    # Layers may share a weight; the file wants each by itself.
    data = save({name: value.contiguous().clone() for name, value in tensors.items()}, about)
    write_bytes(folder / INTEGERS, data)
    with writing(folder / WEIGHTS) as temporary:
        shutil.copyfile(source / WEIGHTS, temporary)
    manifest = read_manifest(source)
    learned = {NOTE: facts | {"sha256": sha256_bytes(data)}}
    manifest = dataclasses.replace(manifest, recipe=manifest.recipe | learned)
    write_json(folder / SIDECAR, to_plain(manifest))
    return manifest


def load_integers(folder: Path, manifest: Manifest, deployable: Deployable) -> Quantised | None:
    """The quantised graph of a checkpoint with integers; None for one without."""
    note = manifest.recipe.get(NOTE)
    if note is None:
        return None
    path = folder / INTEGERS
    if deployable.spec.size != note["size"]:
        raise InputError(
            f"the integers of {folder} were learned at {note['size']}, not {deployable.spec.size}",
            expected="the size they were learned at: ranges hold for no other",
            fix=f"say --size {note['size']}, or learn them anew: python -m quantize.qat --help",
        )
    if not path.exists() or sha256_bytes(path.read_bytes()) != note["sha256"]:
        raise ManifestError(
            f"{path} is {'damaged' if path.exists() else 'missing'}",
            expected="the file its manifest vouches for",
            fix="copy the whole folder again, or learn them anew: python -m quantize.qat --help",
        )
    tensors, facts = _read(path)
    return _rebuilt(deployable, tensors, facts, path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["quantised"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path} is damaged: {error}", expected="learned integers") from error


def _rebuilt(
    deployable: Deployable, tensors: dict[str, Tensor], facts: dict[str, Any], path: Path
) -> Quantised:
    """The graph with its gates, and the learned weights and ranges in it."""
    mended, gates = facts.pop("mended_channels"), facts.pop("gates_at")
    recipe = from_plain(QuantRecipe, facts, str(path))
    graph = prepared(deployable.module, gates)
    layers, stored = calls(graph, CONV, LINEAR), stored_nodes(graph)
    shapes = [tuple(known_weights(graph, node)[0].shape) for node in layers]
    found = [tuple(tensors[name].shape) for name in sorted(tensors) if name.endswith("weight")]
    if shapes != found or len(stored) != len(tensors["ranges"]):
        raise ManifestError(
            f"{path} does not fit its network: {len(found)} layers and "
            f"{len(tensors['ranges'])} ranges where the graph has {len(layers)} and {len(stored)}",
            expected="integers learned by this version of fiqa-edge",
            fix="learn them anew: python -m quantize.qat --help",
        )
    for number, node in enumerate(layers):
        set_weights(graph, node, tensors[f"{number:03}.weight"], tensors[f"{number:03}.bias"])
    tidy(graph)
    ends = tensors["ranges"].tolist()
    ranges = {node.name: Range(*one) for node, one in zip(stored, ends, strict=True)}
    return Quantised(graph, ranges, recipe, tuple(gates), mended)

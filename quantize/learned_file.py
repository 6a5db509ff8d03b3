"""Learned integers on disk, beside the float weights they came from.

A checkpoint with integers is still a checkpoint: float exports read its float weights, integer
exports its integers. The file holds what learning moved; the graph itself is traced anew.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fiqa.errors import InputError, ManifestError
from fiqa.files import sha256_bytes, write_bytes, write_json, writing
from fiqa.manifest import SIDECAR, WEIGHTS, Manifest, read_manifest
from fiqa.records import from_plain, parse_json, to_plain
from quantize.aten import CONV, LINEAR, calls, known_weights, set_weights, tidy
from quantize.deployable import Deployable
from quantize.gates import swishes
from quantize.integer_places import Range, stored_nodes
from quantize.recipes import Quantised, QuantRecipe, prepared

INTEGERS = "integers.safetensors"
NOTE = "learned_integers"  # the manifest's recipe entry
RELEARN = "learn them anew: python -m quantize.qat --help"


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
    if not isinstance(note, dict) or not {"size", "sha256"} <= note.keys():
        raise ManifestError(
            f"the manifest of {folder} tells no size and sha256 of its {NOTE}",
            expected="the note that python -m quantize.qat writes",
            fix=RELEARN,
        )
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
    return _rebuilt(deployable, *_read(path), path)


@dataclass(frozen=True)
class _Places:
    """What else was done to the graph."""

    mended_channels: int
    gates_at: tuple[int, ...]  # hard-swishes, by place


def _read(path: Path) -> tuple[dict[str, Tensor], _Places, QuantRecipe]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = parse_json(file.metadata()["quantised"], str(path))
            names = [field.name for field in dataclasses.fields(_Places)]
            places = from_plain(_Places, {name: facts.pop(name) for name in names}, str(path))
            return tensors, places, from_plain(QuantRecipe, facts, str(path))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f"{path} is damaged: {error}", expected="learned integers", fix=RELEARN
        ) from error


def _rebuilt(
    deployable: Deployable,
    tensors: dict[str, Tensor],
    places: _Places,
    recipe: QuantRecipe,
    path: Path,
) -> Quantised:
    """The graph with its gates, and the learned weights and ranges in it."""
    gates = places.gates_at
    if not set(gates) <= set(range(len(swishes(deployable.module)))):
        raise _misfit(path, f"gates at {list(gates)}")
    graph, _ = prepared(deployable.module, gates)
    layers, stored = calls(graph, CONV, LINEAR), stored_nodes(graph)
    wanted: dict[str, tuple[int, ...]] = {"ranges": (len(stored), 2)}
    for number, node in enumerate(layers):
        weight, bias = known_weights(graph, node)
        wanted |= {
            f"{number:03}.weight": tuple(weight.shape),
            f"{number:03}.bias": tuple(bias.shape),
        }
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != wanted:
        different = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
        raise _misfit(path, f"{different[0]} and {len(different) - 1} more differ")
    if not all(value.is_floating_point() and value.isfinite().all() for value in tensors.values()):
        raise _misfit(path, "not all its numbers are finite and real")
    for number, node in enumerate(layers):
        set_weights(graph, node, tensors[f"{number:03}.weight"], tensors[f"{number:03}.bias"])
    tidy(graph)
    ends = tensors["ranges"].tolist()
    ranges = {node.name: Range(*one) for node, one in zip(stored, ends, strict=True)}
    return Quantised(graph, ranges, recipe, gates, places.mended_channels)


def _misfit(path: Path, reason: str) -> ManifestError:
    return ManifestError(
        f"{path} does not fit its network: {reason}",
        expected="integers learned by this version of fiqa-edge",
        fix=RELEARN,
    )

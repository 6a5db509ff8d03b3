"""Readers that need torch: checkpoints, foreign weights, learned integers."""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from fiqa.contract import PreprocessSpec
from fiqa.files import sha256_bytes, write_json
from fiqa.manifest import SIDECAR, WEIGHTS, read_manifest
from quantize.deployable import Deployable, make_deployable
from quantize.learned_file import INTEGERS, NOTE, load_integers, save_integers
from quantize.recipes import naive, quantise
from tests.doubles.checkpoints import save_network
from tests.doubles.tiny_sets import TINY
from tests.hard_inputs import damage, fields
from tests.hard_inputs.reader import Reader, write
from train.checkpoint import load_checkpoint
from train.foreign_weights import fill
from train.network import QualityNet
from train.weight_files import read_tensors

SIZE = 32
OTHERS = (  # a giant, and networks that take few sizes
    "vit_giant_patch14_reg4_dinov2", "xcit_nano_12_p16_224", "resmlp_12_224",
    "swin_tiny_patch4_window7_224", "mobilenetv3_small_100", f"{TINY}.no_head_norm",
)  # fmt: skip
SPEC = PreprocessSpec(size=SIZE)


@cache
def network() -> QualityNet:
    torch.manual_seed(0)
    return QualityNet(TINY, SIZE).eval()


# ---------------------------------------------------------------- checkpoints


def make_checkpoint(folder: Path) -> list[Path]:
    save_network(folder / "student", network(), SPEC)
    return [folder / "student" / SIDECAR, folder / "student" / WEIGHTS]


def change_checkpoint(path: Path, rng: Random) -> None:
    """The manifest; or the weights' header, in half of all cases with a hash made right again."""
    if path.name == SIDECAR:
        text = damage.json_changed(path.read_bytes(), rng)
        name = rng.choice((TINY, TINY, TINY, *OTHERS)).encode()
        write(path, text.replace(TINY.encode(), name))
        return
    write(path, fields.safetensors_changed(path.read_bytes(), rng))
    if rng.random() < 0.5:
        _vouch(path.with_name(SIDECAR), ("sha256",), path)


def _vouch(sidecar: Path, place: tuple[str, ...], path: Path) -> None:
    document = holder = json.loads(sidecar.read_bytes())
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = sha256_bytes(path.read_bytes())
    write_json(sidecar, document)


def read_checkpoint(path: Path) -> object:
    found, _ = load_checkpoint(path.parent)
    return found.name


# ---------------------------------------------------------------- foreign weights


def make_weights(folder: Path) -> list[Path]:
    from safetensors.torch import save_file

    tensors = dict(network().state_dict())
    save_file(tensors, folder / "a.safetensors")
    torch.save(tensors, folder / "a.pt")
    nested = {"epoch": 3, "state_dict": tensors, "ema": OrderedDict(tensors)}
    torch.save(nested, folder / "nested.pth")
    torch.save(tensors, folder / "old.pth", _use_new_zipfile_serialization=False)
    return [folder / name for name in ("a.safetensors", "a.pt", "nested.pth", "old.pth")]


def change_weights(path: Path, rng: Random) -> None:
    if path.suffix == ".safetensors":
        write(path, fields.safetensors_changed(path.read_bytes(), rng))
        return
    if rng.random() < 0.3:
        _change_archive(path, rng)
        return
    tensors: dict[Any, Any] = dict(network().state_dict())
    name = rng.choice(sorted(tensors))
    tensors[name] = rng.choice(HOSTILE_TENSORS)(tensors[name])
    if rng.random() < 0.2:
        tensors[rng.choice((0, "", "x" * 5000, "\0", "module." + name))] = tensors.pop(name)
    loaded: Any = rng.choice((tensors, {"model": tensors}, [tensors], {"state_dict": [tensors]}))
    if rng.random() < 0.1:
        loaded = {"state_dict": {}}
        loaded["state_dict"]["model"] = loaded  # it holds itself
    torch.save(loaded, path, _use_new_zipfile_serialization=path.name != "old.pth")


def _endless(value: torch.Tensor) -> torch.Tensor:
    return torch.ones(1).expand(10**12)


HOSTILE_TENSORS: tuple[Callable[[torch.Tensor], Any], ...] = (
    _endless,
    lambda value: torch.ones(1).expand(200_000, 200_000),
    lambda value: None,
    lambda value: "text",
    lambda value: [value],
    lambda value: {"a": value},
    lambda value: value.double(),
    lambda value: value.half(),
    lambda value: value.long(),
    lambda value: value.bool(),
    lambda value: value.to(torch.complex64),
    lambda value: value.float().to(torch.float8_e4m3fn),
    lambda value: value.float().to(torch.bfloat16),
    lambda value: value.float().to_sparse(),
    lambda value: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8),
    lambda value: value.float() * float("nan"),
    lambda value: value.float() * float("inf"),
    lambda value: value.flatten()[:0],
    lambda value: value.reshape(-1),
    lambda value: value[None],
    lambda value: torch.empty(value.shape, device="meta"),
    lambda value: torch.nn.Parameter(value.float()),
    lambda value: value.float().transpose(0, -1) if value.ndim > 1 else value,
    lambda value: torch.empty(0),
)


def _change_archive(path: Path, rng: Random) -> None:
    """One byte or number inside the pickle or a tensor of the file."""
    data = path.read_bytes()
    if not zipfile.is_zipfile(path):
        write(path, damage.set_number(data, rng))
        return
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        names = old.namelist()
        chosen = next(n for n in names if n.endswith("data.pkl"))
        chosen = rng.choice((chosen, rng.choice(names)))
        for name in names:
            content = old.read(name)
            new.writestr(name, damage.damaged(content, rng) if name == chosen else content)
    write(path, out.getvalue())


def read_weights(path: Path) -> object:
    tensors = read_tensors(path, "ema" if path.name == "nested.pth" else None)
    student = QualityNet(TINY, SIZE).eval()
    return fill(student, tensors, path.name, head_is_linear=True).prefix


# ---------------------------------------------------------------- learned integers


@cache
def deployable() -> Deployable:
    return make_deployable(network(), SPEC)


def make_integers(folder: Path) -> list[Path]:
    source = save_network(folder / "float", network(), SPEC)
    pictures = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32) - 128
    )
    found = quantise(deployable().module, deployable().example, pictures, naive())
    (folder / "int8").mkdir()
    save_integers(folder / "int8", source, found, {"size": SIZE})
    return [folder / "int8" / INTEGERS, folder / "int8" / SIDECAR]


def change_integers(path: Path, rng: Random) -> None:
    """The file's header with a hash made right again, or what the manifest says of it."""
    if path.name == INTEGERS:
        write(path, fields.safetensors_changed(path.read_bytes(), rng))
        _vouch(path.with_name(SIDECAR), ("recipe", NOTE, "sha256"), path)
        return
    document = json.loads(path.read_bytes())
    changed = damage.json_changed(json.dumps(document["recipe"]).encode(), rng)
    text = json.dumps(document | {"recipe": "@"}).replace('"@"', changed.decode("utf-8", "replace"))
    write(path, text.encode())


def read_integers(path: Path) -> object:
    found = load_integers(path.parent, read_manifest(path.parent), deployable())
    return found and found.facts


READERS = {
    "checkpoint": Reader(make_checkpoint, change_checkpoint, read_checkpoint),
    "weights": Reader(make_weights, change_weights, read_weights),
    "integers": Reader(make_integers, change_integers, read_integers),
}

"""Readers that need torch: checkpoints, foreign weights, learned integers, runs to resume."""

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
from fiqa.manifest import SIDECAR, WEIGHTS, DataRecord, read_manifest
from fiqa.records import to_plain
from quantize.deployable import Deployable, make_deployable
from quantize.learned_file import INTEGERS, NOTE, load_integers, save_integers
from quantize.recipes import naive, quantise
from tests.doubles.checkpoints import save_network
from tests.doubles.tiny_sets import TINY
from tests.hard_inputs import damage
from tests.hard_inputs.readers import Reader, _write
from train.checkpoint import load_checkpoint
from train.foreign_weights import fill
from train.network import QualityNet
from train.predict import Prediction, read_prediction, write_prediction
from train.run_state import STATE, RunState, load_state, save_state
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
        _write(path, text.replace(TINY.encode(), name))
        return
    _write(path, damage.safetensors_changed(path.read_bytes(), rng))
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
        _write(path, damage.safetensors_changed(path.read_bytes(), rng))
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
        _write(path, damage._set_number(data, rng))
        return
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        names = old.namelist()
        chosen = next(n for n in names if n.endswith("data.pkl"))
        chosen = rng.choice((chosen, rng.choice(names)))
        for name in names:
            content = old.read(name)
            new.writestr(name, damage.damaged(content, rng) if name == chosen else content)
    _write(path, out.getvalue())


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
        _write(path, damage.safetensors_changed(path.read_bytes(), rng))
        _vouch(path.with_name(SIDECAR), ("recipe", NOTE, "sha256"), path)
        return
    document = json.loads(path.read_bytes())
    changed = damage.json_changed(json.dumps(document["recipe"]).encode(), rng)
    text = json.dumps(document | {"recipe": "@"}).replace('"@"', changed.decode("utf-8", "replace"))
    _write(path, text.encode())


def read_integers(path: Path) -> object:
    found = load_integers(path.parent, read_manifest(path.parent), deployable())
    return found and found.facts


# ---------------------------------------------------------------- runs to go on with


def make_run_state(folder: Path) -> list[Path]:
    state, optimizer = RunState(task=1, step=5, best_metrics={"score": 0.5}), _optimizer()
    loss = network()(torch.zeros(2, 3, SIZE, SIZE)).sum()
    loss.backward()
    optimizer.step()
    state.keep(network(), optimizer)
    state.update_average(network(), 0.9)
    save_state(folder, state)
    return [folder / STATE]


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW(network().parameters(), lr=1e-6)


def change_run_state(path: Path, rng: Random) -> None:
    _write(path, damage.safetensors_changed(path.read_bytes(), rng))


def read_run_state(path: Path) -> object:
    state = load_state(path.parent)
    state.check_fit(network())
    state.restore(network(), _optimizer())
    with state.averaged(network()):
        return state.step + 1


def make_run_folder(folder: Path) -> list[Path]:
    """What steps leave behind for a later run, JSON and answers of a teacher."""
    from train.training_run import RUN, claim_folder

    claim_folder(folder / "run", {"model": TINY, "data": [1, {"a": 2}]}, False)
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    write_prediction(folder / "answers.npz", Prediction(np.ones(9, np.float32), np.ones((9, 4))))
    for name, record in _records().items():
        write_json(folder / name, to_plain(record))
    write_json(folder / "scores.json", {"scores": {"val": [0.1, 0.2]}, "cpu_s": 1.5})
    names = (*_records(), "scores.json", f"run/{RUN}", "run/metrics.jsonl", "answers.npz")
    return [folder / name for name in names]


def _records() -> dict[str, Any]:
    from train.any_model import ModelFacts
    from train.evaluation import Evaluation

    facts = ModelFacts("tiny", "tflite", "1" * 64, "litert")
    return {
        "evaluation.json": Evaluation(facts, DataRecord("d", "2" * 64, "test", 5), ()),
        "mapping.json": _mapping(),
    }


def _mapping() -> Any:
    from fiqa.logistic import fit_logistic
    from fiqa.metrics import evaluate_scores
    from train.pseudo_label import Mapping

    raw = np.linspace(0, 1, 20) ** 2
    labels = np.linspace(0, 1, 20)
    return Mapping(fit_logistic(raw, labels), evaluate_scores(raw, labels))


def change_run_folder(path: Path, rng: Random) -> None:
    if path.suffix == ".npz":
        _change_npz(path, rng)
    elif path.suffix == ".json":
        _write(path, damage.json_changed(path.read_bytes(), rng))
    else:
        _write(path, damage.damaged(path.read_bytes(), rng))


def _change_npz(path: Path, rng: Random) -> None:
    """One array of another shape, type or header."""
    arrays: dict[str, Any] = dict(np.load(path))
    name = rng.choice(sorted(arrays))
    way = rng.randrange(3)
    if way == 0:
        arrays[rng.choice(("", "x", "\ud800"[:0] + "y"))] = arrays.pop(name)
    elif way == 1:
        arrays[name] = rng.choice(
            (np.array(1.0), np.ones(0), np.ones((9, 4, 2)), np.array(["a"] * 9), np.full(9, np.nan),
             np.ones(9, bool), np.ones(9, complex), np.array([None] * 9))
        )  # fmt: skip
    np.savez(path, **arrays)
    if way == 2:
        shape = rng.choice(
            ("10000000000000,", "-1,", "1.5,", "9, 4, 9999999999", "'a',", "(9)" * 99)
        )
        descr = rng.choice(("'<f4'", "'|O'", "'<f99'", "[('a', '<f4')]", "None"))
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': ({shape}), }}\n"
        head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("scores.npy", head + bytes(36))
            archive.writestr("features.npy", head + bytes(144))


def read_run_folder(path: Path) -> object:
    from train.ablation import read_scores
    from train.evaluation import read_evaluation
    from train.journal import Journal
    from train.pseudo_label import _read_mapping
    from train.training_run import claim_folder

    if path.parent.name == "run":
        claim_folder(path.parent, {"model": TINY, "data": [1, {"a": 2}]}, False)
        journal = Journal(path.parent, 1, 0)
        journal.close()
        return journal.lines
    readers = {
        "evaluation.json": read_evaluation, "mapping.json": _read_mapping,
        "scores.json": lambda path: read_scores(path, {"val": 2}),
        "answers.npz": lambda path: read_prediction(path, 9),
    }  # fmt: skip
    return readers[path.name](path)


TORCH_READERS: dict[str, Reader] = {
    "checkpoint": Reader(make_checkpoint, change_checkpoint, read_checkpoint),
    "weights": Reader(make_weights, change_weights, read_weights),
    "integers": Reader(make_integers, change_integers, read_integers),
    "run_state": Reader(make_run_state, change_run_state, read_run_state),
    "run_folder": Reader(make_run_folder, change_run_folder, read_run_folder),
}

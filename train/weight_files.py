"""Tensors out of weight files that anyone may have made: safetensors, and .pt without its code.

Nothing is ever unpickled beyond what torch's weights_only allows: tensors, numbers and dicts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fiqa.errors import InputError
from fiqa.files import require_file

Tensors = dict[str, Tensor]

# Under these names training programs keep a state dict beside optimiser, epoch and the like.
PARTS = (
    "state_dict", "model_state_dict", "model", "state_dict_ema", "ema_state_dict", "model_ema",
    "ema", "module", "network", "net", "student", "teacher", "weights", "params",
)  # fmt: skip
# Counters that no forward pass reads: BatchNorm's, torch's AveragedModel's, and thop's.
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")
DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip
DEEPEST = 4  # state dicts within state dicts
SHOWN = 4  # names of misfit tensors in an error


def read_tensors(path: Path, part: str | None = None) -> Tensors:
    """The state dict of a file; `part` names one where a .pt holds several, as a.b if nested."""
    require_file(path, "a .safetensors, .pt or .pth file")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
        if part:
            raise InputError(
                f"{path} has no parts", expected="no --part with safetensors", fix="leave it out"
            )
    else:
        tensors = _choose_part(_read_plain(path), path, part)
    for name, value in tensors.items():
        _check_plain(name, value, path)
        _check_finite(name, value, path)
    return tensors


def check_fit(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str, fix: str
) -> None:
    """Every wanted tensor, of its shape and kind of number, and no other; counters aside."""
    problems = []
    for kind, names in _misfits(wanted, found).items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            problems.append(f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{more})")
    if problems:
        raise InputError(
            f"{source} does not fit: " + "; ".join(problems),
            expected=f"the {sum(map(is_weight, wanted))} tensors {_first(wanted)}, ...",
            fix=fix,
        )


def is_weight(name: str) -> bool:
    return not name.endswith(COUNTERS)


def _misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, list[str]]:
    both = [name for name in wanted if name in found and is_weight(name)]
    return {
        "missing": [name for name in wanted if name not in found and is_weight(name)],
        "unknown": [name for name in found if name not in wanted and is_weight(name)],
        "of another shape": [
            f"{name}: {_shape(found[name])}, not {_shape(wanted[name])}"
            for name in both
            if found[name].shape != wanted[name].shape
        ],
        "of another kind of number": [
            f"{name}: {found[name].dtype}"
            for name in both
            if found[name].is_floating_point() != wanted[name].is_floating_point()
        ],
    }


def _read_safetensors(path: Path) -> Tensors:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_plain(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of archives that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds on foreign and damaged files
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is not read: {_reason(error)}",
        expected="whole safetensors, or a .pt or .pth of plain tensors",
        fix="where the model runs, save its weights alone: torch.save(model.state_dict(), PATH)",
    )


def _reason(error: Exception) -> str:
    """One line. Torch's own text is long and advises to unpickle after all."""
    text = str(error)
    code = re.search(r"GLOBAL ([\w.]+)", text)
    if code:
        return f"it holds Python objects besides tensors ({code[1]}), and these could run code"
    if "TorchScript" in text:
        return "it is a TorchScript program, which could run code"
    if "weights_only" in text:
        return "it is no file of torch's, or is damaged"
    return " ".join(text.split())[:200] or type(error).__name__


def _choose_part(loaded: Any, path: Path, part: str | None) -> Tensors:
    parts = dict(_parts(loaded))
    if part is None and len(parts) == 1:
        return next(iter(parts.values()))
    if part in parts:
        return parts[part]
    names = ", ".join(name or "(the file itself)" for name in parts)
    if not parts:
        raise InputError(
            f"{path} holds no state dict",
            expected="tensors by name, at the top or under " + ", ".join(PARTS[:3]),
            fix="where the model runs: torch.save(model.state_dict(), PATH)",
        )
    raise InputError(
        f"{path} has no part {part!r}" if part else f"{path} holds {len(parts)} state dicts",
        expected=f"one of: {names}",
        fix=f"name it: python -m train.import_weights {path} --part NAME ...",
    )


def _parts(loaded: Any, prefix: str = "") -> Iterable[tuple[str, Tensors]]:
    """Each state dict in the file by its dotted name; "" is the file's top level."""
    if not isinstance(loaded, Mapping) or prefix.count(".") >= DEEPEST:  # it may hold itself
        return
    tensors = {name: value for name, value in loaded.items() if _is_tensor(name, value)}
    if tensors:
        yield prefix, tensors
    for name in PARTS:
        if name in loaded:
            yield from _parts(loaded[name], f"{prefix}.{name}" if prefix else name)


def _is_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _check_plain(name: str, value: Tensor, path: Path) -> None:
    """Numbers in memory, and no more of them than the file has room for.

    A view of one number may claim any shape: only who copies it finds out.
    """
    plain = value.layout == torch.strided and value.device.type == "cpu"
    if not plain or value.dtype not in DTYPES:
        raise InputError(
            f"{path}: {name} is a {value.layout} of {value.dtype} on {value.device}",
            expected="dense tensors of 16 to 64 bits, integers or booleans",
            fix="save it so: value.cpu().to_dense().float()",
        )
    if value.numel() * value.element_size() > path.stat().st_size:
        raise InputError(
            f"{path}: {name} claims to be {_shape(value)}, more than its file holds",
            expected="tensors with all their numbers in the file",
            fix="save it whole: value.contiguous()",
        )


def _check_finite(name: str, value: Tensor, path: Path) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InputError(
            f"{path}: {name} holds NaN or infinity",
            expected="finite weights",
            fix="take an earlier checkpoint: this training diverged",
        )


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _first(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({_shape(tensors[name])})" for name in list(tensors)[:2])

"""Everything a killed run needs to go on: one safetensors file, replaced atomically.

It holds the weights, their moving average, the optimiser, the weights that the task before
ended with, and the best validated weights; the counters stand in the file's metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fiqa.errors import ManifestError
from fiqa.files import writing
from fiqa.records import from_plain, parse_json

STATE = "state.safetensors"
Tensors = dict[str, Tensor]


@dataclass
class RunState:
    """Where a run stands. Tensor groups are empty until they are first kept."""

    task: int = 0
    epoch: int = 0
    batch: int = 0  # finished batches of the epoch
    step: int = 0  # finished steps of the run
    lines: int = 0  # lines of metrics.jsonl that belong to this state
    stale: int = 0  # validations since the best one
    averaged_steps: int = 0  # steps in the task's moving average
    best_metrics: dict[str, float] = field(default_factory=dict)
    model: Tensors = field(default_factory=dict)
    average: Tensors = field(default_factory=dict)
    optimizer: Tensors = field(default_factory=dict)
    previous: Tensors = field(default_factory=dict)
    best: Tensors = field(default_factory=dict)

    def keep(self, learner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Copy weights and optimiser state out of the running objects."""
        self.model = _copy(learner.state_dict())
        self.optimizer = {
            f"{name}/{key}": value.detach().clone()
            for name, parameter in learner.named_parameters()
            for key, value in optimizer.state.get(parameter, {}).items()
        }

    def check_fit(self, learner: nn.Module) -> None:
        """Refuse the state of another network before any of it is used."""
        wanted = {name: value.shape for name, value in learner.state_dict().items()}
        for group in ("model", "average", "previous", "best"):
            found = {name: value.shape for name, value in getattr(self, group).items()}
            if found and found != wanted:
                raise _damaged(f"the saved state ({group})", "it is another network's", "--out")
        shapes = {name: value.shape for name, value in learner.named_parameters()}
        for key, value in self.optimizer.items():
            name, _, part = key.rpartition("/")
            if name not in shapes or (part != "step" and value.shape != shapes[name]):
                raise _damaged("the saved state (optimizer)", "it is another network's", "--out")

    def restore(self, learner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """The opposite of `keep`; without kept weights the learner stays as it is."""
        if self.model:
            learner.load_state_dict(self.model)
        device = next(learner.parameters()).device
        self.average = {name: value.to(device) for name, value in self.average.items()}
        for name, parameter in learner.named_parameters():
            entries = {
                key.rpartition("/")[2]: value.clone()
                for key, value in self.optimizer.items()
                if key.rpartition("/")[0] == name
            }
            if entries:
                optimizer.state[parameter] = {
                    key: value if key == "step" else _like(value, parameter)
                    for key, value in entries.items()
                }

    def update_average(self, learner: nn.Module, decay: float) -> None:
        """Exponential moving average; its first steps weigh more, so that it starts quickly."""
        current = learner.state_dict()
        if not self.average or decay == 0:
            self.average = _copy(current)
            return
        self.averaged_steps += 1
        keep = min(decay, (1 + self.averaged_steps) / (10 + self.averaged_steps))
        for name, value in self.average.items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - keep)
            else:
                value.copy_(current[name])

    @contextmanager
    def averaged(self, learner: nn.Module) -> Iterator[None]:
        """The learner with the averaged weights in it, for validation."""
        trained = _copy(learner.state_dict())
        learner.load_state_dict(self.average or trained)
        try:
            yield
        finally:
            learner.load_state_dict(trained)

    def note_validation(self, metrics: dict[str, float]) -> bool:
        """Keep the averaged weights when their score is the best of the task so far."""
        if metrics["score"] > self.best_metrics.get("score", -math.inf):
            self.best, self.best_metrics, self.stale = _copy(self.average), metrics, 0
            return True
        self.stale += 1
        return False

    def start_next_task(self) -> None:
        """The next task starts from the averaged weights, with nothing validated yet."""
        self.task += 1
        self.epoch = self.batch = self.stale = self.averaged_steps = 0
        self.previous = _copy(self.average)
        self.model, self.average, self.optimizer = {}, {}, {}
        self.best, self.best_metrics = {}, {}


def save_state(folder: Path, state: RunState) -> None:
    tensors = {
        f"{group}:{name}": value.cpu().contiguous()
        for group in _GROUPS
        for name, value in getattr(state, group).items()
    }
    counters = {name: getattr(state, name) for name in _COUNTERS}
    with writing(folder / STATE) as temporary:
        save_file(tensors, temporary, {"counters": json.dumps(counters)})


def load_state(folder: Path) -> RunState:
    """The saved state, or a fresh one where nothing was saved."""
    path = folder / STATE
    if not path.exists():
        return RunState()
    state = RunState()
    try:
        with safe_open(path, "pt") as file:
            counters = parse_json((file.metadata() or {})["counters"], f"{path} (counters)")
            kept = from_plain(_Counters, counters, f"{path} (counters)")
            for name in _COUNTERS:
                setattr(state, name, getattr(kept, name))
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, name = key.split(":", 1)
                if group not in _GROUPS:
                    raise ValueError(f"a group {group!r}")
                getattr(state, group)[name] = file.get_tensor(key)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise _damaged(path, str(error), folder) from error
    return state


def _damaged(what: object, reason: str, folder: object) -> ManifestError:
    return ManifestError(
        f"{what} is damaged: {reason}",
        expected="the state of a run",
        fix=f"start anew: remove {folder}, or add --overwrite",
    )


@dataclass(frozen=True)
class _Counters:
    """Those of a RunState, as its file holds them."""

    task: int
    epoch: int
    batch: int
    step: int
    lines: int
    stale: int
    averaged_steps: int
    best_metrics: dict[str, float]

    def __post_init__(self) -> None:
        counts = (self.task, self.epoch, self.batch, self.step, self.lines, self.averaged_steps)
        if min(counts) < 0:
            raise ValueError("a count below zero")


_GROUPS = ("model", "average", "optimizer", "previous", "best")
_COUNTERS = tuple(_Counters.__dataclass_fields__)


def _copy(tensors: dict[str, Any]) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """On the parameter's device and in its memory layout, as the optimiser would have made it."""
    out = torch.empty_like(parameter)
    return out.copy_(value)

"""One process or many: what torchrun started, behind a few small operations."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import convert_conv2d_weight_memory_format

from fiqa.errors import InputError, ToolkitError

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class World:
    """This process among all that train together. Without torchrun there is one."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def start(device: str) -> World:
        """Join the processes torchrun started, if not joined; `device` is cpu, cuda or auto."""
        size = _processes()
        place = pick_device(device)
        if size == 1:
            return World(0, 1, place)
        if place.type == "cuda":
            torch.cuda.set_device(place)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
        return World(dist.get_rank(), size, place)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def place(self, learner: nn.Module) -> nn.Module:
        return place(learner, self.device)

    def wrap(self, learner: nn.Module) -> nn.Module:
        """The module to call in training steps, so that gradients are averaged."""
        if self.size == 1:
            return learner
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(learner, device_ids=ids)

    def agree(self, work: Callable[[], bool]) -> bool:
        """What the first process finds, for all, and its error too; they wait for it."""
        if self.size == 1:
            return work()
        box: list[bool | ToolkitError] = [False]
        if self.is_first:
            try:
                box = [work()]
            except ToolkitError as error:
                box = [error]
        dist.broadcast_object_list(box, src=0)
        (found,) = box
        if isinstance(found, ToolkitError):
            self.end()
            raise found
        return found

    def end(self) -> None:
        """Leave the others; what is left already stays so."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def place(network: Net, device: torch.device) -> Net:
    """On the device, with channels last: half the time of a convolution step on CPUs."""
    network.to(device)
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    return network


def pick_device(name: str) -> torch.device:
    """auto takes a GPU where there is one; of processes torchrun started, each takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("no CUDA device is here", expected="cpu or auto", fix="--device cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"--device {name} is no device", expected="auto, cpu or cuda", fix="--device auto"
        ) from error
    if device.type == "cuda" and _processes() > 1 and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def is_first_process() -> bool:
    """Whether this one tells how a run ended, which the others know as well."""
    return os.environ.get("RANK", "0") == "0"


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))

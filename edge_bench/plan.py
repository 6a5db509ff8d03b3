"""What is measured, in which order and how often; decided before anything runs.

Models alternate in ABBA order, so that a device which slowly grows warm slows both alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fiqa.errors import InputError

Delegate = Literal["xnnpack", "none"]
Rigour = Literal["full", "quick", "smoke"]

FULL_RUNS, FULL_SECONDS, FULL_BLOCKS = 1024, 60.0, 8  # what MLPerf Mobile asks for a single stream
QUICK_RUNS, QUICK_BLOCKS = 200, 6
CANARY = 16  # pictures whose scores must be the host's


@dataclass(frozen=True)
class Setup:
    """One way to run a model. `cores` is what was asked for, `cpus` what it is on this device."""

    threads: int = 1
    cores: str = "any"
    cpus: tuple[int, ...] = ()  # empty: not pinned
    delegate: Delegate = "xnnpack"

    @property
    def name(self) -> str:
        plural = "s" if self.threads > 1 else ""
        return f"{self.threads} thread{plural}, {self.cores} cores, {self.delegate}"


@dataclass(frozen=True)
class Plan:
    """`runs` and `seconds` are the least for each model and setup, over all its blocks."""

    setups: tuple[Setup, ...]
    blocks: int = FULL_BLOCKS
    runs: int = FULL_RUNS
    seconds: float = FULL_SECONDS
    warm_up: int = 10  # inferences before each block
    cool_down_s: float = 60.0  # the longest wait for a warm device, before a block
    time_limit_s: float = 600.0  # of one block

    def __post_init__(self) -> None:
        if self.blocks < 0 or (self.blocks and self.runs < self.blocks):
            raise InputError(
                f"{self.blocks} blocks of {self.runs} runs",
                expected="a run or more in each block",
                fix="give --runs at least as many as --blocks",
            )
        if any(setup.threads < 1 for setup in self.setups):
            raise InputError("a setup without threads", expected="--threads 1 or more")

    @property
    def rigour(self) -> Rigour:
        """How far the numbers can be leant on; said beside them."""
        if self.runs >= FULL_RUNS and self.seconds >= FULL_SECONDS and self.blocks >= QUICK_BLOCKS:
            return "full"
        return "quick" if self.runs >= QUICK_RUNS and self.blocks >= QUICK_BLOCKS else "smoke"

    @property
    def runs_a_block(self) -> int:
        return -(-self.runs // self.blocks)

    @property
    def seconds_a_block(self) -> float:
        return self.seconds / self.blocks

    def order(self, models: int) -> Iterator[tuple[int, int, int]]:
        """(setup, round, model) of each block: A B, then B A, and so on."""
        for setup, number in itertools.product(range(len(self.setups)), range(self.blocks)):
            forward = range(models)
            for model in forward if number % 2 == 0 else reversed(forward):
                yield setup, number, model


def full_plan(setups: Sequence[Setup]) -> Plan:
    """For numbers to quote from a device."""
    return Plan(tuple(setups))


def quick_plan(setups: Sequence[Setup]) -> Plan:
    """A first look, and what a desktop deserves: its latency is no proxy for a phone's."""
    return Plan(tuple(setups), QUICK_BLOCKS, QUICK_RUNS, 0.0, warm_up=5, cool_down_s=10.0)

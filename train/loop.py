"""The only training loop: teacher, student and quantisation-aware training all run here.

A run is a list of tasks, one after the other. Everything random in a step is drawn from
(seed, task, epoch, batch), so a run that was killed goes on from its last saved state and ends
with the same weights, bit for bit in one CPU process.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiqa.errors import ToolkitError
from train.distributed import World
from train.journal import EpochWatch, Journal
from train.run_state import RunState, load_state, save_state

logger = logging.getLogger(__name__)

BATCHES_AHEAD = 4
WARM_UP_SHARE = 0.05  # of a task's steps
CLIP_NORM = 1.0
SAVE_EVERY_S = 60.0


class TrainingError(ToolkitError):
    """Training that cannot go on: the loss is no longer a number."""


@dataclass(frozen=True)
class Batch:
    """Pictures and whatever the task's loss needs; tensors share their first dimension."""

    pictures: Tensor  # (B, 3, S, S)
    targets: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.pictures.to(device, non_blocking=True),
            {name: value.to(device, non_blocking=True) for name, value in self.targets.items()},
        )


@dataclass(frozen=True)
class Fitting:
    """How long and how fast a task learns. Schedules: cosine to zero, or steps of a tenth."""

    epochs: int
    learning_rate: float
    batch_size: int = 32
    weight_decay: float = 0.01
    schedule: str = "cosine"  # or "steps": a tenth every third of the epochs
    ema_decay: float = 0.998  # of the weights' moving average; 0: none

    def rate_at(self, progress: float) -> float:
        """The learning rate after a share 0..1 of the task's steps."""
        if self.schedule == "steps":
            return self.learning_rate * 0.1 ** math.floor(min(progress, 0.999) * 3)
        if progress < WARM_UP_SHARE:
            return self.learning_rate * (progress + 0.001) / WARM_UP_SHARE
        done = (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


class Task(Protocol):
    """One stage as the loop sees it."""

    name: str
    fitting: Fitting

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Which pictures the epoch shows, in which order."""
        ...

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Runs in a thread of its own, ahead of the step that needs it."""
        ...

    def loss(self, learner: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to descend, and its parts to show."""
        ...

    def validate(self, learner: nn.Module) -> dict[str, float]:
        """Figures on validation pictures; the best weights are those of the best "score"."""
        ...


# Makes a task when its turn comes, from the learner as the task before left it.
TaskMaker = Callable[[nn.Module], Task]


@dataclass(frozen=True)
class LoopConfig:
    """How a run is run; what it learns stands in its tasks."""

    out: Path
    seed: int = 0
    device: str = "cpu"
    patience: int = 0  # validations without a better score before a task ends; 0: never
    save_every_s: float = SAVE_EVERY_S


@dataclass(frozen=True)
class LoopResult:
    """The best validated weights of the last task, and their figures."""

    tensors: dict[str, Tensor]
    metrics: dict[str, float]
    is_first: bool  # only the first process writes results


def fit(learner: nn.Module, makers: Sequence[TaskMaker], config: LoopConfig) -> LoopResult:
    """Train through all tasks, going on from a saved state where there is one."""
    torch.set_flush_denormal(True)  # dead channels of ImageNet weights slow a step tenfold
    world = World.start(config.device)
    try:
        run = _Run(learner, config, world)
        while run.state.task < len(makers):
            is_last = run.state.task == len(makers) - 1
            run.learn(makers[run.state.task], is_last)
        best = run.state.best or run.learner.state_dict()  # nothing is validated in 0 epochs
        tensors = {name: value.contiguous() for name, value in best.items()}
        return LoopResult(tensors, run.state.best_metrics, world.is_first)
    finally:
        world.end()


class _Run:
    def __init__(self, learner: nn.Module, config: LoopConfig, world: World) -> None:
        self.config, self.world = config, world
        self.learner = world.place(learner)
        self.state: RunState = load_state(config.out)
        self.journal = (
            Journal(config.out, self.state.lines, self.state.step) if world.is_first else None
        )
        self.saved_at = time.monotonic()

    def learn(self, maker: TaskMaker, is_last: bool) -> None:
        """One task, from wherever the state says it stands."""
        state = self.state
        state.check_fit(self.learner)
        if state.previous:
            self.learner.load_state_dict(state.previous)
        task = maker(self.learner)
        model = self.world.wrap(self.learner)
        optimizer = torch.optim.AdamW(
            self.learner.parameters(),
            lr=task.fitting.learning_rate,
            weight_decay=task.fitting.weight_decay,
        )
        state.restore(self.learner, optimizer)
        while state.epoch < task.fitting.epochs:
            facts = self._epoch(task, model, optimizer)
            stop = self._validate(task, facts)
            state.epoch = task.fitting.epochs if stop else state.epoch + 1
            state.batch = 0
            self._save(optimizer)
        if is_last:
            state.task += 1
        else:
            state.start_next_task()
        self._save(None)

    def _epoch(
        self, task: Task, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> dict[str, float]:
        state = self.state
        batches = self._batches(task)
        watch = EpochWatch(f"{task.name} epoch {state.epoch + 1}", len(batches))
        model.train()
        for number, batch, waited_s in self._prefetched(task, batches):
            started = time.perf_counter()
            torch.manual_seed(int(np.random.SeedSequence(self._key(number)).generate_state(1)[0]))
            rate = task.fitting.rate_at((state.epoch + number / len(batches)) / task.fitting.epochs)
            parts = self._step(task, model, optimizer, batch, rate)
            state.batch, state.step = number + 1, state.step + 1
            watch.add(parts, len(batch.pictures), waited_s, time.perf_counter() - started)
            if watch.line_is_due():
                watch.tell(state.batch, rate)
                self._write("step", task, watch.facts() | {"rate": rate})
            if time.monotonic() - self.saved_at >= self.config.save_every_s:
                self._save(optimizer)
        return watch.facts()

    def _step(
        self,
        task: Task,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        rate: float,
    ) -> dict[str, float]:
        for group in optimizer.param_groups:
            group["lr"] = rate
        on_gpu = self.world.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext():
            loss, parts = task.loss(model, batch.to(self.world.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), CLIP_NORM)
        if not math.isfinite(float(norm)):
            raise TrainingError(
                f"{task.name}, epoch {self.state.epoch + 1}: the gradient is {float(norm)}",
                expected="finite numbers",
                fix="lower the stage's learning rate",
            )
        optimizer.step()
        self.state.update_average(self.learner, task.fitting.ema_decay)
        return {name: float(value.detach()) for name, value in {"loss": loss, **parts}.items()}

    def _batches(self, task: Task) -> list[NDArray[np.int64]]:
        """This process's share of the epoch's batches, all of the same size."""
        order, world = task.order(self.state.epoch), self.world
        step = task.fitting.batch_size * world.size
        count = max(len(order) // step, 1)
        return [
            order[number * step + world.rank : (number + 1) * step : world.size]
            for number in range(count)
        ]

    def _key(self, number: int) -> tuple[int, ...]:
        """What everything random in a batch is drawn from."""
        state = self.state
        return (self.config.seed, state.task, state.epoch, number, self.world.rank)

    def _prefetched(
        self, task: Task, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[int, Batch, float]]:
        """(number, batch, seconds waited for it), loaded a few batches ahead by a thread."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(BATCHES_AHEAD)
        first, left = self.state.batch, threading.Event()
        keys = [self._key(number) for number in range(len(batches))]

        def load() -> None:
            for number in range(first, len(batches)):
                try:
                    item: Batch | BaseException = task.batch(
                        batches[number], np.random.default_rng(keys[number])
                    )
                except BaseException as error:  # handed to the loop, which raises it
                    item = error
                while not left.is_set():
                    try:
                        ready.put(item, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if left.is_set() or isinstance(item, BaseException):
                    return

        threading.Thread(target=load, daemon=True).start()
        try:
            for number in range(first, len(batches)):
                started = time.perf_counter()
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield number, item, time.perf_counter() - started
        finally:
            left.set()

    def _validate(self, task: Task, facts: dict[str, float]) -> bool:
        """Validate the averaged weights; True when the task should end early."""
        stop = False
        if self.world.is_first:
            with self.state.averaged(self.learner), torch.no_grad():
                self.learner.eval()
                metrics = task.validate(self.learner)
            best = self.state.note_validation(metrics)
            shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            logger.info(
                "%s epoch %d/%d: loss %.4f, %s%s",
                task.name, self.state.epoch + 1, task.fitting.epochs, facts.get("loss", math.nan),
                shown, "  (best)" if best else "",
            )  # fmt: skip
            named = {f"val_{name}": value for name, value in metrics.items()}
            self._write("epoch", task, facts | named)
            stop = 0 < self.config.patience <= self.state.stale
        return self.world.agree(lambda: stop)

    def _write(self, kind: str, task: Task, values: dict[str, float]) -> None:
        if self.journal:
            place = {"kind": kind, "stage": task.name, "epoch": self.state.epoch + 1}
            self.journal.write(self.state.step, place | values)
            self.state.lines = self.journal.lines

    def _save(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Save the run; without an optimiser, between two tasks."""
        self.saved_at = time.monotonic()
        if not self.world.is_first:
            return
        if optimizer is not None:
            self.state.keep(self.learner, optimizer)
        save_state(self.config.out, self.state)

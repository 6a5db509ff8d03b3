"""The training loop: it learns, it ends bit for bit the same after kill -9, it tells the truth."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fiqa.errors import ManifestError, OutputError, PictureError
from train.loop import Batch, Fitting, LoopConfig, TaskMaker, TrainingError, fit
from train.run_state import STATE, RunState, load_state, save_state


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny nets on many threads spend their time waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Line(nn.Module):
    """y = w . x + b behind a batch norm and dropout, so that buffers and randomness count."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2))
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3))).squeeze(1)


class BrightnessTask:
    """Learn the mean of small random pictures."""

    def __init__(self, name: str = "bright", epochs: int = 3, **fitting: float) -> None:
        self.name = name
        self.fitting = Fitting(epochs, **{"learning_rate": 0.02, "batch_size": 8} | fitting)
        self.pictures = np.random.default_rng(5).random((64, 3, 6, 6), np.float32)
        self.before_batch: Callable[[int], None] = lambda _: None
        self.batches = 0

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(epoch).permutation(64)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        self.batches += 1
        self.before_batch(self.batches)
        pictures = self.pictures[indices] + rng.normal(0, 0.01, (len(indices), 1, 1, 1))
        labels = self.pictures[indices].mean((1, 2, 3))
        return Batch(torch.tensor(pictures).float(), {"label": torch.tensor(labels)})

    def loss(self, learner: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = ((learner(batch.pictures) - batch.targets["label"]) ** 2).mean()
        return loss, {"mse": loss}

    def validate(self, learner: nn.Module) -> dict[str, float]:
        found = learner(torch.tensor(self.pictures)).detach().numpy()
        return {"score": -float(((found - self.pictures.mean((1, 2, 3))) ** 2).mean())}


def two_tasks() -> list[TaskMaker]:
    return [lambda _: BrightnessTask("one"), lambda _: BrightnessTask("two", epochs=2)]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_loss_falls_and_the_best_weights_come_back(tmp_path: Path) -> None:
    result = fit(Line(), [lambda _: BrightnessTask(epochs=12)], LoopConfig(tmp_path))
    epochs = [record for record in records(tmp_path) if record["kind"] == "epoch"]
    assert len(epochs) == 12
    assert epochs[-1]["loss"] < epochs[0]["loss"] / 4
    assert result.metrics["score"] == max(record["val_score"] for record in epochs)
    learner = Line()
    learner.load_state_dict(result.tensors)
    score = BrightnessTask().validate(learner.eval())["score"]
    assert score == pytest.approx(result.metrics["score"], abs=1e-7)


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    runs = [
        fit(Line(), two_tasks(), LoopConfig(tmp_path / str(number), seed=seed)).tensors
        for number, seed in enumerate((1, 1, 2))
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 5, 12, 24, 27, 38])
def test_run_stopped_at_any_batch_ends_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole = fit(Line(), two_tasks(), LoopConfig(tmp_path / "whole")).tensors
    config = LoopConfig(tmp_path / "cut", save_every_s=0.0)  # a state after every step
    loaded = 0

    def stop(_: int) -> None:
        nonlocal loaded
        loaded += 1
        if loaded == stop_at:
            raise StopHereError

    def stopping(name: str, epochs: int) -> TaskMaker:
        def make(_: nn.Module) -> BrightnessTask:
            task = BrightnessTask(name, epochs)
            task.before_batch = stop
            return task

        return make

    with pytest.raises(StopHereError):
        fit(Line(), [stopping("one", 3), stopping("two", 2)], config)
    resumed = fit(Line(), two_tasks(), config).tensors
    assert same(whole, resumed)
    lines = records(tmp_path / "cut")
    assert [(one["stage"], one["epoch"]) for one in lines if one["kind"] == "epoch"] == [
        ("one", 1), ("one", 2), ("one", 3), ("two", 1), ("two", 2),
    ]  # fmt: skip


KILLED = """
import sys, torch
sys.path[:0] = [{tests!r}, "."]
torch.set_num_threads(1)
from test_loop import Line, two_tasks, BrightnessTask
from train.loop import LoopConfig, fit
from safetensors.torch import save_file
import time, pathlib
slow = BrightnessTask.batch
BrightnessTask.batch = lambda self, *a: (time.sleep({pause}), slow(self, *a))[1]
result = fit(Line(), two_tasks(), LoopConfig(pathlib.Path({out!r}), save_every_s=0.0))
save_file(result.tensors, {out!r} + "/final.safetensors")
"""


def test_kill_9_at_any_moment_then_again_gives_the_same_bits(tmp_path: Path) -> None:
    out = tmp_path / "killed"

    def start(folder: Path, pause: float) -> subprocess.Popen[bytes]:
        code = KILLED.format(tests=str(Path(__file__).parent), out=str(folder), pause=pause)
        return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])

    assert start(tmp_path / "whole", 0).wait(120) == 0
    for _ in range(3):
        process = start(out, 0.05)
        wait_for((out / STATE).exists)
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "final.safetensors").exists()
    assert start(out, 0).wait(120) == 0
    from safetensors.torch import load_file

    assert same(
        load_file(out / "final.safetensors"), load_file(tmp_path / "whole/final.safetensors")
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_unreadable_picture_in_the_middle_keeps_what_was_finished(tmp_path: Path) -> None:
    def make(_: nn.Module) -> BrightnessTask:
        task = BrightnessTask()

        def fail(number: int) -> None:
            if number == 12:
                raise PictureError("x.png cannot be decoded")

        task.before_batch = fail
        return task

    with pytest.raises(PictureError, match=r"x\.png"):
        fit(Line(), [make], LoopConfig(tmp_path))
    whole = fit(Line(), [lambda _: BrightnessTask()], LoopConfig(tmp_path / "whole")).tensors
    assert same(fit(Line(), [lambda _: BrightnessTask()], LoopConfig(tmp_path)).tensors, whole)


def test_full_disk_is_told_and_the_last_state_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train.run_state as run_state

    whole = fit(Line(), two_tasks(), LoopConfig(tmp_path / "whole")).tensors
    real, calls = run_state.save_file, 0

    def full(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(run_state, "save_file", full)
    with pytest.raises(OutputError, match="no space left"):
        fit(Line(), two_tasks(), LoopConfig(tmp_path / "full"))
    assert sorted(path.name for path in (tmp_path / "full").iterdir() if path.is_file()) == [
        "metrics.jsonl", STATE,
    ]  # fmt: skip
    assert same(fit(Line(), two_tasks(), LoopConfig(tmp_path / "full")).tensors, whole)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    fit(Line(), [lambda _: BrightnessTask()], LoopConfig(tmp_path))
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ManifestError, match="damaged"):
        fit(Line(), [lambda _: BrightnessTask()], LoopConfig(tmp_path))


def test_the_state_of_another_network_or_with_strange_counters_is_refused(tmp_path: Path) -> None:
    fit(Line(), [lambda _: BrightnessTask(epochs=1)], LoopConfig(tmp_path))
    state = load_state(tmp_path)
    for change, message in (
        ({"step": -1}, "a count below zero"),
        ({"best": {"other": torch.zeros(1)}}, "another network's"),
        ({"optimizer": {"other/step": torch.zeros(1)}}, "another network's"),
    ):
        save_state(tmp_path, dataclasses.replace(state, **change))
        with pytest.raises(ManifestError, match=message):
            load_state(tmp_path).check_fit(Line())


def test_restored_average_lies_where_the_learner_lies(tmp_path: Path) -> None:
    learner = Line()
    state = RunState(average=dict(learner.state_dict()))
    save_state(tmp_path, state)
    kept, moved = load_state(tmp_path), Line().to("meta")
    kept.restore(moved, torch.optim.AdamW(moved.parameters()))
    assert {value.device.type for value in kept.average.values()} == {"meta"}
    kept.update_average(moved, 0.9)


def test_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    def make(_: nn.Module) -> BrightnessTask:
        task = BrightnessTask()
        task.pictures[:] = np.inf
        return task

    with pytest.raises(TrainingError, match="learning rate"):
        fit(Line(), [make], LoopConfig(tmp_path))


def test_patience_ends_a_task_early(tmp_path: Path) -> None:
    def make(_: nn.Module) -> BrightnessTask:
        task = BrightnessTask(epochs=20)
        figures = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
        task.validate = lambda learner: {"score": next(figures)}  # type: ignore[method-assign]
        return task

    result = fit(Line(), [make], LoopConfig(tmp_path, patience=2))
    assert result.metrics == {"score": 0.5}
    assert len([one for one in records(tmp_path) if one["kind"] == "epoch"]) == 4


def test_time_spent_waiting_for_data_is_reported(tmp_path: Path) -> None:
    def share(pause_s: float) -> object:
        task = BrightnessTask(epochs=1)
        task.before_batch = lambda _: time.sleep(pause_s)
        fit(Line(), [lambda _: task], LoopConfig(tmp_path / str(pause_s)))
        return records(tmp_path / str(pause_s))[-1]["data_wait_share"]

    quick, slow = share(0.0), share(0.3)
    assert isinstance(quick, float)
    assert isinstance(slow, float)
    assert 0 <= quick < slow < 1


def test_schedules_rise_and_fall() -> None:
    cosine = Fitting(10, 1.0)
    assert cosine.rate_at(0) < 0.05 < 0.99 < cosine.rate_at(0.05) > cosine.rate_at(0.5)
    assert cosine.rate_at(1) == pytest.approx(0, abs=1e-9)
    steps = Fitting(30, 1.0, schedule="steps")
    assert [steps.rate_at(x) for x in (0, 0.4, 0.9)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.slow
def test_two_gloo_processes_train_as_one(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys, torch, pathlib
        sys.path[:0] = [{str(Path(__file__).parent)!r}, "."]
        torch.set_num_threads(1)
        from test_loop import Line, two_tasks
        from train.loop import LoopConfig, fit
        from safetensors.torch import save_file
        result = fit(Line(), two_tasks(), LoopConfig(pathlib.Path({str(tmp_path)!r})))
        if result.is_first:
            save_file(result.tensors, {str(tmp_path / "final.safetensors")!r})
    """)
    (tmp_path / "job.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", str(tmp_path / "job.py")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "final.safetensors").exists()
    epochs = [one for one in records(tmp_path) if one["kind"] == "epoch"]
    assert len(epochs) == 5
    assert epochs[-1]["step"] == 5 * 64 // 16  # each process took half of every batch of 16


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

"""One benchmark on one target: put the files there, run the plan, keep every answer.

The result is handed to `keep` after each step; what was kept is not measured again.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_bench.errors import DeviceRebooted, ResultError, UnstableScores
from edge_bench.inputs import (
    Chosen,
    Model,
    geometry,
    host_scores,
    picture_bytes,
    scores_of,
)
from edge_bench.plan import Setup
from edge_bench.result import BenchResult, Block, Count, Moment, ScorePass
from edge_bench.runner.request import Answer, Request, Runner
from edge_bench.targets.base import Target
from edge_bench.targets.emulated import EmulatedTarget
from fiqa.contract import Bytes, PreprocessSpec
from fiqa.progress import Progress

logger = logging.getLogger(__name__)

AT_ONCE = 256  # pictures of one score pass: what an unplugged device costs at most
COUNTED_RUNS = 5  # inferences whose instructions are counted: their spread is below 0.01 %
WARMER_C = 3.0  # a device this much warmer than at first waits
WAIT_STEP_S = 5.0

Keep = Callable[[BenchResult], None]


@dataclass(frozen=True)
class Files:
    """Names in the target's folder, for one model."""

    model: str
    pictures: str
    canary: str
    table: str


class Session:
    def __init__(
        self, target: Target, runner: Runner, models: Sequence[Model], chosen: Chosen, keep: Keep
    ) -> None:
        self.target, self.runner, self.models, self.chosen = target, runner, models, chosen
        self._keep = keep
        self._canary: list[int] = []
        self._files: list[Files] = []
        self._emulator = ""
        self._by_core = target.kind == "emulated"

    def run(self, result: BenchResult) -> BenchResult:
        """Everything that `result` does not hold yet."""
        self._canary = list(result.canary)
        result = self._send(result)
        if not result.runner.latency_only:
            result = self._score_all(result)
        result = self._time_all(result)
        after = self.target.facts()
        result = dataclasses.replace(result, device_after=after, complete=True)
        return self._store(result)

    # ------------------------------------------------------------ files

    def _send(self, result: BenchResult) -> BenchResult:
        """Bytes are made once for each geometry, and each file travels once."""
        logger.info("sending %d models to %s", len(self.models), self.target.name)
        self.runner.install(self.target)
        scored = result.host_scores
        made: dict[PreprocessSpec, tuple[str, str, Bytes]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for number, model in enumerate(self.models):
                self.target.put(model.path, model.remote)
                if result.runner.latency_only:
                    self._files.append(Files(model.remote, "", "", ""))
                    continue
                table = f"table-{number}.bin"
                self._put_bytes(Path(folder), table, model.table)
                key = geometry(model.record.preprocess)
                if key not in made:
                    made[key] = self._send_pictures(Path(folder), key, len(made))
                pictures, canary, data = made[key]
                self._files.append(Files(model.remote, pictures, canary, table))
                if len(scored) <= number:
                    scored += (host_scores(number, model, data),)
        return dataclasses.replace(result, host_scores=scored)

    def _send_pictures(
        self, folder: Path, spec: PreprocessSpec, number: int
    ) -> tuple[str, str, Bytes]:
        data = picture_bytes(self.chosen, spec)
        canary = data[self._canary]
        names = f"pictures-{number}.bin", f"canary-{number}.bin"
        for name, part in zip(names, (data, canary), strict=True):
            self._put_bytes(folder, name, part)
        return *names, canary

    def _put_bytes(self, folder: Path, name: str, data: bytes | Bytes) -> None:
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.tobytes())
        self.target.put(path, name)
        path.unlink()

    # ------------------------------------------------------------ scores

    def _score_all(self, result: BenchResult) -> BenchResult:
        """One pass for each model and each way to compute; threads do not change scores."""
        done = {(one.setup, one.model) for one in result.passes}
        due = [
            (setup, model)
            for setup in distinct_paths(result.plan.setups, self._by_core)
            for model in range(len(self.models))
            if (setup, model) not in done
        ]
        progress = Progress("scoring", len(due) * len(self.chosen.rows))
        for setup, model in due:
            one = self._score(result, setup, model, progress)
            result = dataclasses.replace(result, passes=(*result.passes, one))
            result = self._store(result)
        progress.finish()
        return result

    def _score(self, result: BenchResult, setup: int, model: int, progress: Progress) -> ScorePass:
        started = time.monotonic()
        raw: list[float] = []
        count = len(self.chosen.rows)
        for start in range(0, count, AT_ONCE):
            part = min(AT_ONCE, count - start)
            request = Request(
                "score", self._files[model].model, self._files[model].pictures,
                self._files[model].table, self.models[model].record.input.layout,
                result.plan.setups[setup], start, part, limit_s=result.plan.time_limit_s,
                sha256=self.models[model].record.sha256,
            )  # fmt: skip
            answer = self._perform(result, request)
            self._check(answer, model, part)
            raw += answer.outputs
            progress.advance(part)
        scores = scores_of(raw, self.models[model].record.output)
        return ScorePass(
            setup, model, tuple(map(float, scores)), answer.fully_delegated,
            round(time.monotonic() - started, 3), answer.engine,
        )  # fmt: skip

    def _check(self, answer: Answer, model: int, count: int) -> None:
        record = self.models[model].record
        for side, told, known in (
            ("input", answer.input, record.input),
            ("output", answer.output, record.output),
        ):
            if told.dtype != known.dtype:
                raise ResultError(
                    f"{record.name}: the {side} is {told.dtype} on the device",
                    expected=f"{known.dtype}, as on this machine",
                    fix="name a library that fits the model: --lib PATH",
                )
        if len(answer.outputs) != count:
            raise ResultError(
                f"{record.name}: {len(answer.outputs)} scores",
                expected=f"{count}, one a picture",
                fix="run again with --resume",
            )

    # ------------------------------------------------------------ times

    def _time_all(self, result: BenchResult) -> BenchResult:
        if isinstance(self.target, EmulatedTarget):
            return self._count_all(result, self.target)
        done = {(one.setup, one.round, one.model) for one in result.blocks}
        due = [key for key in result.plan.order(len(self.models)) if key not in done]
        for number, (setup, turn, model) in enumerate(due, 1):
            block = self._time(result, setup, turn, model)
            result = dataclasses.replace(result, blocks=(*result.blocks, block))
            result = self._store(result)
            logger.info(
                "block %d of %d: %s, %s, mean %.2f ms",
                number, len(due), self.models[model].record.name,
                result.plan.setups[setup].name, block.mean_us / 1e3,
            )  # fmt: skip
        return result

    def _time(self, result: BenchResult, setup: int, turn: int, model: int) -> Block:
        plan = result.plan
        waited, before = self._cool_down(result)
        request = Request(
            "time", self._files[model].model, self._files[model].canary,
            self._files[model].table, self.models[model].record.input.layout,
            plan.setups[setup], warm_up=plan.warm_up, runs=plan.runs_a_block,
            seconds=plan.seconds_a_block, limit_s=plan.time_limit_s,
            sha256=self.models[model].record.sha256,
        )  # fmt: skip
        started = datetime.now(UTC).isoformat(timespec="seconds")
        answer = self._perform(result, request)
        after = Moment(**self.target.moment())
        notes = [*answer.notes, *([f"waited {waited:.0f} s to cool down"] if waited else [])]
        if not result.runner.latency_only:
            self._check(answer, model, len(self._canary))
            self._compare_scores(result, setup, model, answer)
        return Block(
            setup, turn, model, started, answer.library_us, answer.init_us, answer.first_us,
            plan.warm_up, answer.samples_us, answer.runs or len(answer.samples_us),
            answer.mean_us or float(np.mean(answer.samples_us)), answer.elapsed_us,
            answer.cpu_us, answer.involuntary_switches, _known(answer.peak_kb),
            _known(answer.pss_kb), dataclasses.replace(before, khz=answer.khz_before),
            dataclasses.replace(after, khz=answer.khz_after), tuple(notes),
        )  # fmt: skip

    def _compare_scores(self, result: BenchResult, setup: int, model: int, answer: Answer) -> None:
        """What was timed gives the scores of the accuracy pass, or one of the two is wrong."""
        same = same_path(result.plan.setups, setup, self._by_core)
        known = next(one for one in result.passes if (one.setup, one.model) == (same, model))
        expected = np.array(known.scores)[self._canary]
        found = scores_of(answer.outputs, self.models[model].record.output)
        record = self.models[model].record
        bound = 0.0 if record.arithmetic == "integer" else 1e-5
        apart = float(np.abs(found - expected).max())
        if apart > bound:
            raise UnstableScores(
                f"{record.name} gave scores that differ by {apart:.2g} for the same pictures",
                expected=f"the scores of its accuracy pass (within {bound:g})",
                fix="the device computes wrongly now and then: is it overclocked, hot, damaged?",
            )

    def _cool_down(self, result: BenchResult) -> tuple[float, Moment]:
        """Wait for a device that grew warm, as long as the plan allows: seconds, and the end."""
        first, waited = result.device.temperatures, 0.0
        while True:
            now = Moment(**self.target.moment())
            warm = bool(now.thermal_status) or any(
                "cpu" in name.lower() and degrees > first.get(name, degrees) + WARMER_C
                for name, degrees in now.temperatures.items()
            )
            if not warm or waited >= result.plan.cool_down_s or self.target.kind == "local":
                return waited, now
            time.sleep(WAIT_STEP_S)
            waited += WAIT_STEP_S

    def _count_all(self, result: BenchResult, target: EmulatedTarget) -> BenchResult:
        done = {(one.setup, one.model) for one in result.counts}
        for setup, model in distinct_pairs(result.plan.setups, len(self.models)):
            if (setup, model) in done:
                continue
            files = self._files[model]
            request = Request(
                "time", files.model, files.canary, files.table,
                self.models[model].record.input.layout, result.plan.setups[setup], count=1,
                warm_up=1, runs=COUNTED_RUNS, limit_s=result.plan.time_limit_s, marks=True,
            )  # fmt: skip
            self._perform(result, request)
            each, classes = target.counts()
            count = Count(setup, model, each, classes)
            result = dataclasses.replace(result, counts=(*result.counts, count))
            result = self._store(result)
            logger.info(
                "%s on %s: %.2f M instructions an inference", self.models[model].record.name,
                result.plan.setups[setup].cores, np.mean(each) / 1e6,
            )  # fmt: skip
        return result

    def _store(self, result: BenchResult) -> BenchResult:
        if self._emulator and result.source != "emulated":
            told = f"the processor is emulated by {self._emulator}: times are no latencies"
            result = dataclasses.replace(
                result, source="emulated", warnings=(*result.warnings, told)
            )
        self._keep(result)
        return result

    def _perform(self, result: BenchResult, request: Request) -> Answer:
        answer = self.runner.perform(self.target, request)
        self._emulator = answer.emulator
        if answer.boot_id != result.device.boot_id and not self.target.emulated:
            raise DeviceRebooted(
                f"{self.target.name} started anew while it was measured",
                expected="one boot from the first block to the last",
                fix="wait until it is up, then run again with --resume",
            )
        return answer


def distinct_paths(setups: Sequence[Setup], by_core: bool) -> list[int]:
    """One setup for each way to compute: threads and pinning do not change scores.

    `by_core`: cores are emulated processors, each of which may compute in its own way.
    """
    return sorted({same_path(setups, number, by_core) for number in range(len(setups))})


def same_path(setups: Sequence[Setup], number: int, by_core: bool) -> int:
    """The first setup that computes like this one."""
    ways = [(one.delegate, one.cores if by_core else "") for one in setups]
    return ways.index(ways[number])


def distinct_pairs(setups: Sequence[Setup], models: int) -> list[tuple[int, int]]:
    return [(setup, model) for setup in range(len(setups)) for model in range(models)]


def _known(value: int) -> int | None:
    return value if value >= 0 else None

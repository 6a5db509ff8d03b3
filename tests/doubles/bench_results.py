"""Benchmarks made up for tests of what reads them; nothing in them was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_bench.plan import Plan, Setup
from edge_bench.result import (
    BenchResult,
    Block,
    Count,
    HostScores,
    ModelRecord,
    Moment,
    Pictures,
    RunnerRecord,
    ScorePass,
)
from edge_bench.targets.facts import Core, DeviceFacts
from fiqa.contract import PreprocessSpec
from fiqa.manifest import DataRecord, TensorSpec

TENSOR = TensorSpec("image", (1, 224, 224, 3), "float32", "NHWC")


def device(**changes: Any) -> DeviceFacts:
    facts = DeviceFacts(
        model="Made-up Phone", soc="M1", system="Android 14 (sdk 34)", fingerprint="made/up",
        kernel="5.10", abi="aarch64", libc="bionic", features=("asimd", "asimddp"),
        cores=(Core(0, True, "0xd05", 130), Core(1, True, "0xd44", 1024)), memory_kb=8 << 20,
        free_kb=1 << 20, boot_id="boot", clock_offset_s=0.0, temperatures={"BIG": 40.0},
        thermal_status=0, battery_percent=80.0, power="usb", airplane_mode=True,
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def model(name: str, integer: bool = False, **changes: Any) -> ModelRecord:
    record = ModelRecord(
        name=name, file=f"{name}.tflite", sha256=name.ljust(64, "0"), size_bytes=2_000_000,
        body_sha256="1" * 64, parent_sha256="2" * 64, model="mobilenetv3_small_100", recipe={},
        trained_on=(DataRecord("faces", "3" * 64, "train", 5000),), preprocess=PreprocessSpec(),
        input=TENSOR, output=TENSOR, arithmetic="integer" if integer else "float",
        float_ops=0 if integer else 122, integer_ops=122 if integer else 0, conversion_ops=0,
        partitions=1,
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def block(model_index: int, turn: int, samples_us: Sequence[float], setup: int = 0) -> Block:
    samples = tuple(float(value) for value in samples_us)
    return Block(
        setup, turn, model_index, "2026-01-01T00:00:00+00:00", 100.0, 9000.0, 5000.0, 5, samples,
        len(samples), float(np.mean(samples)), sum(samples), sum(samples), 0, 30_000, 25_000,
        Moment(thermal_status=0), Moment(thermal_status=0),
    )  # fmt: skip


def result(
    *,
    medians_us: Sequence[Sequence[float]] = ((4000.0,) * 6, (2000.0,) * 6),
    pictures: int = 1200,
    noise: float = 0.001,
    instructions: Sequence[Sequence[int]] = (),
    **changes: Any,
) -> BenchResult:
    """Float and INT8 on a made-up phone: labels the float model knows well, INT8 noise away."""
    rng = np.random.default_rng(0)
    labels = rng.uniform(0, 1, pictures)
    before = np.clip(labels + rng.normal(0, 0.05, pictures), 0, 1)
    after = before + rng.normal(0, noise, pictures)
    scores = [tuple(map(float, one)) for one in (before, after)]
    canary = tuple(range(16))
    made = BenchResult(
        schema=1, id="made-up", created="2026-01-01T00:00:00+00:00", source="hardware",
        target="adb:MADEUP", complete=True, tools={"python": "3.11"},
        plan=Plan((Setup(cores="big", cpus=(1,)),), blocks=6, runs=1024, seconds=60.0),
        device=device(), runner=RunnerRecord("native", "4" * 64, "libLiteRt.so 2.3.0", "5" * 64),
        models=(model("float"), model("int8", integer=True)),
        pictures=Pictures(
            DataRecord("faces", "6" * 64, "benchmark", pictures), ("val",) * pictures,
            tuple(map(float, labels)), tuple(index // 4 for index in range(pictures)),
        ),
        max_drop=0.005, canary=canary, device_after=device(),
        host_scores=tuple(
            HostScores(index, "ai-edge-litert 2.3.0", "XNNPACK", one[:16])
            for index, one in enumerate(scores)
        ),
        passes=tuple(
            ScorePass(0, index, one, True, 10.0, "litert") for index, one in enumerate(scores)
        ),
        blocks=tuple(
            block(index, turn, [median * share for share in (0.98, 1.0, 1.02)])
            for index, series in enumerate(medians_us)
            for turn, median in enumerate(series)
        ),
        counts=tuple(
            Count(0, index, tuple(each), {"all": int(np.mean(each))})
            for index, each in enumerate(instructions)
        ),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)

"""Who scores the shards: this process, or the workers of a Ray cluster.

Both run the same `ShardScorer`, so they give the same scores, up to the rounding of another
device or number of threads.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fiqa import errors
from fiqa.contract import Bytes, PreprocessSpec
from fiqa.errors import InputError, MissingDependencyError, ToolkitError
from fiqa.labels import LabelSet
from fiqa.logistic import LogisticFit
from fiqa.progress import Progress
from train.checkpoint import load_checkpoint
from train.data import PictureBank
from train.distributed import pick_device, place
from train.predict import predict
from train.shards import Floats, Shard, write_shard

logger = logging.getLogger(__name__)

RETRIES = 2  # of a shard whose worker died: a picture that kills every worker must not go on so
STORE_BYTES = 512 * 1024**2  # a local Ray moves rows, no pictures


@dataclass(frozen=True)
class ScoringJob:
    """All that a worker needs besides its shard. The folder is read where the worker runs."""

    teacher: Path
    teacher_sha256: str
    mapping: LogisticFit
    device: str


class TeacherScores:
    """A teacher on a device, as a function from pictures to raw scores."""

    def __init__(self, folder: Path, device: str) -> None:
        torch.set_flush_denormal(True)  # dead channels of ImageNet weights are slow without
        network, self.manifest = load_checkpoint(folder)
        self._network = place(network, pick_device(device))

    def __call__(self, labels: LabelSet, progress: Progress | None = None) -> Floats:
        """One raw score a picture; shows `progress` as the pictures are read."""
        spec = self.manifest.preprocess
        bank = _WatchedBank(labels, spec, progress)
        return predict(self._network, bank, spec).scores.astype(np.float64)


class ShardScorer:
    """Loads the teacher once, then scores and writes shards."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._teacher = TeacherScores(job.teacher, job.device)
        found = self._teacher.manifest.sha256
        if found != job.teacher_sha256:
            raise InputError(
                f"{job.teacher} holds {found[:12]}... here",
                expected=f"the teacher {job.teacher_sha256[:12]}... on every machine",
                fix="copy the same checkpoint to all, or use a shared folder",
            )

    def finish(self, shard: Shard, progress: Progress | None = None) -> None:
        write_shard(shard, self._teacher(shard.labels, progress), self._job.mapping)


def run_local(job: ScoringJob, shards: Sequence[Shard], progress: Progress) -> None:
    """One shard after the other, in this process."""
    scorer = ShardScorer(job)
    for shard in shards:
        scorer.finish(shard, progress)


def run_ray(
    job: ScoringJob, shards: Sequence[Shard], progress: Progress, address: str | None = None
) -> None:
    """Ray Data: every worker takes one shard at a time; a dead one costs that shard only."""
    ray = _load_ray()
    # Ray's own words, such as on a worker that died, go to stdout: that is for the result.
    with redirect_stdout(sys.stderr), _ray_session(ray, address):
        workers, resources, device = _share_out(ray, job.device, len(shards))
        logger.info("%d workers on %s", workers, device)
        scored = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        ).map(
            RayWorker,
            fn_constructor_args=(ScoringJob(job.teacher, job.teacher_sha256, job.mapping, device),),
            # One at a time: a shard that waits in a dying worker would lose a retry of its own.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            max_restarts=-1,
            max_task_retries=RETRIES,
            **resources,
        )
        failed = []
        for found in scored.iter_rows():
            if found["error"]:
                failed.append(json.loads(found["error"]))
            else:
                progress.advance(found["count"])
    if failed:
        raise _from_document(failed[0])


class RayWorker:
    """A row of a Ray data set that holds a shard, to one that says how it went."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: ShardScorer | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard: Shard = row["shard"]
        try:
            # Not in __init__: what it raises there, Ray takes for a dead worker and tries again.
            self._scorer = self._scorer or ShardScorer(self._job)
            self._scorer.finish(shard)
        except ToolkitError as error:
            return {"count": 0, "error": json.dumps(error.document())}
        return {"count": len(shard.labels), "error": ""}


class _WatchedBank(PictureBank):
    """Keeps no picture, and tells how many were read."""

    def __init__(self, labels: LabelSet, spec: PreprocessSpec, progress: Progress | None) -> None:
        super().__init__(labels, spec, limit_bytes=0)
        self._progress = progress

    def get(self, indices: NDArray[np.int64]) -> Bytes:
        pictures = super().get(indices)
        if self._progress is not None:
            self._progress.advance(len(indices))
        return pictures


def _load_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry; read when Ray starts
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            "--engine ray needs Ray Data", expected="ray[data]",
            fix="pip install 'fiqa-edge[scale]', or --engine local",
        ) from error  # fmt: skip
    return ray


@contextmanager
def _ray_session(ray: Any, address: str | None) -> Iterator[None]:
    """A running cluster where one is named, else a Ray of our own on this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    own = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address or "local",
            logging_level=logging.WARNING,
            log_to_driver=False,
            **({} if address else own),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ToolkitError(
            f"Ray does not start: {reason}" if not address else f"no Ray at {address}: {reason}",
            expected="a running cluster, or room for a Ray of our own",
            fix="check with `ray status`, or use --engine local",
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # the others go on; what is missing is told at the end
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def _share_out(ray: Any, device: str, shards: int) -> tuple[int, dict[str, int], str]:
    """(workers, what each reserves, their device): one a GPU if there are any, else one a CPU."""
    there = ray.cluster_resources()
    if device == "auto":
        device = "cuda" if there.get("GPU") else "cpu"
    kind = "GPU" if device.startswith("cuda") else "CPU"
    count = int(there.get(kind, 0))
    if not count:
        raise InputError(f"the Ray cluster has no {kind}", expected=f"a {kind} for each worker",
                         fix="--device auto")  # fmt: skip
    resources = {"num_cpus": 1} | ({"num_gpus": 1} if kind == "GPU" else {})
    return min(count, shards), resources, kind.replace("GPU", "cuda").lower()


def _from_document(document: dict[str, str]) -> ToolkitError:
    """The error that a worker met, as its own type again."""
    kind = getattr(errors, document["type"], ToolkitError)
    return kind(document["found"], expected=document["expected"], fix=document["fix"])

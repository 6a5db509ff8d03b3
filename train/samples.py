"""Samples: a clean face, a chain of degradations, a label. Made alone, or as whole sets.

A sample depends on (identity, index, seed) and the picture size, on nothing else. The side of
the person and the index decide the split, and the split the group of kinds.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fiqa.errors import ToolkitError
from fiqa.files import sha256_bytes
from train.clean_faces import Clean, Person, Source, numbers
from train.degrade import GROUPS, Degraded, Group, degrade
from train.degrade_kinds import Image
from train.reference import Measures, compare

OOD_EVERY = 3  # of three pictures of a val or test person, the third is ood
CLEAN_INDEX = 7  # the one picture of each person that stays clean, and so has a score of 1
PORTION = 30  # pictures a worker makes at a time
WORTH_WORKERS = 100  # below, starting processes takes longer than the pictures
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Level 1 with run lengths and one filter: a third of the time of OpenCV's default, as small.
PNG_OPTIONS = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH,
]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A degraded picture with its label, and what it was made from."""

    clean: Clean
    degraded: Degraded
    measures: Measures

    @property
    def image(self) -> Image:
        return self.degraded.image

    @property
    def score(self) -> float:
        return self.measures.score


@dataclass(frozen=True)
class Labelled:
    """One written picture: a row of labels.csv."""

    image: str
    identity: str
    split: str
    steps: str
    measures: Measures
    sha256: str


class PictureSettings(NamedTuple):
    """What all pictures of a set share."""

    seed: int
    size: int


@dataclass(frozen=True)
class Plan:
    """All that decides the content of a set."""

    people: tuple[Person, ...]
    per_person: int
    settings: PictureSettings

    @property
    def count(self) -> int:
        return len(self.people) * self.per_person

    def portions(self) -> list[tuple[Person, range]]:
        """The work in pieces of one person and few pictures, so that a Ctrl-C waits for little."""
        starts = range(0, self.per_person, PORTION)
        return [
            (person, range(start, min(start + PORTION, self.per_person)))
            for person in self.people
            for start in starts
        ]


def make_sample(
    source: Source, identity: str, index: int, seed: int, group: Group, size: int
) -> Sample:
    """Picture `index` of a person, degraded by a chain of `group` and labelled.

    Nothing else enters: not the size of the set, the order, or who computes it.
    """
    clean = source.clean(identity, index, seed, size)
    if index == CLEAN_INDEX:
        degraded = Degraded(clean.image, ())
    else:
        rng = numbers(identity, index, seed, "degrade")
        degraded = degrade(clean.image, clean.face, rng, group)
        while not np.ptp(degraded.image):  # all black: the same picture whoever it shows
            degraded = degrade(clean.image, clean.face, rng, group)
    return Sample(clean, degraded, compare(clean.image, degraded.image, clean.face))


def split_of(side: str, index: int) -> str:
    """The split of picture `index` of a person: val and test people have ood pictures too."""
    return f"{side}_ood" if side != "train" and index % OOD_EVERY == OOD_EVERY - 1 else side


def group_of(split: str) -> Group:
    return next((group for group in GROUPS if group == split), "trained")


def make_portion(
    person: Person, indices: range, settings: PictureSettings, folder: Path
) -> list[Labelled]:
    """Write some pictures of one person under `folder`/images."""
    return [_write_sample(person, index, settings, folder) for index in indices]


def _write_sample(person: Person, index: int, settings: PictureSettings, folder: Path) -> Labelled:
    split = split_of(person.side, index)
    group, (seed, size) = group_of(split), settings
    sample = make_sample(person.source, person.identity, index, seed, group, size)
    name = f"images/{file_stem(person.identity)}_{index:03d}.png"
    encoded = cv2.imencode(".png", cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR), PNG_OPTIONS)[1]
    data = encoded.tobytes()
    (folder / name).write_bytes(data)
    steps = " ".join(map(str, sample.degraded.steps))
    return Labelled(name, person.identity, split, steps, sample.measures, sha256_bytes(data))


def file_stem(identity: str) -> str:
    """A file name that any system can hold, and that two people never share."""
    safe = re.sub(r"[^A-Za-z0-9.-]", "_", identity)[:48]
    if safe == identity and not safe.startswith("."):
        return safe
    return f"p{safe}_{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def make_all(plan: Plan, folder: Path, workers: int) -> Iterator[Labelled]:
    """Write every picture; rows come in the order of people and index at any worker count."""
    (folder / "images").mkdir()
    people, indices = zip(*plan.portions(), strict=True)
    columns = (people, indices, repeat(plan.settings), repeat(folder))
    if plan.count < WORTH_WORKERS:
        yield from chain.from_iterable(map(make_portion, *columns))
        return
    with _pool(workers) as pool:
        with _interrupts_ignored(), _one_blas_thread():  # workers start here
            portions = pool.map(make_portion, *columns)
        yield from chain.from_iterable(portions)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that stop soon after a Ctrl-C or an error: what waits in line is dropped."""
    context = multiprocessing.get_context("spawn")  # fork would copy OpenCV's threads half
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ToolkitError(
            "a worker process died",
            expected="memory for all workers (about 200 MB each)",
            fix="--workers 1",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C for good: the parent ends them, and cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only it gets interrupts
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes started meanwhile do their linear algebra alone.

    Threads that wait for each other over 4 x 4 matrices made drawing five times slower. numpy
    reads these variables once, when it is loaded, so that our own process cannot change.
    """
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _use_one_thread() -> None:
    cv2.setNumThreads(1)  # pictures are small: the work is shared out by people, not by rows

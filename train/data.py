"""Pictures for training: decoded once per stage, mixed from sources, flipped and cropped.

Augmentation never changes quality: every byte that reaches the network is a byte of the
picture's contract bytes, only mirrored or left out at the border.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiqa.contract import Bytes, PreprocessSpec, load_picture
from fiqa.errors import InputError
from fiqa.labels import LabelSet
from fiqa.progress import track

DEFAULT_CACHE_BYTES = 6 * 1024**3
DECODE_THREADS = min(16, os.cpu_count() or 1)


class PictureBank:
    """A label set's pictures as contract bytes: cached up to a limit, else decoded at each use."""

    def __init__(self, labels: LabelSet, spec: PreprocessSpec, limit_bytes: int) -> None:
        self._labels, self._spec = labels, spec
        each = spec.size * spec.size * 3
        self.cached = min(len(labels), max(limit_bytes, 0) // each)
        self._cache = np.empty((self.cached, spec.size, spec.size, 3), np.uint8)
        self._pool = ThreadPoolExecutor(DECODE_THREADS)
        if self.cached:
            decoded = self._pool.map(self._decode, range(self.cached))
            label = f"decoding {labels.name} at {spec.size}"
            for index, picture in enumerate(track(decoded, label, self.cached)):
                self._cache[index] = picture

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._spec.size

    def get(self, indices: NDArray[np.int64]) -> Bytes:
        """(n,) indices to (n, S, S, 3) bytes."""
        if self.cached == len(self):
            return self._cache[indices]
        out = np.empty((len(indices), *self._cache.shape[1:]), np.uint8)
        known = indices < self.cached
        out[known] = self._cache[indices[known]]
        missing = np.flatnonzero(~known)
        for place, picture in zip(
            missing, self._pool.map(self._decode, indices[missing]), strict=True
        ):
            out[place] = picture
        return out

    def _decode(self, index: int) -> Bytes:
        row = self._labels.rows[index]
        picture = load_picture(self._labels.root / row.image)
        return self._spec.to_bytes(picture, row.box, row.crop)


def gather(banks: Sequence[PictureBank], indices: NDArray[np.int64]) -> Bytes:
    """(n,) indices into banks laid end to end, to (n, S, S, 3) bytes."""
    size = banks[0].size
    out = np.empty((len(indices), size, size, 3), np.uint8)
    start = 0
    for bank in banks:
        mine = (indices >= start) & (indices < start + len(bank))
        out[mine] = bank.get(indices[mine] - start)
        start += len(bank)
    return out


@dataclass(frozen=True)
class Augment:
    """What may happen to a training picture. `crop` is the share of the side left out."""

    flip: bool = True
    crop: float = 1 / 16

    def apply(self, pictures: Bytes, rng: np.random.Generator) -> Bytes:
        """(n, S, S, 3) to (n, T, T, 3) with T <= S: mirrored or not, cut at a random place."""
        count, size = pictures.shape[:2]
        kept = size - 2 * round(size * self.crop / 2)
        mirrored = np.less(rng.random((count,)), 0.5 if self.flip else 0.0)
        corners = rng.integers(0, size - kept + 1, (count, 2))
        out = np.empty((count, kept, kept, 3), np.uint8)
        for index, (y, x) in enumerate(corners):
            cut = pictures[index, y : y + kept, x : x + kept]
            out[index] = cut[:, ::-1] if mirrored[index] else cut
        return out


def to_input(pictures: Bytes, spec: PreprocessSpec, device: torch.device) -> Tensor:
    """(n, S, S, 3) bytes to the (n, 3, S, S) channels-last tensor the network reads.

    For a GPU the bytes travel, a quarter of the reals, and are normalised there. For a CPU in
    numpy on purpose: torch operations in the loading thread would start an OpenMP team of its
    own there, which then takes the cores from the training step.
    """
    if device.type == "cpu":
        return torch.from_numpy(spec.normalise(pictures)).permute(0, 3, 1, 2)
    mean, std = torch.tensor([spec.mean, spec.std], device=device)
    return ((torch.from_numpy(pictures).to(device) - mean) / std).permute(0, 3, 1, 2)


def mixed_order(
    counts: Sequence[int], shares: Sequence[float], total: int, epoch: int, seed: int
) -> NDArray[np.int64]:
    """Which pictures an epoch shows: `total` indices into the sources laid end to end.

    Each source fills its share by shuffled passes that go on where the epoch before stopped,
    so that no picture is seen again before all others of its source were.
    """
    offsets = np.concatenate([[0], np.cumsum(counts)])
    wanted = _round_to_total(shares, total)
    parts = [
        offsets[source] + _passes(counts[source], epoch * amount, amount, (seed, source))
        for source, amount in enumerate(wanted)
    ]
    order = np.concatenate(parts)
    np.random.default_rng((seed, 1_000_003, epoch)).shuffle(order)
    return order


def _round_to_total(shares: Sequence[float], total: int) -> list[int]:
    if min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"mixing weights {list(shares)}", expected="weights of zero or more")
    edges = np.round(np.cumsum(shares) / sum(shares) * total).astype(int)
    return list(np.diff(np.concatenate([[0], edges])))


def _passes(count: int, start: int, amount: int, key: tuple[int, int]) -> NDArray[np.int64]:
    """Items `start` to `start + amount` of an endless row of shuffled passes over `count`."""
    parts, at = [np.empty(0, np.int64)], start
    while at < start + amount:
        number, place = divmod(at, count)
        shuffled = np.random.default_rng((*key, number)).permutation(count)
        part = shuffled[place : place + start + amount - at]
        parts.append(part)
        at += len(part)
    return np.concatenate(parts)

"""Open any artifact as pictures -> scores, through whichever runtime is installed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fiqa.contract import Box, Bytes, PreprocessSpec, Reals, Square, load_picture
from fiqa.engines import Engine, open_engine, open_package
from fiqa.errors import ArtifactError, PictureError
from fiqa.first_look import MOST_VALUES, open_foreign
from fiqa.manifest import (
    Manifest,
    TensorSpec,
    artifact_kind,
    manifest_in,
    read_artifact,
    read_manifest,
    split_artifact,
)
from fiqa.mlpackage import is_package

Picture = Path | str | bytes | Image.Image | Bytes

AT_ONCE = 64  # pictures decoded ahead of the model: bounds memory on folders of any length
FREE_BATCH = 16  # batch for models that take any


class Face(NamedTuple):
    """A picture and where its face is; without box and crop the picture is the crop."""

    picture: Picture
    box: Box | None = None
    crop: Square | None = None


class Scored(NamedTuple):
    """A face's score, or why it has none."""

    score: float | None
    error: str = ""


class Scorer:
    """Scores face pictures with an artifact, by the contract inside it.

    >>> Scorer("student_int8.tflite").score(["a.jpg", "b.jpg"])

    Scores are float64, about 0 to 1, higher is better. Boxes and crops of a Face are in pixels of
    the upright picture.

    preprocess: the contract of a foreign artifact; ours carry their own.
    threads: of the runtime.
    """

    def __init__(
        self,
        artifact: Path | str,
        *,
        preprocess: PreprocessSpec | None = None,
        runtime: str = "auto",
        threads: int = 1,
    ) -> None:
        path = Path(artifact)
        self.path = path
        self.manifest: Manifest | None = None
        data = None if is_package(path) else read_artifact(path)
        manifest = _checked_manifest(path, data, needed=preprocess is None)
        if preprocess is None:
            assert manifest is not None
            self.manifest, preprocess = manifest, manifest.preprocess
        self.spec = preprocess
        self._engine = open_model(path, data, manifest, preprocess.size, runtime, threads)
        self.runtime, self.kernels = self._engine.runtime, self._engine.kernels
        self._batch = _batch_of(self._engine.input, self.spec, path)

    @property
    def threshold(self) -> float | None:
        """The score from which a picture is accepted, where the manifest names one."""
        return self.manifest.score.threshold if self.manifest else None

    def score(self, pictures: Iterable[Picture | Face]) -> NDArray[np.float64]:
        """One score a picture, in order. The first picture that fails raises PictureError."""
        scores = []
        for number, result in enumerate(self.score_each(pictures)):
            if result.score is None:
                raise PictureError(
                    f"picture {number}: {result.error}",
                    expected="a picture that can be read, and a model that gives a number for it",
                    fix="leave it out; score_each tells failures and goes on",
                )
            scores.append(result.score)
        return np.array(scores, np.float64)

    def score_each(self, pictures: Iterable[Picture | Face]) -> Iterator[Scored]:
        """One result a picture, in order, as they come; failures are told, not raised."""
        faces = (item if isinstance(item, Face) else Face(item) for item in pictures)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            while chunk := list(islice(faces, AT_ONCE)):
                yield from self._score_chunk(list(pool.map(self._prepare, chunk)))

    def score_bytes(self, data: Bytes) -> NDArray[np.float64]:
        """(N, size, size, 3) contract bytes to N scores."""
        scores = np.empty(len(data), np.float64)
        for start in range(0, len(data), self._batch):
            part = data[start : start + self._batch]
            scores[start : start + len(part)] = self._run(part)
        return scores

    def _prepare(self, face: Face) -> Bytes | str:
        try:
            return self.spec.to_bytes(load_picture(face.picture), face.box, face.crop)
        except PictureError as error:
            return error.found

    def _score_chunk(self, prepared: Sequence[Bytes | str]) -> Iterator[Scored]:
        good = [item for item in prepared if not isinstance(item, str)]
        scores = iter(self.score_bytes(np.stack(good)) if good else ())
        for item in prepared:
            if isinstance(item, str):
                yield Scored(None, item)
                continue
            score = float(next(scores))
            if math.isfinite(score):
                yield Scored(score)
            else:
                yield Scored(None, f"the model gave {score}")

    def _run(self, data: Bytes) -> NDArray[np.float64]:
        """Up to one batch; a fixed batch is filled up with copies of the last picture."""
        tensor = self._engine.input
        missing = self._batch - len(data) if tensor.shape[0] > 0 else 0
        filled = np.concatenate([data, data[-1:].repeat(missing, axis=0)])
        output = self._engine.run(to_tensor(filled, self.spec, tensor))
        scores = from_tensor(output, self._engine.output)
        if scores.shape != (len(filled),):
            raise ArtifactError(
                f"{self.path} gives {output.shape} for {len(filled)} pictures",
                expected="one score a picture",
                fix="export a model with a single output",
            )
        return scores[: len(data)]


def _checked_manifest(path: Path, data: bytes | None, needed: bool) -> Manifest | None:
    """The manifest; its hash is checked before a runtime sees the file. None: a foreign one."""
    if data is None:
        return read_manifest(path) if needed else None
    if not needed and split_artifact(data, path.name)[1] is None:
        return None
    return manifest_in(data, path)


def open_model(
    path: Path, data: bytes | None, manifest: Manifest | None, size: int, runtime: str, threads: int
) -> Engine:
    """At once where a manifest vouches for the bytes, else after a first look at them.

    `data` is None for a package, which its runtime reads itself; `size` is the contract's.
    """
    if data is None:
        return open_package(path, runtime)
    kind = artifact_kind(data, path.name)
    if manifest is None:
        return open_foreign(data, kind, runtime, threads, str(path), size)
    return open_engine(data, kind, runtime, threads, str(path))


def to_tensor(data: Bytes, spec: PreprocessSpec, tensor: TensorSpec) -> NDArray[Any]:
    """(N, S, S, 3) contract bytes to what the input tensor holds."""
    values: NDArray[Any]
    if tensor.dtype == "image" or (tensor.dtype == "uint8" and _offset(spec, tensor) == 0):
        values = data
    elif tensor.dtype == "int8" and _offset(spec, tensor) == 128:
        values = (data ^ 0x80).view(np.int8)  # byte - 128 without arithmetic
    else:
        values = _quantise(spec.normalise(data), tensor)
    if tensor.layout == "NCHW":
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    return values


def from_tensor(output: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float64]:
    """The model's output as real numbers; (N,) where the model gives one number a picture."""
    values = np.atleast_1d(output).astype(np.float64)
    if tensor.scale:
        values = (values - (tensor.zero_point or 0)) * tensor.scale
    return values.reshape(len(values)) if values.size == len(values) else values


def _offset(spec: PreprocessSpec, tensor: TensorSpec) -> float | None:
    """byte - tensor value, where the tensor's steps are the bytes' own steps; else None."""
    offsets = {mean - (tensor.zero_point or 0) for mean in spec.mean}
    unit_steps = all(std * (tensor.scale or 0) == 1 for std in spec.std)
    return offsets.pop() if unit_steps and len(offsets) == 1 else None


def _quantise(reals: Reals, tensor: TensorSpec) -> NDArray[Any]:
    if tensor.dtype == "float32":
        return reals
    if tensor.dtype not in ("int8", "uint8") or not tensor.scale:
        raise ArtifactError(
            f"the input tensor is {tensor.dtype} with scale {tensor.scale}",
            expected="float32, or int8 or uint8 with a scale",
            fix="export it with an input of such a type",
        )
    limits = np.iinfo(tensor.dtype)
    steps = np.round(reals / tensor.scale) + (tensor.zero_point or 0)
    values: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
    return values


def _batch_of(tensor: TensorSpec, spec: PreprocessSpec, path: Path) -> int:
    """How many pictures the model takes at once, after checking that it takes pictures."""
    picture = (spec.size, spec.size, 3)
    wanted = {"NHWC": picture, "NCHW": (3, spec.size, spec.size)}.get(tensor.layout, picture)
    fits = len(tensor.shape) == 4 and all(
        size in (-1, want) for size, want in zip(tensor.shape[1:], wanted, strict=True)
    )
    if not fits:
        raise ArtifactError(
            f"{path} takes {list(tensor.shape)}",
            expected=f"pictures of {spec.size} x {spec.size} as its contract says",
            fix="name the right --preprocess, or export the model again",
        )
    batch = tensor.shape[0] if tensor.shape[0] > 0 else FREE_BATCH
    if batch * math.prod(picture) > max(MOST_VALUES, FREE_BATCH * math.prod(picture)):
        raise ArtifactError(
            f"{path} takes {batch} pictures at once",
            expected=f"at most {MOST_VALUES // math.prod(picture)} of {spec.size} x {spec.size}",
            fix="export it with a smaller batch",
        )
    return batch

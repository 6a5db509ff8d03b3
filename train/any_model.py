"""A checkpoint or an artifact, opened as one thing: a label set in, scores out.

Torch loads for checkpoints only, so that artifacts can be judged where training is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiqa.contract import PreprocessSpec
from fiqa.errors import InputError, PictureError
from fiqa.files import sha256_file
from fiqa.labels import LabelSet
from fiqa.manifest import Manifest
from fiqa.progress import track
from fiqa.runtime import Face, Scorer
from fiqa.vectors import Floats, checked_vector


@dataclass(frozen=True)
class ModelFacts:
    """Which model gave the scores. `sha256` leaves the embedded manifest out."""

    name: str
    kind: str
    sha256: str
    runtime: str


@dataclass(frozen=True)
class AnyModel:
    """`score` gives one finite score a picture, in the order of the set."""

    path: Path
    facts: ModelFacts
    spec: PreprocessSpec
    manifest: Manifest | None  # None: a foreign artifact
    score: Callable[[LabelSet], Floats]


def open_model(
    path: Path,
    *,
    device: str = "auto",
    runtime: str = "auto",
    threads: int = 1,
    preprocess: PreprocessSpec | None = None,
) -> AnyModel:
    """A checkpoint folder, or a file for `fiqa.Scorer`. `preprocess` is for foreign artifacts."""
    if path.is_file():
        return _open_artifact(path, runtime, threads, preprocess)
    if not path.exists():
        raise InputError(
            f"{path} does not exist", expected="a checkpoint folder, a .tflite or a .onnx file"
        )
    if preprocess is not None:
        raise InputError(
            f"--preprocess for {path}, which is a folder",
            expected="a foreign artifact; a checkpoint carries its own contract",
            fix="leave --preprocess out",
        )
    return _open_checkpoint(path, device)


def _open_checkpoint(path: Path, device: str) -> AnyModel:
    import torch

    from train.checkpoint import load_checkpoint
    from train.distributed import pick_device
    from train.predict import predict_set

    network, manifest = load_checkpoint(path)
    place = pick_device(device)
    network.to(place)

    def score(labels: LabelSet) -> Floats:
        found = predict_set(network, manifest.preprocess, labels, f"scoring {labels.name}").scores
        return checked_vector(found, f"scores of {path}")

    facts = ModelFacts(
        manifest.model, "checkpoint", manifest.sha256, f"torch {torch.__version__} on {place.type}"
    )
    return AnyModel(path, facts, manifest.preprocess, manifest, score)


def _open_artifact(
    path: Path, runtime: str, threads: int, preprocess: PreprocessSpec | None
) -> AnyModel:
    scorer = Scorer(path, preprocess=preprocess, runtime=runtime, threads=threads)

    def score(labels: LabelSet) -> Floats:
        faces = (Face(labels.root / row.image, row.box, row.crop) for row in labels.rows)
        results = track(scorer.score_each(faces), f"scoring {labels.name}", len(labels))
        scores = []
        for row, result in zip(labels.rows, results, strict=True):
            if result.score is None:
                raise PictureError(f"{row.image} has no score: {result.error}")
            scores.append(result.score)
        return np.array(scores, np.float64)

    manifest = scorer.manifest
    facts = ModelFacts(
        manifest.model if manifest else path.stem,
        manifest.kind if manifest else path.suffix.lstrip("."),
        manifest.sha256 if manifest else sha256_file(path),
        scorer.runtime,
    )
    return AnyModel(path, facts, scorer.spec, manifest, score)

"""A network's scores and features for a whole label set, on any device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fiqa.contract import PreprocessSpec, Reals
from fiqa.errors import InputError
from fiqa.files import writing
from fiqa.labels import LabelSet
from fiqa.progress import track
from train.data import PictureBank, to_input
from train.network import QualityNet

AT_ONCE = 32


@dataclass(frozen=True)
class Prediction:
    """One score and one feature vector a picture, in the order of the label set."""

    scores: Reals  # (N,)
    features: Reals  # (N, width)


def predict(
    network: QualityNet, bank: PictureBank, spec: PreprocessSpec, label: str = ""
) -> Prediction:
    """Score every picture of a bank, whole and unmirrored. A `label` shows progress."""
    network.eval()
    scores, features = [], []
    batches = _batches(len(bank))
    shown = track(batches, label, -(-len(bank) // AT_ONCE), "batches") if label else batches
    device = next(network.parameters()).device
    with torch.inference_mode():
        for indices in shown:
            found = network.features(to_input(bank.get(indices), spec, device))
            features.append(found.float().cpu().numpy())
            scores.append(network.score(found).float().cpu().numpy())
    return Prediction(np.concatenate(scores), np.concatenate(features))


def predict_set(
    network: QualityNet, spec: PreprocessSpec, labels: LabelSet, label: str = ""
) -> Prediction:
    """The same, decoding each picture once and keeping none."""
    return predict(network, PictureBank(labels, spec, limit_bytes=0), spec, label)


def write_prediction(path: Path, found: Prediction) -> None:
    """Keep answers for another run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, scores=found.scores, features=found.features)


def read_prediction(path: Path, count: int) -> Prediction:
    """Answers that were kept, for a set of `count` pictures."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as kept:
            found = Prediction(kept["scores"], kept["features"])
    except Exception as error:  # numpy, zipfile and zlib raise many kinds on damaged files
        raise _unusable(path, f"cannot be read: {error}", "a file this run may read") from error
    for values, dimensions in ((found.scores, 1), (found.features, 2)):
        if values.ndim != dimensions or values.dtype.kind != "f":
            raise _unusable(path, f"holds {values.dtype} {values.shape}", "scores and features")
    if len(found.scores) != count or len(found.features) != count:
        raise _unusable(path, f"holds {len(found.scores)} answers", f"{count}, one a picture")
    return found


def _unusable(path: Path, what: str, expected: str) -> InputError:
    return InputError(
        f"{path} {what}", expected=expected, fix="delete it; the teacher then looks again"
    )


def _batches(count: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, AT_ONCE):
        yield np.arange(start, min(start + AT_ONCE, count))

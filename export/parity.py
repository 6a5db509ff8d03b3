"""Does the artifact score as its checkpoint does? On pictures, in the real runtime.

At least 64 faces, from a label set where one is given, else drawn and degraded by train.synth's
own means; and noise, plain colours and patterns that no photograph shows. A bound that is not
kept makes the export fail.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fiqa.contract import Bytes, PreprocessSpec, load_picture
from fiqa.labels import LabelSet
from fiqa.manifest import Check
from fiqa.vectors import Floats
from quantize.calibration import spread
from train.data import to_input
from train.network import QualityNet

FACES = 64
DRAWN_SIZE = 160  # pixels
AT_ONCE = 16
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bound:
    """How far scores may lie apart."""

    statistic: Literal["max", "mean"]
    limit: float

    def of(self, differences: Floats) -> float:
        return float(differences.max() if self.statistic == "max" else differences.mean())


BOUNDS = {"fp32": Bound("max", 1e-5), "fp16": Bound("mean", 2e-3)}


def parity_pictures(labels: LabelSet | None, spec: PreprocessSpec) -> Bytes:
    """(N, S, S, 3) contract bytes: faces, then what no camera sees."""
    faces = _drawn_faces(spec) if labels is None else _faces_of(labels, spec)
    return np.concatenate([faces, extremes(spec.size)])


def reference_scores(network: QualityNet, spec: PreprocessSpec, pictures: Bytes) -> Floats:
    """The checkpoint's own scores, on its own normalised input.

    In float64: a steep network would add its own rounding to the artifact's.
    """
    exact = copy.deepcopy(network).double().eval()
    parts = [pictures[at : at + AT_ONCE] for at in range(0, len(pictures), AT_ONCE)]
    with torch.inference_mode():
        return np.concatenate([exact(to_input(part, spec, CPU).double()).numpy() for part in parts])


def parity_check(name: str, scores: Floats, wanted: Floats, precision: str) -> Check:
    """Whether the scores keep the bound of a precision."""
    bound = BOUNDS[precision]
    found = bound.of(np.abs(scores - wanted))
    is_kept = bool(np.isfinite(scores).all()) and found <= bound.limit
    reason = f"{bound.statistic} difference of {len(scores)} pictures"
    return Check(
        f"parity in {name}",
        "passed" if is_kept else "failed",
        reason if np.isfinite(found) else f"{reason} is {found}",
        found if np.isfinite(found) else None,
        bound.limit,
    )


def extremes(size: int) -> Bytes:
    """Noise, black, white, single colours, a checkerboard, a ramp."""
    rng = np.random.default_rng(0)
    plain = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    rows, columns = np.indices((size, size))
    drawn = [np.broadcast_to(colour, (size, size, 3)) for colour in plain]
    drawn += [np.repeat(one[..., None], 3, 2) for one in (
        255 * ((rows + columns) % 2), 255 * columns // max(size - 1, 1),
    )]  # fmt: skip
    noise = rng.integers(0, 256, (4, size, size, 3))
    return np.concatenate([noise, np.stack(drawn)]).astype(np.uint8)


def _faces_of(labels: LabelSet, spec: PreprocessSpec) -> Bytes:
    """FACES pictures spread over the set; all of a small one, and drawn faces beside them."""
    rows = spread(labels, FACES).rows
    faces = np.stack(
        [spec.to_bytes(load_picture(labels.root / r.image), r.box, r.crop) for r in rows]
    )
    missing = FACES - len(faces)
    return np.concatenate([faces, _drawn_faces(spec, missing)]) if missing else faces


def _drawn_faces(spec: PreprocessSpec, count: int = FACES) -> Bytes:
    """Drawn faces, degraded; the last of each person stays clean."""
    from train.clean_faces import drawn_people
    from train.samples import CLEAN_INDEX, make_sample

    each = CLEAN_INDEX + 1
    people = drawn_people(-(-count // each), 0.0, seed=0)
    places = [(person, index) for person in people for index in range(each)][:count]
    made = (
        make_sample(person.source, person.identity, index, 0, "trained", DRAWN_SIZE)
        for person, index in places
    )
    return np.stack([spec.to_bytes(sample.image) for sample in made])

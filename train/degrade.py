"""Random chains of degradations, as a real picture suffers them.

A chain runs in the order of the camera: scene, lens, sensor, processing, compression, upload.
Three groups of kinds exist and no kind stands in two of them: `trained` for training, val and
test; `val_ood` to choose models by; `test_ood` for the published figure. A chain of an ood
group holds at least one kind of that group, alone or amid mild trained ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from train import degrade_kinds as camera
from train import degrade_scene as scene
from train import degrade_unseen as unseen
from train.degrade_kinds import Field, Image, Rng

Group = Literal["trained", "val_ood", "test_ood"]
GROUPS: tuple[Group, ...] = ("trained", "val_ood", "test_ood")


class Stage(IntEnum):
    """Where on its way a picture meets the damage."""

    SCENE = 0
    LIGHT = 1
    LENS = 2
    SENSOR = 3
    PROCESSING = 4
    COMPRESSION = 5
    UPLOAD = 6


@dataclass(frozen=True)
class Kind:
    """One way to damage a picture. `weight`: how often chains take it, against its fellows."""

    apply: Callable[[Image, Field, Rng, float], Image]
    group: Group
    stage: Stage
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.apply.__name__


@dataclass(frozen=True)
class Step:
    kind: str
    severity: float

    def __str__(self) -> str:
        return f"{self.kind}:{self.severity:.2f}"


@dataclass(frozen=True)
class Degraded:
    image: Image
    steps: tuple[Step, ...]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        # The common faults of camera pictures weigh more than the odd ones.
        Kind(scene.occlusion_patch, "trained", Stage.SCENE, 0.8),
        Kind(scene.occlusion_hand, "trained", Stage.SCENE, 0.5),
        Kind(scene.occlusion_mask, "trained", Stage.SCENE, 0.4),
        Kind(scene.occlusion_glasses, "trained", Stage.SCENE, 0.4),
        Kind(scene.occlusion_hair, "trained", Stage.SCENE, 0.5),
        Kind(scene.side_shadow, "trained", Stage.LIGHT, 0.7),
        Kind(scene.cast_shadow, "trained", Stage.LIGHT, 0.5),
        Kind(scene.haze, "trained", Stage.LIGHT, 0.8),
        Kind(camera.defocus_disc, "trained", Stage.LENS, 1.3),
        Kind(camera.defocus_gaussian, "trained", Stage.LENS, 1.3),
        Kind(camera.motion_line, "trained", Stage.LENS, 1.2),
        Kind(camera.motion_shake, "trained", Stage.LENS, 1.2),
        Kind(scene.vignette, "trained", Stage.LENS, 0.4),
        Kind(scene.under_exposure, "trained", Stage.SENSOR, 1.0),
        Kind(scene.over_exposure, "trained", Stage.SENSOR, 1.0),
        Kind(camera.sensor_noise, "trained", Stage.SENSOR, 2.0),
        Kind(camera.chroma_noise, "trained", Stage.SENSOR, 0.7),
        Kind(camera.denoise_smear, "trained", Stage.PROCESSING, 1.0),
        Kind(camera.sharpen_halo, "trained", Stage.PROCESSING, 0.8),
        Kind(scene.low_contrast, "trained", Stage.PROCESSING, 0.8),
        Kind(scene.tone_curve, "trained", Stage.PROCESSING, 0.7),
        Kind(scene.colour_cast, "trained", Stage.PROCESSING, 0.7),
        Kind(scene.saturation, "trained", Stage.PROCESSING, 0.4),
        Kind(camera.resample, "trained", Stage.COMPRESSION, 2.0),
        Kind(camera.jpeg, "trained", Stage.COMPRESSION, 2.2),
        Kind(camera.webp, "trained", Stage.COMPRESSION, 0.7),  # true to life, but 10 x slower
        Kind(camera.second_pass, "trained", Stage.UPLOAD, 1.2),
        Kind(unseen.colour_fringe, "val_ood", Stage.LENS),
        Kind(unseen.zoom_blur, "val_ood", Stage.LENS),
        Kind(unseen.dead_pixels, "val_ood", Stage.SENSOR),
        Kind(unseen.posterise, "val_ood", Stage.PROCESSING),
        Kind(unseen.mosaic, "val_ood", Stage.COMPRESSION),
        Kind(unseen.wavelet_loss, "val_ood", Stage.COMPRESSION),
        Kind(unseen.rain, "test_ood", Stage.SCENE),
        Kind(unseen.glass_warp, "test_ood", Stage.SCENE),
        Kind(unseen.lens_dirt, "test_ood", Stage.LENS),
        Kind(unseen.lens_flare, "test_ood", Stage.LENS),
        Kind(unseen.ghosting, "test_ood", Stage.SENSOR),
        Kind(unseen.row_banding, "test_ood", Stage.SENSOR),
        Kind(unseen.interlace, "test_ood", Stage.PROCESSING),
        Kind(unseen.beauty_median, "test_ood", Stage.PROCESSING),
    )
}

# Shares of chains with 1, 2, ... 5 steps: single faults must be seen alone, few suffer five.
STEP_SHARES = (0.28, 0.29, 0.23, 0.13, 0.07)
OUT_OF_ORDER = 0.15  # share of chains in another order: scanned prints, filmed screens, edits
OOD_ALONE = 0.6  # share of ood chains without trained company
MILD = 0.35  # highest severity of that company


def kinds_of(group: Group) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS.values() if kind.group == group)


def degrade(clean: Image, face: Field, rng: Rng, group: Group) -> Degraded:
    """A random chain of `group` applied to `clean`; everything random comes from `rng`."""
    chain = _trained_chain(rng) if group == "trained" else _ood_chain(rng, group)
    return apply_chain(clean, face, rng, chain)


def apply_chain(clean: Image, face: Field, rng: Rng, chain: tuple[Step, ...]) -> Degraded:
    image = clean
    for step in chain:
        image = KINDS[step.kind].apply(image, face, rng, step.severity)
    return Degraded(np.ascontiguousarray(image), chain)


def _trained_chain(rng: Rng) -> tuple[Step, ...]:
    count = 1 + int(rng.choice(len(STEP_SHARES), p=STEP_SHARES))
    # One level for the whole picture, so that good pictures with several faint faults exist as
    # well as bad ones with a single fault; many steps add up, so each is taken lighter.
    level = rng.uniform(0, 1.15) / count**0.4
    chosen = _choose_kinds(rng, "trained", count)
    severities = np.clip(level * rng.uniform(0.4, 1.4, count), 0, 1)
    return _in_order(rng, chosen, severities)


def _ood_chain(rng: Rng, group: Group) -> tuple[Step, ...]:
    own = _choose_kinds(rng, group, 2 if rng.random() < 0.15 else 1)
    company = (
        [] if rng.random() < OOD_ALONE else _choose_kinds(rng, "trained", int(rng.integers(1, 3)))
    )
    severities = [*rng.uniform(0, 1, len(own)), *rng.uniform(0, MILD, len(company))]
    return _in_order(rng, [*own, *company], np.array(severities))


def _choose_kinds(rng: Rng, group: Group, count: int) -> list[Kind]:
    """`count` different kinds; at most one thing before the face."""
    kinds = kinds_of(group)
    weights = np.array([kind.weight for kind in kinds])
    order = rng.choice(len(kinds), size=len(kinds), replace=False, p=weights / weights.sum())
    chosen: list[Kind] = []
    for index in order:
        kind = kinds[index]
        second_thing = kind.stage is Stage.SCENE and any(k.stage is Stage.SCENE for k in chosen)
        if len(chosen) < count and not second_thing:
            chosen.append(kind)
    return chosen


def _in_order(rng: Rng, kinds: list[Kind], severities: np.ndarray) -> tuple[Step, ...]:
    steps = [
        (kind, Step(kind.name, float(severity)))
        for kind, severity in zip(kinds, severities, strict=True)
    ]
    if rng.random() >= OUT_OF_ORDER:
        steps.sort(key=lambda pair: pair[0].stage)
    return tuple(step for _, step in steps)

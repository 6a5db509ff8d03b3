"""Progressive training as typed values: what each stage shows, and what guards against forgetting.

MSPT (arXiv 2508.07590) trains a light network in three stages, each with a higher resolution and
more diverse data. Its paper's inner settings are not public; every number below is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fiqa.errors import InputError
from train.data import Augment
from train.loop import Fitting

LABELS = "labels"
SIZES = (32, 4096)  # pixels of a picture's side: what networks can be built for
GRID = 16  # pixels: sizes between the first and the last stage are multiples


@dataclass(frozen=True)
class Guards:
    """Against forgetting, beside the moving average of the weights in `Fitting`. Zero is off."""

    replay: float = 0.5  # share of an epoch drawn from the sources of earlier stages
    snapshot: float = 0.5  # weight of staying near the previous stage's scores on replayed data


@dataclass(frozen=True)
class Distillation:
    """How much a student listens to its teacher, where it has one."""

    score: float = 0.5  # 0: labels only, 1: teacher only
    features: float = 0.1  # weight of the cosine loss on pooled features


@dataclass(frozen=True)
class Stage:
    """One stage. `sources` are the data it adds, with their mixing weights."""

    name: str
    size: int  # pixels
    sources: dict[str, float]
    fitting: Fitting
    pictures: int = 0  # an epoch shows so many; 0: each of the stage's own once, and the replay
    augment: Augment = Augment()
    guards: Guards = Guards()
    distillation: Distillation = Distillation()
    rank: float = 0.0  # weight of the pairwise order term

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError(f"stage {self.name} has no sources", expected="at least one")
        if not 0 <= self.guards.replay < 1:
            raise InputError(
                f"stage {self.name} replays a share of {self.guards.replay}",
                expected="0 up to, but not including, 1",
            )


Recipe = Callable[[Sequence[str]], list[Stage]]


@dataclass(frozen=True)
class _Step:
    size: int
    epochs: int
    learning_rate: float
    batch_size: int = 32


def mspt(sources: Sequence[str]) -> list[Stage]:
    """Three stages ending at 640, MSPT's published resolution. For a GPU."""
    return _progressive(
        sources, (_Step(224, 10, 1e-3, 64), _Step(384, 8, 6e-4, 48), _Step(640, 8, 3e-4, 32))
    )


def mspt_fast(sources: Sequence[str]) -> list[Stage]:
    """Three stages ending at 224: an hour of two CPU cores for some thousand pictures."""
    return _progressive(sources, (_Step(128, 8, 1e-3), _Step(160, 6, 7e-4), _Step(224, 6, 4e-4)))


def demo(sources: Sequence[str]) -> list[Stage]:
    """Three short stages ending at 160: minutes on a CPU."""
    return _progressive(sources, (_Step(96, 3, 2e-3), _Step(128, 2, 1.5e-3), _Step(160, 3, 1e-3)))


def one_stage(sources: Sequence[str]) -> list[Stage]:
    """Everything at 224 from the start: what mspt_fast is compared with."""
    return [
        Stage("one@224", 224, dict.fromkeys(sources, 1.0), Fitting(6, 1e-3), guards=Guards(0, 0))
    ]


def plain(sources: Sequence[str]) -> list[Stage]:
    """One stage of five epochs at 160 on everything, no guards, no average: the baseline."""
    return [
        Stage(
            "plain",
            160,
            dict.fromkeys(sources, 1.0),
            Fitting(5, 1e-3, 32, ema_decay=0.0),
            guards=Guards(0, 0),
            distillation=Distillation(0, 0),
        )
    ]


RECIPES: dict[str, Recipe] = {
    recipe.__name__: recipe for recipe in (mspt, mspt_fast, demo, one_stage, plain)
}


def _progressive(sources: Sequence[str], steps: Sequence[_Step]) -> list[Stage]:
    """Each stage adds the next source, while there is one; the last adds all that are left."""
    stages = []
    for number, step in enumerate(steps):
        is_last = number == len(steps) - 1
        added = sources[number:] if is_last else sources[number : number + 1]
        stages.append(
            Stage(
                name=f"stage{number + 1}@{step.size}",
                size=step.size,
                sources=dict.fromkeys(added or sources, 1.0),
                fitting=Fitting(step.epochs, step.learning_rate, step.batch_size),
            )
        )
    return stages


def ending_at(stages: Sequence[Stage], size: int) -> list[Stage]:
    """The same stages at other sizes: all scaled by what brings the last one to `size`."""
    scale = size / stages[-1].size
    return [
        *(
            _resized(stage, max(round(stage.size * scale / GRID), 1) * GRID)
            for stage in stages[:-1]
        ),
        _resized(stages[-1], size),
    ]


def _resized(stage: Stage, size: int) -> Stage:
    return replace(stage, size=size, name=stage.name.replace(f"@{stage.size}", f"@{size}"))


def uncropped(stages: Sequence[Stage], network: str, size: int) -> list[Stage]:
    """The same stages for a network that takes pictures of one size alone: none is cut."""
    other = next((stage for stage in stages if stage.size != size), None)
    if other is not None:
        raise InputError(
            f"{network} is built for {size} x {size} pixels, stage {other.name} shows {other.size}",
            expected="stages of one size, for a network of a fixed size",
            fix="choose a --recipe of one size, or another network",
        )
    return [replace(stage, augment=replace(stage.augment, crop=0.0)) for stage in stages]


def without(stages: Sequence[Stage], guard: str) -> list[Stage]:
    """The same stages with one guard off: replay, snapshot or ema."""
    if guard == "ema":
        return [replace(s, fitting=replace(s.fitting, ema_decay=0.0)) for s in stages]
    return [replace(s, guards=replace(s.guards, **{guard: 0.0})) for s in stages]


GUARDS = ("replay", "snapshot", "ema")

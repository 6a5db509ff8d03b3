"""One stage as a task of the training loop: its data, its targets, its loss, its validation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiqa.contract import PreprocessSpec, Reals
from fiqa.files import sha256_bytes
from fiqa.labels import LabelSet
from fiqa.metrics import challenge_score, plcc, srcc
from train.data import PictureBank, gather, mixed_order, to_input
from train.loop import Batch, TaskMaker
from train.losses import feature_loss, mse, plcc_loss, rank_loss
from train.network import QualityNet
from train.predict import Prediction, predict, predict_set, read_prediction, write_prediction
from train.stages import Stage


@dataclass(frozen=True)
class Teacher:
    """A trained network and how it wants its pictures. It looks at each set once in a run.

    With a folder, once for all runs that share it.
    """

    network: QualityNet
    spec: PreprocessSpec
    sha256: str
    folder: Path | None = None
    _answers: dict[str, Prediction] = field(default_factory=dict)

    def on(self, name: str, labels: LabelSet) -> Prediction:
        """Scores and features of a source, remembered for the stages to come."""
        if name not in self._answers:
            kept = self._kept(labels)
            if kept is not None and kept.exists():
                found = read_prediction(kept, len(labels))
            else:
                found = predict_set(self.network, self.spec, labels, f"teacher on {name}")
                if kept is not None:
                    write_prediction(kept, found)
            self._answers[name] = found
        return self._answers[name]

    def _kept(self, labels: LabelSet) -> Path | None:
        """The file of the answers to this set; its name says whose they are and to what."""
        if self.folder is None:
            return None
        pictures = "\n".join([labels.sha256, *(row.image for row in labels.rows)])
        key = sha256_bytes(f"{self.sha256}\n{pictures}".encode())
        return self.folder / f"{key[:32]}.npz"


@dataclass(frozen=True)
class Study:
    """What all stages of a run share."""

    sources: dict[str, LabelSet]
    validation: dict[str, LabelSet]  # split name: set
    spec: PreprocessSpec  # its size is the stage's
    teacher: Teacher | None = None
    seed: int = 0
    cache_bytes: int = 0


class Learner(nn.Module):
    """The student, and where it imitates features, their projection to the teacher's width."""

    def __init__(self, student: QualityNet, teacher_width: int = 0) -> None:
        super().__init__()
        self.student = student
        self.projection = nn.Linear(student.width, teacher_width) if teacher_width else None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.student.features(pictures)
        projected = self.projection(features) if self.projection is not None else None
        return self.student.score(features), projected


def stage_tasks(stages: Sequence[Stage], study: Study) -> list[TaskMaker]:
    """Makers for the loop: each stage prepares its data when its turn comes."""

    def maker(number: int) -> TaskMaker:
        return lambda learner: StageTask(stages[: number + 1], study, cast(Learner, learner))

    return [maker(number) for number in range(len(stages))]


class StageTask:
    """The last of `stages`; the earlier ones say what is replayed and at which size."""

    def __init__(self, stages: Sequence[Stage], study: Study, learner: Learner) -> None:
        self.stage, self.study = stages[-1], study
        self.name, self.fitting = self.stage.name, self.stage.fitting
        self.spec = dataclasses.replace(study.spec, size=self.stage.size)
        self.device = next(learner.parameters()).device
        self.shares = _shares(stages)
        sets = {name: study.sources[name] for name in self.shares}
        pictures = sum(map(len, [*sets.values(), *study.validation.values()]))
        self.banks = {name: self._bank(labels, pictures) for name, labels in sets.items()}
        self.validation = {
            name: (labels.scores, self._bank(labels, pictures))
            for name, labels in study.validation.items()
        }
        self.targets = self._targets(sets)
        if len(stages) > 1 and self.stage.guards.snapshot:
            self._add_snapshot(learner.student, stages[-2].size, sets)

    def order(self, epoch: int) -> NDArray[np.int64]:
        own = sum(len(self.study.sources[name]) for name in self.stage.sources)
        own_share = sum(self.shares[name] for name in self.stage.sources)
        counts = [len(bank) for bank in self.banks.values()]
        total = self.stage.pictures or round(own / own_share)
        return mixed_order(counts, list(self.shares.values()), total, epoch, self.study.seed)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        pictures = self.stage.augment.apply(gather(list(self.banks.values()), indices), rng)
        targets = {name: torch.from_numpy(all_[indices]) for name, all_ in self.targets.items()}
        return Batch(to_input(pictures, self.spec, self.device), targets)

    def loss(self, learner: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        scores, projected = learner(batch.pictures)
        targets, wanted = batch.targets, self.stage.distillation
        weights = targets["weight"]
        share = wanted.score if "teacher" in targets else 0.0
        parts = {"label": self._score_loss(scores, targets["label"], weights)}
        loss = (1 - share) * parts["label"]
        if share:
            parts["teacher"] = self._score_loss(scores, targets["teacher"], weights)
            loss = loss + share * parts["teacher"]
        if projected is not None:
            parts["features"] = feature_loss(projected, targets["features"])
            loss = loss + wanted.features * parts["features"]
        if "snapshot" in targets and bool((targets["replayed"] > 0).any()):
            parts["snapshot"] = mse(scores, targets["snapshot"], targets["replayed"])
            loss = loss + self.stage.guards.snapshot * parts["snapshot"]
        return loss, parts

    def validate(self, learner: nn.Module) -> dict[str, float]:
        """SRCC and PLCC a validation set; "score" is the mean of their challenge scores."""
        student = cast(Learner, learner).student
        figures, scores = {}, []
        for name, (labels, bank) in self.validation.items():
            found = predict(student, bank, self.spec).scores
            if not found.std():  # before the first step a head may give one constant
                found = found + np.arange(len(found)) * 1e-12
            figures[f"{name}_srcc"] = srcc(found, labels)
            figures[f"{name}_plcc"] = plcc(found, labels)
            scores.append(challenge_score(found, labels))
        return {"score": float(np.mean(scores))} | figures

    def _score_loss(self, scores: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
        loss = mse(scores, wanted, weights) + plcc_loss(scores, wanted, weights)
        if self.stage.rank:
            loss = loss + self.stage.rank * rank_loss(scores, wanted, weights)
        return loss

    def _bank(self, labels: LabelSet, pictures: int) -> PictureBank:
        """Each set gets its part of the memory limit, by its number of pictures."""
        limit = self.study.cache_bytes * len(labels) // max(pictures, 1)
        return PictureBank(labels, self.spec, limit)

    def _targets(self, sets: dict[str, LabelSet]) -> dict[str, Reals]:
        """What each picture should score, one row a picture, all sources end to end."""
        labels = np.concatenate([labels.scores for labels in sets.values()])
        weights = [row.weight for labels in sets.values() for row in labels.rows]
        targets = {"label": labels.astype(np.float32), "weight": np.array(weights, np.float32)}
        wanted, teacher = self.stage.distillation, self.study.teacher
        if teacher is not None and (wanted.score or wanted.features):
            found = [teacher.on(name, labels) for name, labels in sets.items()]
            if wanted.score:
                targets["teacher"] = np.concatenate([one.scores for one in found])
            if wanted.features:
                targets["features"] = np.concatenate([one.features for one in found])
        return targets

    def _add_snapshot(self, student: QualityNet, size: int, sets: dict[str, LabelSet]) -> None:
        """The previous stage's scores, at its own size, for the pictures that are replayed."""
        snapshot, spec = copy.deepcopy(student), dataclasses.replace(self.spec, size=size)
        scores, replayed = [], []
        for name, labels in sets.items():
            if name in self.stage.sources:
                scores.append(np.zeros(len(labels), np.float32))
            else:
                scores.append(predict_set(snapshot, spec, labels, f"snapshot on {name}").scores)
            replayed.append(np.full(len(labels), name not in self.stage.sources, np.float32))
        self.targets["snapshot"] = np.concatenate(scores)
        self.targets["replayed"] = np.concatenate(replayed)


def _shares(stages: Sequence[Stage]) -> dict[str, float]:
    """Mixing weights of an epoch: the stage's own sources, and its replay of earlier ones."""
    stage = stages[-1]
    earlier = {name for before in stages[:-1] for name in before.sources} - set(stage.sources)
    replay = stage.guards.replay if earlier else 0.0
    own = sum(stage.sources.values())
    shares = {name: (1 - replay) * weight / own for name, weight in stage.sources.items()}
    return shares | ({name: replay / len(earlier) for name in sorted(earlier)} if replay else {})

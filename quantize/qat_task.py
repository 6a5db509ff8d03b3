"""Learning integers as a task of the training loop: pictures in, the float scores to imitate."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fiqa.labels import LabelSet
from quantize.calibration import read_pictures, spread
from quantize.deployable import BYTE_CENTRE, Deployable
from quantize.simulation import Walk, batches, scores_of
from train.data import DEFAULT_CACHE_BYTES, Augment, PictureBank, gather, mixed_order
from train.loop import Batch, Fitting
from train.losses import mse, plcc_loss

MIRRORED = Augment(crop=0.0)  # the graph has one size
CHOSEN_ON = 1000  # pictures of a validation set: agreement needs no more


class IntegerTask:
    """Bring the scores of simulated integers to those of the float graph, on the same pictures."""

    name = "integers"

    def __init__(
        self,
        deployable: Deployable,
        sources: Mapping[str, LabelSet],
        validation: Mapping[str, LabelSet],
        fitting: Fitting,
        pictures: int,
        seed: int,
    ) -> None:
        self.fitting, self.pictures, self.seed = fitting, pictures, seed
        self.float_graph = copy.deepcopy(deployable.module)
        each = DEFAULT_CACHE_BYTES // len(sources)
        self.banks = [PictureBank(one, deployable.spec, each) for one in sources.values()]
        self.validation = {
            name: read_pictures(spread(labels, CHOSEN_ON), deployable.spec)
            for name, labels in validation.items()
        }
        self.wanted = {
            name: scores_of(self.float_graph, seen) for name, seen in self.validation.items()
        }

    def order(self, epoch: int) -> NDArray[np.int64]:
        counts = [len(bank) for bank in self.banks]
        return mixed_order(counts, counts, self.pictures or sum(counts), epoch, self.seed)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        seen = MIRRORED.apply(gather(self.banks, indices), rng)
        return Batch(torch.from_numpy(seen.astype(np.float32) - BYTE_CENTRE), {})

    def loss(self, learner: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seen = batch.pictures
        with torch.autocast(seen.device.type, enabled=False):  # 8 bits are few enough
            with torch.no_grad():
                wanted = Walk().run(self.float_graph.to(seen.device), seen)
            scores = learner(seen)
        alike = torch.ones_like(scores)
        parts = {"mse": mse(scores, wanted, alike), "plcc": plcc_loss(scores, wanted, alike)}
        return parts["mse"] + parts["plcc"], parts

    def validate(self, learner: nn.Module) -> dict[str, float]:
        """How far scores lie from the float ones on average; "score" is the negative mean."""
        shifts, device = {}, next(learner.parameters()).device
        for name, seen in self.validation.items():
            found = torch.cat([learner(part.to(device)).cpu() for part in batches(seen)])
            shifts[f"{name}_shift"] = float((found - self.wanted[name]).abs().mean())
        return {"score": -float(np.mean(list(shifts.values())))} | shifts

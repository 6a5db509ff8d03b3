"""Losses of score regression: squared error, correlation and order, each a plain function."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6  # below it a batch counts as constant, and correlation says nothing
RANK_MARGIN = 0.02  # label differences smaller than this are not worth an order


def mse(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared error."""
    return (weights * (scores - labels) ** 2).sum() / weights.sum()


def plcc_loss(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """(1 - weighted Pearson correlation) / 2 within the batch: 0 perfect, 1 reversed."""
    share = weights / weights.sum()
    a = scores - (share * scores).sum()
    b = labels - (share * labels).sum()
    power = (share * a * a).sum() * (share * b * b).sum()
    return (1 - (share * a * b).sum() / torch.sqrt(power + EPSILON**2)) / 2


def rank_loss(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """How far pairs stand in the wrong order, or nearer than their labels do."""
    label_gap = labels[:, None] - labels[None, :]
    score_gap = scores[:, None] - scores[None, :]
    clear = (label_gap > RANK_MARGIN).to(scores.dtype) * weights[:, None] * weights[None, :]
    hinge = torch.relu(label_gap - score_gap)
    return (clear * hinge).sum() / clear.sum().clamp_min(EPSILON)


def feature_loss(features: Tensor, targets: Tensor) -> Tensor:
    """1 - cosine between projected student features and the teacher's, averaged."""
    return 1 - torch.cosine_similarity(features, targets, dim=1).mean()

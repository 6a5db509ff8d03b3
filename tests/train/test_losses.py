"""Losses against their definitions in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.losses import feature_loss, mse, plcc_loss, rank_loss

RNG = np.random.default_rng(0)
SCORES, LABELS = (torch.tensor(RNG.random(20)) for _ in range(2))
ONES = torch.ones(20, dtype=torch.float64)


def test_mse_is_weighted() -> None:
    weights = torch.tensor([1.0, 3.0])
    assert float(mse(torch.tensor([1.0, 0.0]), torch.zeros(2), weights)) == 0.25


def test_plcc_loss_is_half_of_one_minus_pearson() -> None:
    pearson = np.corrcoef(SCORES, LABELS)[0, 1]
    assert float(plcc_loss(SCORES, LABELS, ONES)) == pytest.approx((1 - pearson) / 2, abs=1e-6)
    assert float(plcc_loss(LABELS * 2 + 1, LABELS, ONES)) == pytest.approx(0, abs=1e-6)
    assert float(plcc_loss(-LABELS, LABELS, ONES)) == pytest.approx(1, abs=1e-6)


def test_plcc_loss_of_a_constant_batch_has_finite_gradient() -> None:
    scores = torch.full((4,), 0.5, requires_grad=True)
    plcc_loss(scores, torch.rand(4), torch.ones(4)).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_weight_of_two_equals_the_picture_twice() -> None:
    weights = torch.tensor([2.0, 1.0, 1.0])
    a, b = torch.tensor([0.1, 0.5, 0.7]), torch.tensor([0.3, 0.2, 0.9])
    twice = plcc_loss(a[[0, 0, 1, 2]], b[[0, 0, 1, 2]], torch.ones(4))
    assert float(plcc_loss(a, b, weights)) == pytest.approx(float(twice), abs=1e-6)


def test_rank_loss_is_zero_in_order_and_positive_out_of_it() -> None:
    labels = torch.tensor([0.1, 0.5, 0.9])
    assert float(rank_loss(labels, labels, torch.ones(3))) == 0
    assert float(rank_loss(labels.flip(0), labels, torch.ones(3))) > 0.5


def test_feature_loss_ignores_length_and_sees_direction() -> None:
    features = torch.randn(4, 8)
    assert float(feature_loss(features * 3, features)) == pytest.approx(0, abs=1e-6)
    assert float(feature_loss(-features, features)) == pytest.approx(2, abs=1e-6)

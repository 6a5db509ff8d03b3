"""Training data: what augmentation may do, how sources are mixed, what the cache holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fiqa.contract import PreprocessSpec, load_picture
from fiqa.errors import InputError, PictureError
from fiqa.labels import LabelSet, read_labels
from train.data import Augment, PictureBank, mixed_order, to_input

SPEC = PreprocessSpec(size=16)


@pytest.fixture
def labels(tmp_path: Path) -> LabelSet:
    rng = np.random.default_rng(0)
    for number in range(9):
        pixels = rng.integers(0, 255, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return read_labels(tmp_path, scored=False)


def test_augmentation_only_mirrors_and_leaves_out_the_border() -> None:
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 255, (40, 32, 32, 3), np.uint8)
    augmented = Augment().apply(pictures, rng)
    assert augmented.shape == (40, 30, 30, 3)
    for before, after in zip(pictures, augmented, strict=True):
        cuts = [before[y : y + 30, x : x + 30] for y in range(3) for x in range(3)]
        assert any((cut == after).all() or (cut[:, ::-1] == after).all() for cut in cuts)


def test_augmentation_mirrors_half_and_can_be_turned_off() -> None:
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    picture[:, :, :4] = 255
    many = picture.repeat(400, axis=0)
    mirrored = Augment(crop=0).apply(many, np.random.default_rng(0))[:, 0, 0, 0] == 0
    assert 150 < mirrored.sum() < 250
    still = Augment(flip=False, crop=0).apply(many, np.random.default_rng(0))
    np.testing.assert_array_equal(still, many)


@pytest.mark.parametrize("cached", [0, 4, 100])
def test_bank_gives_contract_bytes_whatever_fits_into_memory(labels: LabelSet, cached: int) -> None:
    bank = PictureBank(labels, SPEC, cached * 16 * 16 * 3)
    assert bank.cached == min(cached, 9)
    indices = np.array([8, 0, 5, 5])
    expected = [SPEC.to_bytes(load_picture(labels.paths[index])) for index in indices]
    np.testing.assert_array_equal(bank.get(indices), np.stack(expected))


def test_picture_that_vanishes_in_the_middle_is_named(labels: LabelSet) -> None:
    bank = PictureBank(labels, SPEC, 0)
    labels.paths[3].unlink()
    with pytest.raises(PictureError, match=r"3\.png does not exist"):
        bank.get(np.array([2, 3]))


def test_input_is_normalised_and_channels_last() -> None:
    pictures = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    tensor = to_input(pictures, SPEC, torch.device("cpu"))
    assert tensor.shape == (2, 3, 4, 4)
    assert tensor[1, 2, 3, 0] == (pictures[1, 3, 0, 2] - 128.0) / 128.0
    assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
def test_a_gpu_gets_bytes_and_normalises_them_to_the_same_input() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    there = to_input(pictures, SPEC, torch.device("cuda"))
    assert there.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(there.cpu(), to_input(pictures, SPEC, torch.device("cpu")))


def test_sources_fill_their_shares_of_an_epoch() -> None:
    order = mixed_order([100, 50], [0.75, 0.25], 80, epoch=0, seed=1)
    assert len(order) == 80
    assert (order < 100).sum() == 60
    assert order.max() < 150


def test_no_picture_comes_again_before_all_others_of_its_source() -> None:
    orders = [mixed_order([30, 7], [0.5, 0.5], 20, epoch, seed=1) for epoch in range(12)]
    seen = np.concatenate(orders)
    counts = Counter(seen.tolist())
    first = [counts[index] for index in range(30)]
    second = [counts[index] for index in range(30, 37)]
    assert max(first) - min(first) <= 1
    assert max(second) - min(second) <= 1
    assert not np.array_equal(orders[0], orders[1])


def test_order_depends_on_seed_and_epoch_only() -> None:
    first = mixed_order([30], [1.0], 20, 3, seed=1)
    np.testing.assert_array_equal(first, mixed_order([30], [1.0], 20, 3, seed=1))
    assert not np.array_equal(first, mixed_order([30], [1.0], 20, 3, seed=2))


def test_senseless_mixing_weights_are_refused() -> None:
    with pytest.raises(InputError, match="mixing weights"):
        mixed_order([3, 3], [-1.0, 1.0], 4, 0, 0)

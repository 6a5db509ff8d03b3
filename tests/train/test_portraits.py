"""Drawn portraits: reproducible, well formed, varied and sharp."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from train.portrait_parts import noise_banks
from train.portrait_traits import make_person
from train.portraits import Portrait, _person, _shot_numbers, _trait_numbers, draw_portrait

IDENTITIES = 50
SIDE = 160


@pytest.fixture(scope="module")
def crowd() -> list[Portrait]:
    return [draw_portrait(identity, 0, seed=7) for identity in range(IDENTITIES)]


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)


def laplacian_variance(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(grey(picture), cv2.CV_32F).var())


def skin_colour(portrait: Portrait) -> np.ndarray:
    """Median colour where the picture is surely face."""
    return np.median(portrait.image[portrait.face > 0.95], axis=0)


def corner_colour(portrait: Portrait) -> np.ndarray:
    """Mean colour of the two top corners, which show the background."""
    side = portrait.image.shape[0] // 8
    top = portrait.image[:side].astype(np.float32)
    return (top[:, :side].mean((0, 1)) + top[:, -side:].mean((0, 1))) / 2


def distances(colours: list[np.ndarray]) -> np.ndarray:
    return np.array([np.linalg.norm(a - b) for a, b in combinations(colours, 2)])


def slope_of_spectrum(picture: np.ndarray) -> float:
    """Exponent of the radially averaged power spectrum, from 4 cycles to 0.45 of the sampling."""
    y = grey(picture)
    side = y.shape[0]
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fftshift(np.fft.fft2((y - y.mean()) * window))) ** 2
    row, column = np.mgrid[:side, :side] - side // 2
    ring = np.hypot(row, column).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    rings = np.arange(4, int(0.45 * side))
    return float(np.polyfit(np.log(rings), np.log(mean[rings]), 1)[0])


def test_same_arguments_give_the_same_bytes_in_any_order() -> None:
    calls = [(3, 0, 1), (4, 0, 1), (3, 1, 1), (3, 0, 2)]
    forwards = {call: draw_portrait(*call, size=128) for call in calls}
    _person.cache_clear()
    noise_banks.cache_clear()
    backwards = {call: draw_portrait(*call, size=128) for call in reversed(calls)}
    for call in calls:
        assert forwards[call].image.tobytes() == backwards[call].image.tobytes()
        assert forwards[call].face.tobytes() == backwards[call].face.tobytes()


@pytest.mark.parametrize("other", [(6, 0, 1), (5, 1, 1), (5, 0, 2)])
def test_another_identity_index_or_seed_gives_another_picture(other: tuple[int, int, int]) -> None:
    first = draw_portrait(5, 0, 1).image.astype(np.float32)
    assert np.abs(first - draw_portrait(*other).image).mean() > 8


def test_another_seed_gives_another_person_under_the_same_number() -> None:
    skins = [make_person(_trait_numbers(5, seed)).skin for seed in range(6)]
    assert np.ptp(skins, axis=0).max() > 30


def test_a_person_and_their_first_picture_draw_independent_numbers() -> None:
    """SeedSequence([a, b]) equals SeedSequence([a, b, 0]): skin would decide the pose."""
    assert _trait_numbers(4, 1).random() != _shot_numbers(4, 0, 1).random()
    traits = [make_person(_trait_numbers(i, 1)).skin.mean() for i in range(200)]
    first = [_shot_numbers(i, 0, 1).random() for i in range(200)]
    assert abs(np.corrcoef(traits, first)[0, 1]) < 0.3


@pytest.mark.parametrize("size", [96, 160, 225, 512])
def test_picture_and_mask_have_the_promised_form(size: int) -> None:
    portrait = draw_portrait(11, 2, seed=3, size=size)
    assert portrait.image.shape == (size, size, 3)
    assert portrait.image.dtype == np.uint8
    assert portrait.face.shape == (size, size)
    assert portrait.face.dtype == np.float32
    assert portrait.face.min() == 0
    assert 0.99 <= portrait.face.max() <= 1


@pytest.mark.parametrize("size", [95, 513])
def test_size_outside_the_range_is_refused_with_the_range(size: int) -> None:
    with pytest.raises(ValueError, match=r"96\.\.512"):
        draw_portrait(0, 0, 0, size=size)


def test_sizes_show_the_same_scene() -> None:
    small, large = (draw_portrait(12, 0, 3, size).face for size in (128, 384))
    shrunk = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk - small).mean() < 0.06


def test_mask_covers_a_plausible_centred_part(crowd: list[Portrait]) -> None:
    for portrait in crowd:
        share = portrait.face.mean()
        assert 0.12 < share < 0.45
        row, column = np.mgrid[:SIDE, :SIDE] / SIDE
        weight = portrait.face / portrait.face.sum()
        assert abs((row * weight).sum() - 0.5) < 0.12
        assert abs((column * weight).sum() - 0.5) < 0.12


def test_people_and_their_surroundings_differ(crowd: list[Portrait]) -> None:
    skin = distances([skin_colour(p) for p in crowd])
    backs = distances([corner_colour(p) for p in crowd])
    assert np.median(skin) > 40
    assert np.median(backs) > 60
    shapes = np.stack([p.face for p in crowd])
    assert shapes.std(0).max() > 0.35


def test_one_person_looks_more_alike_than_two(crowd: list[Portrait]) -> None:
    """Light changes the skin's brightness; which skin it is shows in the ratio of the channels."""

    def tone(portrait: Portrait) -> np.ndarray:
        colour = skin_colour(portrait) + 1
        return np.array([np.log(colour.mean()), np.log(colour[0] / colour[2])])

    same, others = [], [tone(p) for p in crowd]
    for identity in range(8):
        pictures = [draw_portrait(identity, index, seed=7) for index in range(6)]
        coloured = [p for p in pictures if np.ptp(p.image, axis=2).max() > 0]
        same.append(np.std([tone(p) for p in coloured], axis=0))
    assert (np.mean(same, axis=0) < 0.75 * np.std(others, axis=0)).all()


def test_every_source_is_sharp(crowd: list[Portrait]) -> None:
    # Of 300 real portraits at this size, two in a hundred have less than about 149.
    assert min(laplacian_variance(p.image) for p in crowd) > 75


def test_sources_differ_in_detail_so_that_detail_alone_is_no_label(crowd: list[Portrait]) -> None:
    detail = [laplacian_variance(p.image) for p in crowd]
    assert np.quantile(detail, 0.9) > 3 * np.quantile(detail, 0.1)


def test_statistics_are_those_of_photographs(crowd: list[Portrait]) -> None:
    """Bounds around 300 real portraits: mean 121, deviation 43, slope -3.15 (medians)."""
    values = [grey(p.image) for p in crowd]
    assert 95 < np.median([v.mean() for v in values]) < 140
    assert 35 < np.median([v.std() for v in values]) < 60
    assert -3.5 < np.median([slope_of_spectrum(p.image) for p in crowd]) < -2.8
    assert 150 < np.median([laplacian_variance(p.image) for p in crowd]) < 700

"""The measures against slow, independent definitions, and against what the eye says."""

import cv2
import numpy as np
import pytest

from train.clean_faces import face_ellipse
from train.reference import BACKGROUND, EYE_NOISE, FLAT, POWERS, Measures, compare

SIZE = 96


@pytest.fixture(scope="module")
def face():
    return face_ellipse(SIZE)


@pytest.fixture(scope="module")
def clean():
    """Something with edges, texture, flat parts and colour at several scales."""
    rng = np.random.default_rng(3)
    coarse = cv2.resize(rng.uniform(40, 210, (8, 8, 3)).astype(np.float32), (SIZE, SIZE))
    texture = cv2.GaussianBlur(rng.normal(0, 40, (SIZE, SIZE, 1)).astype(np.float32), (0, 0), 1.0)
    picture = coarse + texture[..., None]
    picture[30:60, 20:40] = (180, 120, 90)
    picture[50:56, 40:70] = 20
    return np.clip(picture, 0, 255).astype(np.uint8)


def blurred(image, sigma):
    return cv2.GaussianBlur(image, (0, 0), sigma)


def noisy(image, sigma):
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compressed(image, quality):
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


# --- slow definitions, in float64, pixel by pixel or scale by scale ---------------------------


def luma(image):
    return image.astype(np.float64) @ [0.299, 0.587, 0.114]


def halved(plane):
    height, width = (side // 2 * 2 for side in plane.shape)
    return plane[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def window():
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel = np.outer(axis, axis)
    return kernel / kernel.sum()


def local_statistics(x, y):
    """Mean, variance and covariance under the window of every pixel."""
    kernel = window()
    tall, wide = x.shape
    patches = [
        np.lib.stride_tricks.sliding_window_view(np.pad(plane, 5, mode="reflect"), (11, 11))
        for plane in (x, y)
    ]
    out = np.empty((5, tall, wide))
    for row in range(tall):
        for column in range(wide):
            a, b = patches[0][row, column], patches[1][row, column]
            mean_a, mean_b = (kernel * a).sum(), (kernel * b).sum()
            out[:, row, column] = (
                mean_a,
                mean_b,
                (kernel * (a - mean_a) ** 2).sum(),
                (kernel * (b - mean_b) ** 2).sum(),
                (kernel * (a - mean_a) * (b - mean_b)).sum(),
            )
    return out


def slow_measures(clean, degraded, face):
    x, y = luma(clean), luma(degraded)
    weight = BACKGROUND + (1 - BACKGROUND) * face.astype(np.float64)
    c1, c2 = 6.5025, 58.5225
    structures, kept, there = [], 0.0, 0.0
    for scale in range(4):
        mean_x, mean_y, var_x, var_y, cov = local_statistics(x, y)
        known = np.log(1 + var_x / EYE_NOISE)
        pooling = weight * (FLAT + known) / (weight * (FLAT + known)).sum()
        light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        structure = (2 * cov + c2) / (var_x + var_y + c2)
        structures.append((structure * pooling).sum())
        if scale == 0:
            ssim = (light * structure * pooling).sum()
        if scale == 1:
            gradient, gmsd = slow_gradient(x, y, pooling)
        gain = np.maximum(cov, 0) / np.maximum(var_x, 1e-6)
        noise = np.maximum(var_y - gain * cov, 0)
        kept += (weight * np.log(1 + gain**2 * var_x / (noise + EYE_NOISE))).sum()
        there += (weight * known).sum()
        coarsest_light = (light * pooling).sum()
        x, y, weight = halved(x), halved(y), halved(weight)
    powers = np.array([0.0448, 0.2856, 0.3001, 0.2363])
    powers /= powers.sum()
    ms_ssim = coarsest_light ** powers[-1] * np.prod(np.array(structures) ** powers)
    return {"ssim": ssim, "ms_ssim": ms_ssim, "vif": kept / there} | {
        "gradient": gradient,
        "gmsd": gmsd,
    }


def slow_gradient(x, y, pooling):
    magnitudes = []
    for plane in (x, y):
        padded = np.pad(plane, 1, mode="reflect")
        rows = padded[:-2] + padded[1:-1] + padded[2:]
        columns = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        across = (rows[:, 2:] - rows[:, :-2]) / 3
        down = (columns[2:] - columns[:-2]) / 3
        magnitudes.append(np.sqrt(across**2 + down**2))
    a, b = magnitudes
    similarity = (2 * a * b + 170) / (a**2 + b**2 + 170)
    mean = (similarity * pooling).sum()
    deviation = np.sqrt(((similarity - mean) ** 2 * pooling).sum())
    return 1 - np.sqrt(((similarity - 1) ** 2 * pooling).sum()), deviation


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda image: blurred(image, 1.4), id="blur"),
        pytest.param(lambda image: noisy(image, 15), id="noise"),
        pytest.param(lambda image: compressed(image, 20), id="jpeg"),
    ],
)
def test_measures_agree_with_slow_definitions(clean, face, damage):
    degraded = damage(clean)
    fast = compare(clean, degraded, face)
    for name, wanted in slow_measures(clean, degraded, face).items():
        assert getattr(fast, name) == pytest.approx(wanted, abs=2e-4), name


# --- what the eye says ------------------------------------------------------------------------


def test_identical_picture_has_every_measure_at_its_best(clean, face):
    measures = compare(clean, clean, face)
    assert measures.score == pytest.approx(1, abs=1e-5)
    assert measures.gmsd == pytest.approx(0, abs=1e-3)


def test_destroyed_pictures_score_near_zero(clean, face):
    rng = np.random.default_rng(0)
    for ruin in (
        np.zeros_like(clean),
        np.full_like(clean, 255),
        rng.integers(0, 256, clean.shape, dtype=np.uint8),
        blurred(clean, 25),
    ):
        assert compare(clean, ruin, face).score < 0.06


@pytest.mark.parametrize(
    ("damage", "amounts"),
    [
        (blurred, (0.4, 0.7, 1.2, 2, 4, 8)),
        (noisy, (1, 3, 8, 20, 50, 100)),
        (compressed, (98, 85, 60, 30, 12, 4)),
    ],
)
def test_score_and_each_measure_fall_with_the_damage(clean, face, damage, amounts):
    measured = [compare(clean, damage(clean, amount), face) for amount in amounts]
    for name in ("score", "ssim", "ms_ssim", "vif", "gradient"):
        values = [getattr(measures, name) for measures in measured]
        assert values == sorted(values, reverse=True), name
    assert measured[0].score > 0.85
    assert measured[-1].score < 0.35


def test_score_rises_with_every_measure_that_enters_it():
    values = dict.fromkeys(["ssim", "ms_ssim", "vif", "gradient", "colour", "gmsd"], 0.5)
    middle = Measures(**values).score
    for name in POWERS:
        assert Measures(**values | {name: 0.6}).score > middle
        assert Measures(**values | {name: 0.0}).score == 0


def test_damage_on_the_face_costs_more_than_beside_it(clean, face):
    on_face, beside = clean.copy(), clean.copy()
    on_face[40:56, 40:56] = 255
    beside[0:16, 0:16] = 255
    assert compare(clean, on_face, face).score < compare(clean, beside, face).score - 0.05


def test_colour_counts_where_brightness_stays_the_same(clean, face):
    ycc = cv2.cvtColor(clean, cv2.COLOR_RGB2YCrCb).astype(np.int16)
    ycc[..., 1] += 25
    cast = cv2.cvtColor(np.clip(ycc, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)
    measures = compare(clean, cast, face)
    assert measures.ssim > 0.9
    assert measures.colour == pytest.approx(np.exp(-25 / 30), abs=0.06)


def test_large_pictures_are_measured_at_the_size_of_small_ones(clean):
    large = cv2.resize(clean, (480, 480), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(large, (160, 160), interpolation=cv2.INTER_AREA)
    at_large = compare(large, blurred(large, 6), face_ellipse(480)).score
    at_small = compare(small, blurred(small, 2), face_ellipse(160)).score
    assert at_large == pytest.approx(at_small, abs=0.03)


def test_flat_clean_picture_gives_numbers(face):
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    assert compare(flat, flat, face).score == pytest.approx(1, abs=1e-5)
    assert compare(flat, noisy(flat, 30), face).score < 0.5

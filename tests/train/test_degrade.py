"""Kinds and chains: groups kept apart, severities that mean something, one random source."""

from collections import Counter

import cv2
import numpy as np
import pytest

from train.clean_faces import face_ellipse
from train.degrade import GROUPS, KINDS, MILD, Stage, Step, apply_chain, degrade, kinds_of
from train.degrade_kinds import (
    disc_kernel,
    from_light,
    grain,
    motion_shake,
    path_kernel,
    sensor_noise,
    to_light,
)
from train.degrade_scene import face_place
from train.reference import compare

SIZE = 160
# Things before the face and dirt on it show at any severity; the rest must start invisible.
SEEN_AT_ONCE = {name for name in KINDS if name.startswith("occlusion")}
# Half of the information survives these at their worst, as a person still knows the face.
MILD_AT_WORST = {"saturation": 0.65, "webp": 0.6, "lens_dirt": 0.75, "lens_flare": 0.75}


def picture(size):
    """A crude face: what kinds need of a picture, without the cost of a portrait."""
    canvas = np.full((size, size, 3), (96, 120, 150), np.uint8)
    middle = (size // 2, size // 2)
    cv2.ellipse(
        canvas, middle, (size * 26 // 100, size * 34 // 100), 0, 0, 360, (205, 155, 130), -1
    )
    for x in (0.38, 0.62):
        place = (round(x * size), round(0.44 * size))
        cv2.ellipse(canvas, place, (size // 16, size // 32), 0, 0, 360, (240, 235, 230), -1)
        cv2.circle(canvas, place, size // 40, (40, 30, 20), -1)
    cv2.ellipse(
        canvas, (size // 2, size * 66 // 100), (size // 9, size // 40), 0, 0, 360, (150, 70, 70), -1
    )
    cv2.ellipse(
        canvas, (size // 2, size * 24 // 100), (size // 4, size // 9), 0, 0, 360, (50, 35, 25), -1
    )
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.8 * size / SIZE).astype(np.float32)
    texture = np.random.default_rng(1).normal(0, 40, (SIZE, SIZE, 1)).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.8)  # as pictures: fine detail is faint
    texture = cv2.resize(texture, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(soft + texture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clean():
    return picture(SIZE)


@pytest.fixture(scope="module")
def face():
    return face_ellipse(SIZE)


def scores(name, severity, clean, face, draws=6):
    """Scores of one kind at one severity over several random draws."""
    apply = KINDS[name].apply
    found = []
    for draw in range(draws):
        image = apply(clean, face, np.random.default_rng(draw), severity)
        found.append(compare(clean, image, face).score)
    return np.array(found)


def test_groups_share_no_kind_and_each_has_its_share():
    names = [kind.name for group in GROUPS for kind in kinds_of(group)]
    assert len(names) == len(set(names)) == len(KINDS)
    counts = {group: len(kinds_of(group)) for group in GROUPS}
    assert counts["trained"] >= 25
    assert counts["val_ood"] >= 6
    assert counts["test_ood"] >= 6


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_invisible_at_0_and_falls_to_a_wreck_at_1(name, clean, face):
    none, some, much, most = (
        scores(name, severity, clean, face).mean() for severity in (0, 0.35, 0.7, 1)
    )
    assert none > (0.8 if name in SEEN_AT_ONCE else 0.9)
    assert none > some > much > most
    assert most < MILD_AT_WORST.get(name, 0.45)


@pytest.mark.parametrize("name", KINDS)
def test_kind_keeps_shape_type_and_its_input_and_repeats_itself(name, face, clean):
    before = clean.copy()
    first, second = (
        KINDS[name].apply(clean, face, np.random.default_rng(4), 0.5) for _ in range(2)
    )
    assert first.shape == clean.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(clean, before)


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"jpeg", "webp", "second_pass"}))
def test_kind_means_the_same_at_any_size(name):
    """Block codecs are left out: their blocks are 8 px in a picture of any size."""
    means = []
    for size in (160, 480):
        means.append(np.mean(scores(name, 0.6, picture(size), face_ellipse(size), draws=8)))
    assert means[0] == pytest.approx(means[1], abs=0.2)


def test_trained_chains_hold_1_to_5_trained_steps_in_camera_order(clean, face):
    lengths, in_order, used = Counter(), 0, set()
    for seed in range(300):
        steps = degrade(
            clean[::4, ::4], face[::4, ::4], np.random.default_rng(seed), "trained"
        ).steps
        lengths[len(steps)] += 1
        stages = [KINDS[step.kind].stage for step in steps]
        in_order += stages == sorted(stages)
        used |= {step.kind for step in steps}
        assert len({step.kind for step in steps}) == len(steps)
        assert stages.count(Stage.SCENE) <= 1
        assert all(0 <= step.severity <= 1 for step in steps)
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert used == {kind.name for kind in kinds_of("trained")}
    assert 0.8 < in_order / 300 < 1


@pytest.mark.parametrize("group", ["val_ood", "test_ood"])
def test_ood_chains_hold_their_own_kinds_and_at_most_mild_trained_ones(group, clean, face):
    alone = 0
    for seed in range(200):
        steps = degrade(clean[::4, ::4], face[::4, ::4], np.random.default_rng(seed), group).steps
        groups = {KINDS[step.kind].group for step in steps}
        assert group in groups
        assert groups <= {group, "trained"}
        assert all(s.severity <= MILD for s in steps if KINDS[s.kind].group == "trained")
        alone += groups == {group}
    assert 0.4 < alone / 200 < 0.8


def test_scores_of_trained_chains_spread_over_the_whole_range(clean, face):
    found = []
    for seed in range(250):
        degraded = degrade(clean, face, np.random.default_rng(seed), "trained")
        found.append(compare(clean, degraded.image, face).score)
    shares = np.histogram(found, bins=5, range=(0, 1))[0] / len(found)
    assert shares.min() > 0.08
    assert shares.max() < 0.4


def test_chain_applies_its_steps_one_after_the_other(clean, face):
    steps = (Step("posterise", 0.9), Step("defocus_gaussian", 0.5))
    chained = apply_chain(clean, face, np.random.default_rng(0), steps).image
    by_hand = KINDS["posterise"].apply(clean, face, np.random.default_rng(0), 0.9)
    by_hand = KINDS["defocus_gaussian"].apply(by_hand, face, np.random.default_rng(0), 0.5)
    np.testing.assert_array_equal(chained, by_hand)
    assert apply_chain(clean, face, np.random.default_rng(0), ()).image is clean


def test_linear_light_keeps_every_byte():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(from_light(to_light(ramp)), ramp)
    assert from_light(np.array([-1.0, 2.0], np.float32)).tolist() == [0, 255]


def test_blur_kernels_neither_move_nor_brighten():
    rng = np.random.default_rng(0)
    for kernel in (disc_kernel(3.3, 0.5), path_kernel(rng.normal(3, 4, 60), rng.normal(-2, 5, 60))):
        y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert (kernel * x).sum() == pytest.approx((kernel.shape[1] - 1) / 2, abs=1e-3)
        assert (kernel * y).sum() == pytest.approx((kernel.shape[0] - 1) / 2, abs=1e-3)


def test_shake_reaches_all_directions(face):
    dot = np.zeros((SIZE, SIZE, 3), np.uint8)
    dot[80, 80] = 255
    angles = set()
    for seed in range(40):
        smear = motion_shake(dot, face, np.random.default_rng(seed), 0.5)[..., 0]
        moments = cv2.moments(smear)
        angle = 0.5 * np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])
        angles.add(int(np.degrees(angle)) // 45)
    assert angles == {-2, -1, 0, 1} or angles == {-1, 0, 1} or len(angles) >= 4


def test_sensor_noise_grows_with_light_in_linear_terms(face):
    spreads = []
    for level in (30, 200):
        flat = np.full((SIZE, SIZE, 3), level, np.uint8)
        noisy = [sensor_noise(flat, face, np.random.default_rng(s), 0.35) for s in range(4)]
        spreads.append(np.mean([to_light(image).std() for image in noisy]))
    assert spreads[1] > 1.8 * spreads[0]


@pytest.mark.parametrize("size_px", [1.0, 2.5, 6.0])
def test_grain_has_unit_variance_at_any_size(size_px):
    noise = grain(np.random.default_rng(0), (200, 200, 3), size_px)
    assert noise.shape == (200, 200, 3)
    assert noise.std() == pytest.approx(1, abs=0.03)


def test_face_place_finds_the_ellipse_and_copes_without_a_face():
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(mask, (70, 90), (30, 45), 0, 0, 360, 1.0, -1)
    place = face_place(mask)
    found = (place.x, place.y, place.half_width, place.half_height)
    assert found == pytest.approx((70, 90, 30, 45), abs=1)
    assert face_place(np.zeros_like(mask)).x == SIZE / 2

"""Kinds of degradation kept away from training: val_ood to choose by, test_ood to publish.

They show whether a model learnt to see damage, or only our own recipes for it. So none of
them may be a variant of a trained kind, and the two groups share no mechanism.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from train.degrade_kinds import (
    Field,
    Image,
    Rng,
    between,
    coordinates,
    from_light,
    geometric,
    grain,
    resize,
    smooth_field,
    to_bytes,
    to_light,
    unit,
)

# --- val_ood ----------------------------------------------------------------------------------


def mosaic(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Pixelation: square tiles of one colour, 2 to 16 px wide; the faintest shine through."""
    tile = geometric(2.0, 16.0, severity) * unit(image)
    height, width = image.shape[:2]
    small = resize(image, width / tile, height / tile, cv2.INTER_AREA)
    tiles = resize(small, width, height, cv2.INTER_NEAREST)
    opacity = min(1.0, 0.1 + 3 * severity)
    return cv2.addWeighted(tiles, opacity, image, 1 - opacity, 0)


def zoom_blur(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """The lens zoomed during the exposure: sharp in one point, streaks away from it."""
    height, width = image.shape[:2]
    centre = np.array([width, height]) * rng.uniform(0.35, 0.65, 2)
    reach = geometric(0.012, 0.5, severity)
    exposures = 4 + round(14 * severity)
    total = np.zeros(image.shape, np.float32)
    for zoom in np.linspace(1 - reach / 2, 1 + reach / 2, exposures):
        matrix = np.array([[zoom, 0, centre[0] * (1 - zoom)], [0, zoom, centre[1] * (1 - zoom)]])
        moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        cv2.accumulate(moved, total)
    return to_bytes(total / exposures)


def dead_pixels(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Salt and pepper: single pixels at black, white or a random colour."""
    share = geometric(0.0006, 0.45, severity)
    cell = max(1, round(unit(image)))
    shape = tuple(math.ceil(side / cell) for side in image.shape[:2])
    hit: Image = (rng.random(shape, dtype=np.float32) < share).astype(np.uint8)
    colour: Image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    if rng.random() < 0.7:
        colour = np.where(colour[..., :1] < 128, 0, 255).astype(np.uint8).repeat(3, axis=2)
    size = (cell * shape[1], cell * shape[0])
    hit, colour = (
        cv2.resize(part, size, interpolation=cv2.INTER_NEAREST) for part in (hit, colour)
    )
    height, width = image.shape[:2]
    return np.where(hit[:height, :width, None] > 0, colour[:height, :width], image)


def posterise(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Too few levels a channel, 64 down to 2: skin breaks into islands."""
    levels = geometric(64, 2, severity)
    step = 255 / (levels - 1)
    table = np.clip(np.round(np.arange(256) / step) * step, 0, 255)
    return cv2.LUT(image, np.round(table).astype(np.uint8))


def colour_fringe(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Red and blue out of register, as lenses and old video leave them, with bleeding colour."""
    shift = geometric(0.25, 11.0, severity) * unit(image)
    angle = rng.uniform(0, 2 * math.pi)
    dx, dy = shift * math.cos(angle), shift * math.sin(angle)
    height, width = image.shape[:2]
    out: Image = image.copy()
    for channel, direction in ((0, 1), (2, -1)):
        matrix = np.array([[1, 0, direction * dx], [0, 1, direction * dy]])
        out[..., channel] = cv2.warpAffine(
            image[..., channel], matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
    return out


def wavelet_loss(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """What JPEG 2000 does at few bits: small Haar wavelet coefficients are dropped, no blocks."""
    # a structure three times as wide has coefficients three times as large
    threshold = np.float32(geometric(2.0, 150.0, severity) * unit(image))
    values: Field = image.astype(np.float32)
    levels = 4 + round(math.log2(max(1.0, unit(image))))
    height, width = values.shape[:2]
    multiple = 2**levels
    values = cv2.copyMakeBorder(
        values, 0, -height % multiple, 0, -width % multiple, cv2.BORDER_REFLECT_101
    )
    return to_bytes(_shrink_details(values, threshold, levels)[:height, :width])


def _shrink_details(values: Field, threshold: np.float32, levels: int) -> Field:
    """Haar transform of (H, W, C), details below the threshold set to 0, and back."""
    if levels == 0:
        return values
    a, b = values[0::2, 0::2], values[0::2, 1::2]
    c, d = values[1::2, 0::2], values[1::2, 1::2]
    mean = (a + b + c + d) / 2
    details = [(a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
    across, down, both = (np.where(np.abs(part) < threshold, 0, part) for part in details)
    mean = _shrink_details(mean, threshold, levels - 1)
    out = np.empty_like(values)
    out[0::2, 0::2] = (mean + across + down + both) / 2
    out[0::2, 1::2] = (mean - across + down - both) / 2
    out[1::2, 0::2] = (mean + across - down - both) / 2
    out[1::2, 1::2] = (mean - across - down + both) / 2
    return out


# --- test_ood ---------------------------------------------------------------------------------


def lens_flare(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A lamp in the picture: a burnt spot with a glow, and ghosts across the middle from it."""
    x, y = coordinates(image.shape)
    lamp = rng.uniform(-0.9, 0.9, 2)
    strength = geometric(0.03, 9.0, severity)
    colour = rng.uniform(0.6, 1.0, 3).astype(np.float32)
    distance = np.hypot(x - np.float32(lamp[0]), y - np.float32(lamp[1]))
    width = between(0.12, 0.45, severity)
    glow = np.exp(-((distance / np.float32(width)) ** 2)) + 0.12 / (1 + (distance / 0.3) ** 2)
    for _ in range(int(rng.integers(1, 4))):
        place, radius = -lamp * rng.uniform(-0.6, 1.0), rng.uniform(0.06, 0.25)
        ghost = np.hypot(x - np.float32(place[0]), y - np.float32(place[1])) < radius
        glow += np.float32(rng.uniform(0.02, 0.12)) * ghost
    added = (np.float32(strength) * glow.astype(np.float32))[..., None] * colour
    return from_light(to_light(image) + added)


def rain(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Bright slanted streaks of falling drops, or scratches on a film."""
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.uint8)
    slant = rng.normal(0, 0.35)
    length = rng.uniform(0.08, 0.4)
    for _ in range(round(geometric(2, 320, severity))):
        x, y = rng.uniform(-0.1, 1.1, 2)
        run = length * rng.uniform(0.5, 1.5)
        start = (round(x * width * 8), round(y * height * 8))
        end = (round((x + slant * run) * width * 8), round((y + run) * height * 8))
        thick = max(1, round(rng.uniform(0.5, 2.0) * unit(image)))
        cv2.line(cover, start, end, int(rng.integers(90, 256)), thick, cv2.LINE_AA, 3)
    alpha = cv2.GaussianBlur(cover, (0, 0), 0.5 * unit(image)).astype(np.float32)[..., None] / 255
    values = image.astype(np.float32)
    return to_bytes(
        values + alpha * between(0.5, 0.95, severity) * (rng.uniform(190, 255) - values)
    )


def lens_dirt(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Drops and smears on the lens: blurred, darker or lighter spots with soft rims."""
    height, width = image.shape[:2]
    cover = np.zeros((height, width), np.uint8)
    for _ in range(round(geometric(2, 26, severity))):
        centre = (round(rng.uniform(0, width)), round(rng.uniform(0, height)))
        radius = rng.uniform(0.02, between(0.05, 0.2, severity), 2) * width
        axes = (max(1, round(float(radius[0]))), max(1, round(float(radius[1]))))
        cv2.ellipse(cover, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    rim = cv2.GaussianBlur(cover, (0, 0), rng.uniform(1.0, 3.0) * unit(image))
    alpha = rim.astype(np.float32)[..., None] * np.float32(between(0.3, 1.0, severity) / 255)
    inside = cv2.GaussianBlur(image, (0, 0), between(1.0, 9.0, severity) * unit(image))
    spot = inside.astype(np.float32) * np.float32(rng.uniform(0.45, 1.25))
    values = image.astype(np.float32)
    return to_bytes(values + alpha * (spot - values))


def interlace(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Two half pictures of a moving head, woven line by line: combs on every edge."""
    shift = geometric(0.3, 16.0, severity) * unit(image)
    height, width = image.shape[:2]
    line = max(1, round(unit(image)))
    odd = (np.arange(height) // line) % 2 == 1
    matrix = np.array([[1, 0, shift * (1 if rng.random() < 0.5 else -1)], [0, 1, 0]])
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.where(odd[:, None, None], moved, image)


def row_banding(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Stripes of a flickering lamp or a bad read-out: rows (or columns) of different gain."""
    count = image.shape[0]
    lines = np.arange(count, dtype=np.float32) / count
    if rng.random() < 0.5:
        pattern = np.sin(2 * math.pi * (rng.uniform(2, 24) * lines + rng.random()))
    else:
        pattern = grain(rng, (count, 2), rng.uniform(1, 3) * unit(image))[:, 0]
    gain = np.exp2(np.float32(geometric(0.02, 2.0, severity)) * pattern.astype(np.float32))
    gain = gain[:, None, None] if rng.random() < 0.75 else gain[None, :, None]
    return from_light(to_light(image) * gain)


def beauty_median(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A beauty or oil-paint filter: medians of growing width, skin without pores, rounded edges."""
    shrink = max(1.0, unit(image))
    height, width = image.shape[:2]
    small = resize(image, width / shrink, height / shrink, cv2.INTER_AREA)
    side = 3 + 2 * round(5 * severity)
    smooth = small
    for _ in range(1 + round(2 * severity)):
        smooth = cv2.medianBlur(smooth, min(side, 9))
    smooth = resize(smooth, width, height, cv2.INTER_CUBIC)
    return cv2.addWeighted(
        smooth, between(0.25, 1, severity), image, 1 - between(0.25, 1, severity), 0
    )


def glass_warp(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Wavy or frosted glass: every pixel is seen from a little beside."""
    reach = geometric(0.25, 16.0, severity) * unit(image)
    height, width = image.shape[:2]
    cells = round(geometric(5, 60, rng.random()))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    dx, dy = (smooth_field(rng, image.shape, cells) - 0.5 for _ in range(2))
    return cv2.remap(
        image,
        x + np.float32(reach) * dx,
        y + np.float32(reach) * dy,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def ghosting(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Exposed twice: the same head again, moved, fainter or as strong."""
    height, width = image.shape[:2]
    move = geometric(1.0, 30.0, severity**0.7) * unit(image)
    angle = rng.uniform(0, 2 * math.pi)
    matrix = np.array([[1, 0, move * math.cos(angle)], [0, 1, move * math.sin(angle)]])
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    share = between(0.05, 0.6, severity)
    return cv2.addWeighted(moved, share, image, 1 - share, 0)

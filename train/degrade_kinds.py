"""Trained kinds of degradation, part one: lens, sensor, the camera's processing, compression.

Every kind is `f(image, face, rng, severity) -> image`: image (H, W, 3) uint8 RGB; face (H, W)
float32, 1 on the face; severity 0 (invisible) to 1 (destroyed). The generator chooses the
variety (angle, filter, grain), the severity only how much of it. Lengths are written in pixels
of a 160 px picture and scaled with `unit`, so that 160 and 512 px pictures suffer alike.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]  # (H, W, 3) uint8 RGB; OpenCV's stubs cannot say so
Field = NDArray[Any]  # (H, W) or (H, W, C) float32
Rng = np.random.Generator

DESIGN_SIZE = 160  # the picture size that all lengths below are written for

DOWN_FILTERS = (
    cv2.INTER_AREA,
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_LANCZOS4,
    cv2.INTER_NEAREST,
)
UP_FILTERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
LINEAR_STEPS = 16384  # sRGB is steep near black: byte 1 is 5 of these steps, so none is lost


def unit(image: Image) -> float:
    """How many pixels of this picture make one pixel of a 160 px picture."""
    return image.shape[0] / DESIGN_SIZE


def between(low: float, high: float, severity: float) -> float:
    """Straight line from `low` at severity 0 to `high` at severity 1."""
    return low + (high - low) * severity


def geometric(low: float, high: float, severity: float) -> float:
    """Equal factors for equal severities: what the eye expects of stops, qualities and counts."""
    return float(low * (high / low) ** severity)


def to_bytes(values: Field) -> Image:
    """Round and saturate."""
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


@cache
def _linear_table() -> Field:
    byte = np.arange(256) / 255
    light = np.where(byte <= 0.04045, byte / 12.92, ((byte + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@cache
def _byte_table() -> Image:
    light = np.arange(LINEAR_STEPS) / (LINEAR_STEPS - 1)
    byte = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(byte * 255).astype(np.uint8)


def to_light(image: Image) -> Field:
    """sRGB bytes as linear light, 0..1."""
    return np.asarray(cv2.LUT(image, _linear_table()), dtype=np.float32)


def from_light(light: Field) -> Image:
    """Linear light as sRGB bytes; what is brighter than 1 clips, as on a sensor."""
    steps = (light * np.float32(LINEAR_STEPS - 1)).astype(np.int32)
    return np.take(_byte_table(), steps, mode="clip")


def resize(image: Image, width: float, height: float, how: int) -> Image:
    size = (max(1, round(width)), max(1, round(height)))
    return cv2.resize(image, size, interpolation=how)


def choose(rng: Rng, options: tuple[int, ...]) -> int:
    return options[int(rng.integers(len(options)))]


def smooth_field(rng: Rng, shape: tuple[int, ...], cells: int) -> Field:
    """Random hills and valleys, 0..1, about `cells` of them across the picture."""
    coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)


def grain(rng: Rng, shape: tuple[int, ...], size_px: float) -> Field:
    """Gaussian noise of unit variance whose grains are about `size_px` wide."""
    height, width = (max(2, math.ceil(side / max(size_px, 1.0))) for side in shape[:2])
    noise: Field = rng.standard_normal((height, width, *shape[2:]), dtype=np.float32)
    if size_px > 1.0:
        noise = resize(noise, shape[1], shape[0], cv2.INTER_CUBIC)
        noise = noise / max(float(noise.std()), 1e-6)
    return noise


def coordinates(shape: tuple[int, ...]) -> tuple[Field, Field]:
    """x and y of every pixel, -1..1 from edge to edge, as a row and a column."""
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    return x, y


# --- lens and hand ---------------------------------------------------------------------------


def defocus_gaussian(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    sigma = geometric(0.3, 7.0, severity) * unit(image)
    return cv2.GaussianBlur(image, (0, 0), sigma)


def defocus_disc(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A lens out of focus spreads every point to a disc, with brighter edges on some lenses."""
    radius = geometric(0.45, 11.0, severity) * unit(image)
    shrink = max(1.0, radius / 5)  # a wide blur leaves nothing that a smaller picture could lose
    small = image
    if shrink > 1:
        small = resize(image, image.shape[1] / shrink, image.shape[0] / shrink, cv2.INTER_AREA)
    blurred = convolve(small, disc_kernel(radius / shrink, ring=float(rng.uniform(0, 0.6))))
    if shrink > 1:
        blurred = resize(blurred, image.shape[1], image.shape[0], cv2.INTER_CUBIC)
    return blurred


def motion_line(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    length = geometric(0.8, 34.0, severity) * unit(image)
    angle = rng.uniform(0, math.pi)
    along = np.linspace(-length / 2, length / 2, max(8, math.ceil(2 * length)))
    return convolve(image, path_kernel(along * math.cos(angle), along * math.sin(angle)))


def motion_shake(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A hand that trembles during the exposure: a curved path, with pauses."""
    length = geometric(1.0, 44.0, severity) * unit(image)
    steps = 48
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, rng.uniform(0.05, 0.5), steps))
    speed = rng.gamma(1.5, 1.0, steps)
    speed *= length / speed.sum()
    return convolve(image, path_kernel(*_path(heading, speed)))


def _path(heading: NDArray[np.float64], speed: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Points along the way, four to a step so that the kernel has no gaps."""
    x, y = np.cumsum(np.cos(heading) * speed), np.cumsum(np.sin(heading) * speed)
    fine, coarse = np.linspace(0, 1, 4 * len(x)), np.linspace(0, 1, len(x))
    return np.interp(fine, coarse, x), np.interp(fine, coarse, y)


def disc_kernel(radius: float, ring: float = 0.0) -> Field:
    reach = math.ceil(radius + 0.5)
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(axis[None, :], axis[:, None])
    kernel = np.clip(radius + 0.5 - distance, 0, 1) * (1 - ring + ring * distance / radius)
    return (kernel / kernel.sum()).astype(np.float32)


def path_kernel(x: NDArray, y: NDArray) -> Field:
    """The blur kernel of a path, its centre of mass in the middle: nothing moves, it only smears.

    A picture that moved would be punished by the measures though it looks the same.
    """
    x, y = x - x.mean(), y - y.mean()
    reach = math.ceil(max(np.abs(x).max(), np.abs(y).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, low_share = x - left, y - top
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - dx - right_share) * np.abs(1 - dy - low_share)
        np.add.at(kernel, (top + dy + reach, left + dx + reach), share)
    return kernel / kernel.sum()


def convolve(image: Image, kernel: Field) -> Image:
    blurred = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return to_bytes(blurred)


# --- sensor ----------------------------------------------------------------------------------


def sensor_noise(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Few photons: noise that grows with the root of the light, plus the read-out's own noise.

    Photons at white fall from 20,000 (a phone in daylight) to 7 (a cellar).
    """
    photons = geometric(20_000, 7, severity)
    read_noise = rng.uniform(0.5, 3.0) / photons ** rng.uniform(0.75, 1.0)
    light = to_light(image)
    deviation = np.sqrt(light / photons + read_noise**2)
    return from_light(light + deviation * _sensor_grain(rng, image))


def _sensor_grain(rng: Rng, image: Image) -> Field:
    """Unit noise: independent colours, or mixed by demosaicing so that neighbours agree."""
    size_px = rng.uniform(1.0, 2.6) if rng.random() < 0.5 else 1.0
    colour = grain(rng, image.shape, size_px * unit(image))
    grey = colour.sum(axis=2, keepdims=True) / np.float32(math.sqrt(3))
    grey_share = rng.uniform(0, 1)
    mixed = math.sqrt(1 - grey_share) * colour + math.sqrt(grey_share) * grey
    # the two are correlated by 1 / sqrt(3)
    return mixed / math.sqrt(1 + 2 * math.sqrt(grey_share * (1 - grey_share) / 3))


def chroma_noise(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Coloured blotches, stronger in the dark, as small sensors leave them."""
    blotch_px = geometric(1.2, 9.0, rng.random()) * unit(image)
    sigma = geometric(1.0, 55.0, severity)
    ycc: Field = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    darkness = 1.25 - 0.75 * ycc[..., :1] / 255
    noise = grain(rng, (*image.shape[:2], 2), blotch_px)
    ycc[..., 1:] += sigma * darkness * (noise if noise.ndim == 3 else noise[..., None])
    return to_bytes(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB))


# --- the camera's processing ------------------------------------------------------------------


def denoise_smear(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A strong denoiser (guided filter): edges stay, skin and hair turn to paint."""
    radius_px = rng.uniform(2, 5) * unit(image)
    side = 2 * round(between(0.5 * radius_px, radius_px, severity)) + 1
    tolerance = geometric(3.0, 90.0, severity) ** 2  # variance that counts as noise
    values = image.astype(np.float32)
    mean = cv2.boxFilter(values, -1, (side, side))
    variance = cv2.boxFilter(values * values, -1, (side, side)) - mean * mean
    keep = np.maximum(variance, 0) / (np.maximum(variance, 0) + tolerance)
    offset = cv2.boxFilter(mean - keep * mean, -1, (side, side))
    return to_bytes(cv2.boxFilter(keep, -1, (side, side)) * values + offset)


def sharpen_halo(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Too much unsharp masking: halos along edges, grain out of nothing."""
    sigma = rng.uniform(0.7, 3.0) * unit(image)
    amount = geometric(0.1, 9.0, severity)
    values = image.astype(np.float32)
    soft = cv2.GaussianBlur(values, (0, 0), sigma)
    return to_bytes(values + amount * (values - soft))


def resample(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A small face enlarged: down by 1 to 12 and up again, each with some filter."""
    factor = geometric(1.0, 12.0, severity) * unit(image)
    height, width = image.shape[:2]
    down = choose(rng, DOWN_FILTERS)
    small = resize(image, max(6, width / factor), max(6, height / factor), down)
    return resize(small, width, height, choose(rng, UP_FILTERS))


# --- compression and upload -------------------------------------------------------------------


def jpeg(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Quality 98 to 4; blocks as they fall, also larger or smaller than 8 px and off the grid."""
    quality = round(geometric(98, 4, severity**1.2))
    if rng.random() < 0.5:
        return _jpeg_once(image, quality, rng)
    spread = 0.4 * min(1.0, 2 * severity)  # a faint one keeps nearly its size
    return _at_other_size(image, 1 + spread * rng.uniform(-1, 1), quality, rng)


def webp(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    quality = round(between(98, 1, severity))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return cv2.cvtColor(_decode(encoded), cv2.COLOR_BGR2RGB)


def second_pass(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Uploaded and sent on: made smaller, compressed, enlarged; the worst are sent twice."""
    for _ in range(1 + int(rng.random() < 0.4)):
        scale = between(1.0, rng.uniform(0.2, 0.6), severity)
        quality = round(geometric(96, rng.uniform(4, 20), severity))
        image = _at_other_size(image, scale, quality, rng)
    return image


def _at_other_size(image: Image, scale: float, quality: int, rng: Rng) -> Image:
    height, width = image.shape[:2]
    down = choose(rng, DOWN_FILTERS[:4])
    other = resize(image, width * scale, height * scale, down)
    return resize(_jpeg_once(other, quality, rng), width, height, choose(rng, UP_FILTERS))


def _jpeg_once(image: Image, quality: int, rng: Rng) -> Image:
    """Encode and decode with the 8 px grid at a random place and colour whole or halved."""
    top, left = (int(offset) for offset in rng.integers(0, 8, 2))
    padded = cv2.copyMakeBorder(image, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        if rng.random() < 0.7
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), options)[1]
    decoded = cv2.cvtColor(_decode(encoded), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(decoded[top:, left:])


def _decode(encoded: NDArray[Any]) -> Image:
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert image is not None  # we encoded it ourselves
    return image

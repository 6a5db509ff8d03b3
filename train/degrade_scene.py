"""Trained kinds of degradation, part two: light, colour and what stands before the face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from train.degrade_kinds import (
    Field,
    Image,
    Rng,
    between,
    coordinates,
    from_light,
    geometric,
    grain,
    smooth_field,
    to_bytes,
    to_light,
    unit,
)

# --- light and colour -------------------------------------------------------------------------


def under_exposure(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """0.1 to 6.5 stops too dark; what falls below one byte is gone."""
    return from_light(to_light(image) * 2 ** -geometric(0.1, 6.5, severity))


def over_exposure(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """0.05 to 5 stops too bright; the skin clips first."""
    return from_light(to_light(image) * 2 ** geometric(0.05, 5.0, severity))


def haze(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Fog, a greasy lens or a low sun: light of one colour added, even or from one side."""
    lost = between(0.02, 0.95, severity**1.3)
    veil = np.float32(rng.uniform(0.3, 0.95)) * rng.uniform(0.85, 1.0, 3).astype(np.float32)
    if rng.random() < 0.5:
        spread = 0.6 + 0.4 * smooth_field(rng, image.shape, int(rng.integers(1, 4)))
    else:
        spread = np.clip(0.75 + 0.45 * _slope(image.shape, rng.uniform(0, 2 * math.pi)), 0, 1)
    amount = (lost * spread)[..., None]
    return from_light(to_light(image) * (1 - amount) + veil * amount)


def low_contrast(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Everything pulled to one grey, as through a dirty window or on a bad display."""
    level = rng.uniform(60, 190)
    left = 1 - between(0.03, 0.94, severity)
    return to_bytes(level + (image.astype(np.float32) - level) * np.float32(left))


def tone_curve(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A wrong gamma, or a hard S-curve that closes shadows and burns highlights."""
    byte = np.arange(256) / 255
    strength = geometric(1.03, 5.0, severity)
    if rng.random() < 0.5:
        curve = byte ** (strength if rng.random() < 0.5 else 1 / strength)
    else:
        middle = rng.uniform(0.35, 0.65)
        slope = 4 * (strength - 1)
        rise = np.tanh(slope * (byte - middle))
        ends = np.tanh(slope * (np.array([0.0, 1.0]) - middle))
        curve = (rise - ends[0]) / (ends[1] - ends[0])
    return cv2.LUT(image, np.round(curve * 255).astype(np.uint8))


def colour_cast(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """White balance for another lamp, a coloured lamp, or one channel nearly gone."""
    direction = rng.normal(size=3)
    direction -= direction.mean()
    direction /= max(float(np.abs(direction).max()), 1e-6)
    gains = np.exp2(direction * geometric(0.05, 3.0, severity))
    gains /= gains @ np.array([0.2126, 0.7152, 0.0722])  # as bright as before
    return from_light(to_light(image) * gains.astype(np.float32))


def saturation(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Colour drained to grey, or driven until it clips."""
    if rng.random() < 0.5:
        factor = 1 - between(0.05, 1.0, severity)
    else:
        factor = geometric(1.05, 5.0, severity)
    values = image.astype(np.float32)
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)[..., None]
    return to_bytes(grey + (values - grey) * np.float32(factor))


def vignette(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    x, y = coordinates(image.shape)
    shift = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    distance = (x - shift[0]) ** 2 + (y - shift[1]) ** 2
    fall = 1 / (1 + np.float32(geometric(0.05, 14.0, severity)) * distance) ** 2
    return from_light(to_light(image) * fall[..., None])


def side_shadow(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A lamp from one side: beyond some line through the face the light is missing."""
    angle = rng.uniform(0, 2 * math.pi)
    edge = geometric(2.0, 16.0, rng.random())  # from a soft window to a hard sun
    where = _slope(image.shape, angle) - _face_slope(face, angle) + rng.uniform(-0.2, 0.2)
    return _shade(image, 1 / (1 + np.exp(-edge * where)), severity)


def cast_shadow(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Shadows of leaves, blinds or a hat across the face."""
    field = smooth_field(rng, image.shape, int(rng.integers(3, 9)))
    if rng.random() < 0.35:
        wave = _slope(image.shape, rng.uniform(0, math.pi)) * rng.uniform(5, 16)
        field = 0.5 + 0.5 * np.sin(wave)
    edge = geometric(5.0, 30.0, rng.random())
    level = rng.uniform(0.4, 0.55)
    return _shade(image, 1 / (1 + np.exp(-edge * (field - level))), severity)


def _shade(image: Image, shadow: Field, severity: float) -> Image:
    """Darken by up to 6 stops where `shadow` is 1, and let the camera lift the rest a little."""
    stops = geometric(0.1, 6.0, severity)
    gain = np.exp2(-np.float32(stops) * shadow.astype(np.float32)) * np.float32(2 ** (stops / 12))
    return from_light(to_light(image) * gain[..., None])


def _slope(shape: tuple[int, ...], angle: float) -> Field:
    """A plane from about -1 to 1 that rises along `angle`."""
    x, y = coordinates(shape)
    return x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))


def _face_slope(face: Field, angle: float) -> float:
    place = face_place(face)
    height, width = face.shape
    x, y = 2 * place.x / width - 1, 2 * place.y / height - 1
    return x * math.cos(angle) + y * math.sin(angle)


# --- what stands before the face --------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """The face as an upright ellipse, in pixels: centre and half axes."""

    x: float
    y: float
    half_width: float
    half_height: float


def face_place(face: Field) -> Place:
    moments = cv2.moments(face)
    mass = moments["m00"]
    if mass < 1:
        height, width = face.shape
        return Place(width / 2, height / 2, width / 3, height / 2.6)
    # the second moment of a full ellipse along an axis is a quarter of the half axis squared
    half_width = 2 * math.sqrt(max(moments["mu20"] / mass, 1.0))
    half_height = 2 * math.sqrt(max(moments["mu02"] / mass, 1.0))
    return Place(moments["m10"] / mass, moments["m01"] / mass, half_width, half_height)


def occlusion_patch(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A phone, a cup, a microphone, a hat: a polygon or an ellipse, plain or patterned."""
    place = face_place(face)
    reach = between(0.12, 1.15, severity)
    away = rng.uniform(0, 1) * (1.1 - 0.6 * severity)  # large things hide the middle too
    turn = rng.uniform(0, 2 * math.pi)
    x = place.x + away * place.half_width * math.cos(turn)
    y = place.y + away * place.half_height * math.sin(turn)
    corners = int(rng.choice([3, 4, 4, 5, 6, 24]))
    angles = np.sort(np.linspace(0, 2 * math.pi, corners, endpoint=False) + rng.uniform(0, 6.3))
    radius = reach * rng.uniform(0.8, 1.2, corners if corners < 24 else 1)
    points = np.stack(
        [
            x + place.half_width * radius * np.cos(angles),
            y + place.half_height * radius * np.sin(angles),
        ],
        axis=1,
    )
    cover = _polygons(face.shape, [points])
    return _paint(image, cover, _material(rng, image), _opacity(rng))


def occlusion_hand(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Fingers and a palm of some skin tone, reaching in from one side."""
    place = face_place(face)
    side = rng.uniform(0, 2 * math.pi)
    toward = np.array([math.cos(side), math.sin(side)])
    across = np.array([-toward[1], toward[0]])
    centre = np.array([place.x, place.y])
    thick = place.half_width * rng.uniform(0.22, 0.34)
    tip = between(1.05, -0.7, severity) * place.half_height
    cover = np.zeros(face.shape, np.uint8)
    for finger in range(-2, 2):
        reach = tip + thick * rng.uniform(0, 1.2)
        start = centre + toward * reach + across * (finger + 0.5) * thick * 1.12
        end = start + toward * 3 * place.half_height
        _stroke(cover, start, end, thick)
    palm = centre + toward * (tip + 1.1 * place.half_height)
    cv2.circle(cover, _point(palm), round(2.1 * thick), 255, -1, cv2.LINE_AA)
    skin = np.array([224, 172, 140]) * rng.uniform(0.3, 1.1)
    shading = smooth_field(rng, image.shape, 5)[..., None] * 0.35 + 0.75
    return _paint(image, _soften(cover, unit(image)), skin.astype(np.float32) * shading, 1.0)


def occlusion_mask(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """A mask or a scarf over the lower part; worse, up to the eyes and beyond."""
    place = face_place(face)
    top = between(0.85, -0.45, severity)
    x = np.linspace(-1.15, 1.15, 9)
    bend = rng.uniform(-0.1, 0.15)
    upper = np.stack([x, top + bend * (1 - x**2)], axis=1)
    lower = np.array([[1.1, 0.6], [0.5, 1.25], [-0.5, 1.25], [-1.1, 0.6]])
    points = np.concatenate([upper, lower]) * [place.half_width, place.half_height]
    cover = _polygons(face.shape, [points + np.array([place.x, place.y])])
    return _paint(image, cover, _material(rng, image), 1.0)


def occlusion_glasses(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Dark glasses or a censor's bar, from thin and clear to wide and black."""
    place = face_place(face)
    height = between(0.1, 0.34, severity) * place.half_height
    y = place.y - rng.uniform(0.12, 0.28) * place.half_height
    cover = np.zeros(face.shape, np.uint8)
    if rng.random() < 0.6:
        for direction in (-1, 1):
            centre = (place.x + direction * 0.42 * place.half_width, y)
            axes = (between(0.2, 0.42, severity) * place.half_width, height)
            cv2.ellipse(
                cover, _point(centre), _point(axes), 0, 0, 360, 255, -1, lineType=cv2.LINE_AA
            )
        reach = 0.95 * place.half_width
        _stroke(cover, (place.x - reach, y), (place.x + reach, y), max(1.0, height * 0.25))
    else:
        reach = rng.uniform(0.8, 1.2) * place.half_width
        _stroke(cover, (place.x - reach, y), (place.x + reach, y), 1.6 * height)
    tint = rng.uniform(0, 60, 3).astype(np.float32)
    opacity = between(0.15, 1.0, min(1.0, severity * 1.5))
    return _paint(image, _soften(cover, unit(image)), tint, opacity)


def occlusion_hair(image: Image, face: Field, rng: Rng, severity: float) -> Image:
    """Strands across the face, from a few to a curtain."""
    place = face_place(face)
    cover = np.zeros(face.shape, np.uint8)
    lean = rng.uniform(-0.5, 0.5)
    middle = rng.uniform(-0.7, 0.7)
    spread = between(0.15, 0.75, severity)
    for _ in range(round(geometric(1, 75, severity))):
        start = middle + rng.normal(0, spread)
        bow, tail = rng.normal(0, 0.12), lean + rng.normal(0, 0.1)
        along = np.linspace(-1.4, rng.uniform(0.2, 1.5), 10)
        x = place.x + (start + tail * (along + 1.4) + bow * along**2) * place.half_width
        y = place.y + along * place.half_height
        points = np.round(np.stack([x, y], axis=1) * 8).astype(np.int32)
        thick = max(1, round(rng.uniform(0.6, 2.6) * unit(image)))
        cv2.polylines(cover, [points], False, 255, thick, cv2.LINE_AA, shift=3)
    tone = np.array([90, 62, 42]) * rng.uniform(0.15, 2.2)
    shine = smooth_field(rng, image.shape, 8)[..., None] * 0.6 + 0.7
    return _paint(image, cover, tone.astype(np.float32) * shine, rng.uniform(0.75, 1.0))


def _paint(image: Image, cover: Image, material: Field, opacity: float) -> Image:
    """`material` (a colour or a picture) laid over the image where `cover` is 255."""
    x, y, width, height = cv2.boundingRect(cover)
    part = np.s_[y : y + height, x : x + width]
    alpha = cover[part].astype(np.float32)[..., None] * np.float32(opacity / 255)
    values = image[part].astype(np.float32)
    out = image.copy()
    out[part] = to_bytes(values + alpha * (np.broadcast_to(material, image.shape)[part] - values))
    return out


def _material(rng: Rng, image: Image) -> Field:
    """Cloth or plastic: one colour, with stripes, folds or grain, or plain."""
    colour = rng.uniform(5, 250, 3).astype(np.float32)
    look = rng.integers(4)
    if look == 0:
        return colour
    if look == 1:
        wave = np.sin(_slope(image.shape, rng.uniform(0, math.pi)) * rng.uniform(8, 45))
        other = rng.uniform(5, 250, 3).astype(np.float32)
        return colour + (other - colour) * (wave[..., None] > rng.uniform(-0.7, 0.7))
    if look == 2:
        return colour * (0.5 + smooth_field(rng, image.shape, int(rng.integers(2, 9)))[..., None])
    size_px = rng.uniform(1.2, 4.0) * unit(image)
    return colour + rng.uniform(6, 35) * grain(rng, image.shape[:2], size_px)[..., None]


def _opacity(rng: Rng) -> float:
    """Mostly solid; some glass, veils and reflections."""
    return 1.0 if rng.random() < 0.8 else rng.uniform(0.45, 0.95)


def _polygons(shape: tuple[int, ...], polygons: list[np.ndarray]) -> Image:
    cover = np.zeros(shape, np.uint8)
    points = [np.round(polygon * 8).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(cover, points, 255, cv2.LINE_AA, shift=3)
    return _soften(cover, shape[0] / 160)


def _soften(cover: Image, sigma: float) -> Image:
    """No thing has the edge of a drawing program."""
    return cv2.GaussianBlur(cover, (0, 0), 0.7 * sigma)


def _stroke(cover: Image, start: ArrayLike, end: ArrayLike, thick: float) -> None:
    width = max(1, round(thick))
    cv2.line(cover, _point(start), _point(end), 255, width, cv2.LINE_AA)


def _point(values: ArrayLike) -> tuple[int, int]:
    x, y = np.asarray(values, np.float64).tolist()
    return round(x), round(y)

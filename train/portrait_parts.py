"""The drawn parts of a portrait: where a point of the face lands in the picture, and its features.

Features are painted as flat colours on a sheet twice as large as the picture; light comes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from train.portrait_traits import Glasses, Person, Shot, floats

Ink = float | Sequence[float] | np.ndarray  # grey or sRGB, clipped to 0..255 by OpenCV
OVERSAMPLING = 2  # sheet pixels per picture pixel: enough for lashes and brow hairs
HEAD_DEPTH = 0.85  # depth of the half head over its half-width
DEPTH_FALL = np.array([0.95, 0.55])  # how fast the face recedes sideways and up or down
BANK_SIDE = 512  # of one tileable noise square, in pixels
FIXED_POINT_BITS = 4  # sub-pixel precision of polygon corners


STEPS = np.linspace(0, 1, 9)
CURVE_BASIS = np.stack(
    [(1 - STEPS) * (1 - 2 * STEPS), 4 * STEPS * (1 - STEPS), STEPS * (2 * STEPS - 1)], 1
)
CIRCLE = np.linspace(0, 2 * np.pi, 25)
CIRCLE = np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], 1)


@dataclass(frozen=True)
class Frame:
    """Maps face units to pixels. Angles in radians, lengths in pixels."""

    centre: np.ndarray  # (2,)
    half_width: float
    half_height: float
    yaw: float
    pitch: float
    roll: float

    @cached_property
    def turn(self) -> np.ndarray:
        """In-plane rotation, (2, 2)."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.array([[c, -s], [s, c]])

    @cached_property
    def projection(self) -> np.ndarray:
        """Takes (u, v, depth) to pixels from the centre before roll, (3, 2)."""
        turn_x, turn_y = HEAD_DEPTH * np.sin(self.yaw), 0.62 * np.sin(self.pitch)
        columns = np.array([[np.cos(self.yaw), 0], [0, np.cos(self.pitch)], [turn_x, turn_y]])
        return columns * [self.half_width, self.half_height]

    @cached_property
    def rolled_projection(self) -> np.ndarray:
        """The same with roll, (3, 2)."""
        return self.projection @ self.turn.T

    @cached_property
    def flat_projection(self) -> np.ndarray:
        """Takes (u, v) of the silhouette to pixels from the centre, (2, 2)."""
        return np.array([[self.half_width], [self.half_height]]) * self.turn.T

    def upright(self, uv: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Points of the face surface, raised by `lift`, in pixels from the centre before roll."""
        return _with_depth(uv, lift) @ self.projection

    def place(self, uv: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Points of the face surface in picture pixels."""
        return _with_depth(uv, lift) @ self.rolled_projection + self.centre

    def place_flat(self, uv: np.ndarray) -> np.ndarray:
        """Points of the outline, which do not shift with yaw and pitch, in picture pixels."""
        return np.asarray(uv) @ self.flat_projection + self.centre


def _with_depth(uv: np.ndarray, lift: np.ndarray | float) -> np.ndarray:
    """Points of the face (..., 2) with their distance from the plane of the ears, (..., 3)."""
    uv = np.asarray(uv)
    points = np.empty((*uv.shape[:-1], 3))
    points[..., :2] = uv
    points[..., 2] = np.sqrt(np.maximum(1 - (uv * uv) @ DEPTH_FALL, 0.02)) + lift
    return points


class Brush:
    """Draws anti-aliased shapes, given in picture pixels, on an image `scale` times as large."""

    def __init__(self, image: np.ndarray, scale: float = 1.0) -> None:
        self.image = image
        self.scale = scale

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        unit = self.scale * (1 << FIXED_POINT_BITS)
        offset = 0.5 * unit - 0.5 * (1 << FIXED_POINT_BITS)
        return (points * unit + (offset + 0.5)).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Ink) -> None:
        """A filled polygon."""
        cv2.fillPoly(self.image, [self._fixed(points)], ink(colour), cv2.LINE_AA, FIXED_POINT_BITS)

    def lines(self, lines: np.ndarray, colour: Ink, width: float = 1.0) -> None:
        """Open polylines (N, points, 2), `width` picture pixels wide (at least one sheet pixel)."""
        thick = max(1, round(width * self.scale))
        corners = list(self._fixed(lines))
        cv2.polylines(self.image, corners, False, ink(colour), thick, cv2.LINE_AA, FIXED_POINT_BITS)

    def disc(self, centre: np.ndarray, radius: float, colour: Ink) -> None:
        """A filled circle, radius in picture pixels."""
        x, y = self._fixed(centre).tolist()
        r = max(1, round(radius * self.scale * (1 << FIXED_POINT_BITS)))
        cv2.circle(self.image, (x, y), r, ink(colour), -1, cv2.LINE_AA, FIXED_POINT_BITS)


def ink(colour: Ink) -> tuple[float, ...]:
    """A colour as OpenCV takes it."""
    return (float(colour),) if isinstance(colour, float | int) else tuple(map(float, colour))


@lru_cache(maxsize=1)
def noise_banks() -> dict[str, np.ndarray]:
    """Tileable noise, unit deviation, repeated 2x2 so that any window up to one tile is a view.

    `pink` has the 1/f amplitude of natural scenes, `smoke` only its large shapes, `pores` and
    `white` only fine detail, `strands` runs along the first axis, `coils` is curly.
    """
    rng = np.random.default_rng(20240229)  # any fixed number: every process must get the same banks
    fy = np.fft.fftfreq(BANK_SIDE)[:, None]
    fx = np.fft.rfftfreq(BANK_SIDE)[None, :]
    f = np.hypot(fy, fx)
    f[0, 0] = 1
    gains = {
        "white": np.ones_like(f),
        "pink": 1 / np.maximum(f, 0.006),
        "smoke": np.maximum(f, 0.006) ** -2.2,
        "pores": np.exp(-(((f - 0.16) / 0.12) ** 2)) + 0.08 / np.maximum(f, 0.02),
        "strands": np.exp(-((fy / 0.012) ** 2)) * np.exp(-((fx / 0.3) ** 2)) / (fx + 0.04) ** 0.6,
        "coils": np.exp(-(((f - 0.09) / 0.05) ** 2)) + 0.04 / np.maximum(f, 0.02),
    }
    banks = {}
    for name, gain in gains.items():
        spectrum = np.fft.rfft2(rng.standard_normal((BANK_SIDE, BANK_SIDE))) * gain
        spectrum[0, 0] = 0
        tile = np.fft.irfft2(spectrum, s=(BANK_SIDE, BANK_SIDE))
        if name == "coils":
            tile = np.abs(tile)
            tile -= tile.mean()
        banks[name] = np.tile(tile / tile.std(), (2, 2)).astype(np.float32)
    return banks


def noise(name: str, rng: Generator, size: int) -> np.ndarray:
    """A random (size, size) float32 window of a bank, at random upside down. Do not write to it."""
    place = int(rng.integers(2 * BANK_SIDE * BANK_SIDE))
    row, column = place // 2 // BANK_SIDE, place // 2 % BANK_SIDE
    window = noise_banks()[name][row : row + size, column : column + size]
    return window[::-1] if place % 2 else window


def curves(points: Sequence[Sequence[tuple[float, float]]]) -> np.ndarray:
    """Smooth lines (N, 9, 2), each a parabola through three points."""
    return CURVE_BASIS @ np.array(points)


def curve(*points: tuple[float, float]) -> np.ndarray:
    """A smooth line (9, 2) through three points."""
    return CURVE_BASIS @ np.array(points)


def blank(size: int, colour: Ink) -> np.ndarray:
    """A (size, size, 3) uint8 sheet of one colour."""
    sheet = np.empty((size, size, 3), np.uint8)
    cv2.rectangle(sheet, (0, 0), (size, size), ink(colour), -1)
    return sheet


def head_outline(person: Person, grow: float = 0.0) -> np.ndarray:
    """The silhouette of the bare head in face units (64, 2), starting at the left, over the top."""
    t = np.linspace(np.pi, 3 * np.pi, 64, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    power = np.where(s < 0, 2.3, person.jaw_power)
    height = np.where(s < 0, person.crown - 0.1 + grow, 1.1)
    taper = 1 - 1.5 * (1 - person.jaw_width) * np.maximum(s, 0) ** 2
    u = np.sign(c) * np.abs(c) ** (2 / power) * taper * (1 + grow)
    v = np.sign(s) * np.abs(s) ** (2 / power) * height - 0.1
    return np.stack([u, v], -1)


def mirrored(points: np.ndarray, side: int) -> np.ndarray:
    """Points of the right half of the face, put on `side` (-1 or 1)."""
    return points * [side, 1]


def paint_eye(brush: Brush, person: Person, shot: Shot, frame: Frame, side: int) -> None:
    """One eye: white, iris, pupil, catch-light, lids and lashes."""
    gap, line, wide = person.eye_gap, person.eye_line, person.eye_width
    high = person.eye_height * shot.eye_open
    inner = (gap - wide, line + person.eye_tilt + 0.012)
    outer = (gap + wide, line - person.eye_tilt)
    middles = (-high, 0.62 * high, -high - 0.14, high + 0.14, -high - 0.02 - 0.035 * person.lid)
    lids = curves([(inner, (gap, line + middle), outer) for middle in middles])
    upper, lower, lid, bag, crease = frame.place(mirrored(lids, side))
    pixel = frame.half_width
    brush.fill(np.concatenate([upper, lower[::-1]]), [222, 212, 204])
    paint_iris(brush, person, shot, frame, side)
    shade = person.skin * (1 - 0.3 * person.make_up)
    brush.fill(np.concatenate([upper, lid[::-1]]), shade)
    brush.fill(np.concatenate([lower, bag[::-1]]), person.skin)
    brush.lines(lower[None], person.skin * floats([0.78, 0.62, 0.58]), 0.012 * pixel)
    lash = np.minimum(person.skin * 0.35, 60) * (1 - 0.6 * person.make_up)
    brush.lines(upper[None], lash, (0.02 + 0.025 * person.make_up) * pixel)
    if person.lid > 0.25:
        brush.lines(crease[None], person.skin * 0.68, 0.014 * pixel)
    out = STEPS[:, None] * np.array([0.045 * side, -0.05])
    tips = upper + out * (pixel * (0.5 + 0.8 * person.make_up))
    brush.lines(np.stack([upper, tips], 1)[2:], lash, 0)


def paint_iris(brush: Brush, person: Person, shot: Shot, frame: Frame, side: int) -> None:
    """Iris with a dark ring, fibres and pupil; the catch-light faces the key light."""
    gaze = np.array([0.05, 0.025]) * shot.gaze
    at = frame.place(np.array([person.eye_gap * side, person.eye_line - 0.006]) + gaze)
    radius = 0.105 * frame.half_width
    brush.disc(at, radius, person.iris * 0.4)
    brush.disc(at, radius * 0.86, person.iris)
    if radius > 5:  # pixels: below that the fibres of the iris cannot be seen
        rays = CIRCLE * (radius * 0.75)
        brush.lines(np.stack([at + rays * 0.4, at + rays], 1), person.iris * 1.35, 0.3)
    brush.disc(at, radius * 0.42, [12, 10, 10])
    glint = at + shot.key_direction[:2] * radius * 0.5
    brush.disc(glint, radius * 0.22, [255, 255, 255])


def paint_brows(brush: Brush, person: Person, frame: Frame, shot: Shot, rng: Generator) -> None:
    """Eyebrows: hairs along an arch, upright near the nose and lying down towards the temple."""
    gap, rise = (person.eye_gap, person.eye_line - person.brow_rise - 0.03 * (shot.eye_open - 0.9))
    inner = (gap - 0.27, rise + 0.02 - person.brow_tilt)
    arch = (gap + 0.02, rise - person.brow_arch)
    path = curve(inner, arch, (gap + 0.27, rise + 0.03 + person.brow_tilt))
    count = 80
    lean = rng.random(count)
    along = lean * (len(path) - 1)
    step = along.astype(int)
    root = path[step] + (path[step + 1] - path[step]) * (along - step)[:, None]
    thick = person.brow_thickness * (1.25 - 0.8 * lean)
    root[:, 1] += rng.uniform(-0.2, 1, count) * thick
    hair = np.stack([0.03 + 0.05 * lean, -(0.035 - 0.03 * lean)], -1)
    hairs = np.stack([root, root + hair * rng.uniform(0.6, 1.3, (count, 1))], 1)
    hairs[: count // 2, :, 0] *= -1
    placed = frame.place(hairs, 0.05)
    width = 0.012 * frame.half_width
    brush.lines(placed[::2], person.skin * 0.35 + person.brow * 0.65, width)
    brush.lines(placed[1::2], person.brow, width)


def paint_mouth(brush: Brush, person: Person, shot: Shot, frame: Frame) -> None:
    """Lips, and teeth when the mouth is open."""
    line, full = person.mouth_line, person.lip_fullness
    wide = person.mouth_width * (1 + 0.22 * shot.smile)
    gap = 0.085 * shot.mouth_open
    corner = line - 0.035 * shot.smile
    left, right = (-wide, corner), (wide, corner)
    low_middle = line + gap + 0.015 * shot.smile
    inner = curves([(left, (0, line - 0.1 * gap), right), (left, (0, low_middle), right)])
    thin = full * (1 - 0.35 * shot.smile)
    across = 2 * STEPS - 1
    bow = 1 - across**2 - 0.25 * np.exp(-((across / 0.12) ** 2))
    outer = inner.copy()
    outer[0, :, 1] -= thin * 0.9 * bow
    outer[1, :, 1] += thin * 1.35 * (1 - across**2)
    teeth = inner * [0.94, 1]
    teeth[1] = np.minimum(teeth[1] - [0, 0.15 * gap], [9, line + 0.06 + 0.4 * gap])
    top, low, upper, lower, biting, hanging = frame.place(
        np.concatenate([inner, outer, teeth]), 0.07
    )
    if gap > 0.01:
        brush.fill(np.concatenate([top, low[::-1]]), (58, 24, 24))
        brush.fill(np.concatenate([biting, hanging[::-1]]), (236, 228, 214))
        brush.lines(np.stack([biting, hanging], 1)[1:-1], (186, 172, 158), 0.4)
    brush.fill(np.concatenate([upper, top[::-1]]), person.lip * 0.92)
    brush.fill(np.concatenate([low, lower[::-1]]), person.lip)
    brush.lines(top[None], person.lip * 0.42, 0.018 * frame.half_width)


def paint_nose(brush: Brush, person: Person, frame: Frame) -> None:
    """Nostrils and the crease around each wing; the bridge comes from the light."""
    tip, wide = person.nose_length, person.nose_width
    hole = CIRCLE[::2] * [0.32 * wide, 0.022]
    for side in (-1, 1):
        slanted = hole * [1, 1] + [0.52 * wide, tip + 0.055] + hole[:, :1] * [0, -0.12]
        brush.fill(frame.place(mirrored(slanted, side), 0.12), person.skin * [0.36, 0.26, 0.25])
        wing = curve((wide * 0.85, tip - 0.06), (wide * 1.08, tip), (wide * 0.8, tip + 0.055))
        brush.lines(
            frame.place(mirrored(wing, side), 0.05)[None],
            person.skin * [0.7, 0.6, 0.58],
            0.014 * frame.half_width,
        )


def paint_marks(brush: Brush, person: Person, frame: Frame, rng: Generator) -> None:
    """Freckles and moles."""
    for u, v, radius in person.moles:
        brush.disc(frame.place(np.array([u, v])), radius * frame.half_width, person.skin * 0.45)
    count = int(90 * person.freckles)
    if count == 0:
        return
    spots = rng.normal([0, 0.02], [0.5, 0.2], (count, 2)).clip(-0.9, 0.9)
    colour = person.skin * floats([0.82, 0.7, 0.62])
    for at, radius in zip(frame.place(spots), rng.uniform(0.007, 0.02, count), strict=True):
        brush.disc(at, radius * frame.half_width, colour)


def paint_ears(brush: Brush, mask: Brush, person: Person, frame: Frame) -> None:
    """Both ears, each narrower on the side that the head turns to; added to the head's mask."""
    for side in (-1, 1):
        wide = 0.12 * person.ear * (1 - 1.6 * side * frame.yaw)
        if wide < 0.03:
            continue
        rim = CIRCLE * [wide, 0.22 * person.ear] + [0.97, -0.06]
        rim[:, 0] -= 0.04 * CIRCLE[:, 1]
        mask.fill(frame.place_flat(mirrored(rim, side)), 255)
        fold = (rim - [0.97, -0.06]) * [0.62, 0.72] + [0.98, -0.07]
        placed = frame.place_flat(mirrored(fold, side))
        brush.lines(placed[None, 13::2], person.skin * [0.76, 0.68, 0.66], 0.035 * frame.half_width)
        brush.lines(placed[None, 1:9:2], person.skin * [0.8, 0.72, 0.7], 0.03 * frame.half_width)


def crease_lines(person: Person, shot: Shot, frame: Frame, size: int) -> np.ndarray:
    """Folds and wrinkles, 0..1, (size, size): deep where the face is old or smiles."""
    image = np.zeros((size, size), np.uint8)
    brush = Brush(image)
    thin = 0.012 * frame.half_width
    fold = 255 * min(1.0, 0.12 + 0.45 * shot.smile + 0.5 * person.age)
    old = 255 * max(0.0, person.age - 0.3)
    line, mouth, wide = person.eye_line, person.mouth_line, person.mouth_width
    strokes = [((0.06, line - 0.2), (0.07, line - 0.13), (0.05, line - 0.07))]
    strokes += [((0.3, line + 0.1), (0.46, line + 0.15), (0.64, line + 0.1))]
    strokes += [((person.nose_width + 0.03, 0.16), (0.4, 0.3), (wide + 0.12, mouth + 0.02))]
    for k in (-1, 0, 1):
        start = (0.72, line + 0.03 * k)
        strokes += [(start, (0.78, line + 0.05 * k), (0.86, line + 0.09 * k))]
    half = curves(strokes)
    depths = [old * 0.8, old * 0.8 + 30, fold] + [old * (0.5 + shot.smile)] * 3
    widths = [1, 1.5, 2, 1, 1, 1]
    for side in (-1, 1):
        for path, depth, width in zip(
            frame.place(mirrored(half, side), 0.03), depths, widths, strict=True
        ):
            if depth > 12:  # out of 255: fainter folds do not show
                brush.lines(path[None], depth, width * thin)
    if old > 0:
        rows = (-0.5, -0.61, -0.72)
        furrows = [((-0.5, v + 0.02), (0.1, v - 0.02), (0.52, v + 0.02)) for v in rows]
        brush.lines(frame.place(curves(furrows)), old * 0.9, thin)
    return cv2.blur(image, (3, 3)).astype(np.float32) * np.float32(1 / 255)


def glasses_mask(glasses: Glasses, person: Person, frame: Frame, size: int) -> list[np.ndarray]:
    """Coverage of the frame and of the lenses, both 0..1, (size, size)."""
    sheet = np.zeros((2, size * OVERSAMPLING, size * OVERSAMPLING), np.uint8)
    rim, lens = Brush(sheet[0], OVERSAMPLING), Brush(sheet[1], OVERSAMPLING)
    width = max(glasses.thickness * size, 0.6)
    shape = np.sign(CIRCLE) * np.abs(CIRCLE) ** (2 / glasses.shape)
    for side in (-1, 1):
        gap = max(person.eye_gap, glasses.half_width + 0.08)
        at = np.array([gap, person.eye_line + 0.02])
        lens_line = mirrored(shape * [glasses.half_width, glasses.half_height] + at, side)
        placed = frame.place(lens_line, 0.16)
        lens.fill(placed, 255)
        if not glasses.rimless:
            rim.lines(placed[None], 255, width)
        edge = gap + glasses.half_width
        arm = [(edge, person.eye_line - 0.03), (0.95, person.eye_line - 0.04)]
        rim.lines(
            frame.place(mirrored(np.array(arm), side), np.array([0.16, -0.1]))[None], 255, width
        )
    inner = max(person.eye_gap - glasses.half_width, 0.08)
    line = person.eye_line
    bridge = curve((-inner, line), (0, line - 0.04), (inner, line))
    rim.lines(frame.place(bridge, 0.2)[None], 255, width)
    return [
        cv2.resize(layer, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
        * np.float32(1 / 255)
        for layer in sheet
    ]

"""Draws sharp, well exposed face portraits from numbers alone, to be degraded and learnt from.

`draw_portrait` is the one entry. A picture depends on (identity, index, seed, size) and nothing
else: who the person is follows from seed and identity, the pose, light and setting from all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from train.portrait_light import HeadLight
from train.portrait_parts import (
    CIRCLE,
    HEAD_DEPTH,
    OVERSAMPLING,
    Brush,
    Frame,
    blank,
    glasses_mask,
    head_outline,
    noise,
    paint_brows,
    paint_ears,
    paint_eye,
    paint_marks,
    paint_mouth,
    paint_nose,
)
from train.portrait_scenery import backdrop, dress, hair_masks, linear, planes, strands, weave
from train.portrait_traits import Person, Shot, floats, make_person, take_shot

FACE_HALF_WIDTH = 0.255  # of the side: what a 1.45x margin around a detected face leaves
FACE_HALF_HEIGHT = 0.345
TONE_LEVELS = 4096  # steps of the linear-to-sRGB table
PLAIN_TONES = np.linspace(0, 1, TONE_LEVELS, dtype=np.float32) ** np.float32(1 / 2.2)
S_CURVE = PLAIN_TONES * PLAIN_TONES * (3 - 2 * PLAIN_TONES) - PLAIN_TONES


@dataclass(frozen=True)
class Portrait:
    """A drawn portrait and where its face is."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    face: np.ndarray  # (S, S) float32, 0..1: skin with its features, without hair


def draw_portrait(identity: int, index: int, seed: int, size: int = 160) -> Portrait:
    """Draw picture `index` of a person. `size` is the side in pixels, 96 to 512."""
    if not 96 <= size <= 512:
        raise ValueError(f"size {size} is outside 96..512; draw at a size inside and resize")
    person = _person(identity, seed)
    rng = _shot_numbers(identity, index, seed)
    shot = take_shot(rng, person)
    frame = _frame(person, shot, size)
    light = HeadLight(person, shot, frame, rng, size)
    canvas = backdrop(shot, rng, size)
    hat = person.headwear if shot.hat_on else "none"
    hair = _hair(person, shot, frame, rng, size) if person.hair.cut != "bald" else None
    if hair is not None and person.hair.length > 0.3:
        canvas = _over(canvas, hair.colour * np.float32(0.45), hair.behind)
    head, neck, skin = _skin(person, shot, frame, light, rng, size)
    lower = slice(size // 3, None)  # no neck or clothes above
    canvas[:, lower] = _over(canvas[:, lower], skin[:, lower], neck[lower])
    cloth, dressed = dress(shot, frame, rng, size)
    worn = (cloth * light.on_body)[:, lower]
    canvas[:, lower] = _over(canvas[:, lower], worn, dressed[lower])
    canvas = _over(canvas, skin, head)
    face = head
    if hair is not None:
        canvas = _over(canvas, hair.colour, hair.front)
        face = face * (1 - hair.front)
    if hat != "none":
        fabric, covered = _headwear(hat, person, frame, light, rng, size)
        canvas = _over(canvas, fabric, covered)
        face = face * (1 - covered)
    if shot.glasses_on:
        canvas = _wear_glasses(canvas, person, shot, frame, light, size)
    return Portrait(_develop(canvas, shot, rng, size), np.ascontiguousarray(face))


@lru_cache(maxsize=64)
def _person(identity: int, seed: int) -> Person:
    """The person; kept, since the pictures of one person are usually drawn together."""
    return make_person(_trait_numbers(identity, seed))


def _trait_numbers(identity: int, seed: int) -> Generator:
    """The random numbers behind a person."""
    return default_rng(SeedSequence([seed, identity]))


def _shot_numbers(identity: int, index: int, seed: int) -> Generator:
    """Those behind one picture; one is added, as a trailing 0 would repeat the person's numbers."""
    return default_rng(SeedSequence([seed, identity, index + 1]))


def _frame(person: Person, shot: Shot, size: int) -> Frame:
    """Place the head so that its features stay near the middle, as a detector would crop it."""
    half_width = FACE_HALF_WIDTH * size * shot.zoom * person.width
    half_height = FACE_HALF_HEIGHT * size * shot.zoom
    turned = np.array([np.sin(shot.yaw) * half_width, np.sin(shot.pitch) * half_height])
    centre = np.array([0.5, 0.5]) * size + shot.shift * size - 0.55 * HEAD_DEPTH * turned
    return Frame(centre, half_width, half_height, shot.yaw, shot.pitch, shot.roll)


def _over(below: np.ndarray, above: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Lay planes over planes where `coverage` (H, W) says so."""
    return below + (above - below) * coverage


def _skin(
    person: Person, shot: Shot, frame: Frame, light: HeadLight, rng: Generator, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage of the head and of the neck, and the lit skin with its features (3, size, size)."""
    sheet = blank(size * OVERSAMPLING, person.skin)
    brush = Brush(sheet, OVERSAMPLING)
    head, neck = np.zeros((2, size, size), np.uint8)
    paint_ears(brush, Brush(head), person, frame)
    Brush(head).fill(frame.place_flat(head_outline(person)), 255)
    trunk = np.array([[-0.6, 0.3], [0.6, 0.3], [0.68, 2.2], [-0.68, 2.2]])
    Brush(neck).fill(frame.place_flat(trunk), 255)
    paint_marks(brush, person, frame, rng)
    for side in (-1, 1):
        paint_eye(brush, person, shot, frame, side)
    paint_brows(brush, person, frame, shot, rng)
    paint_nose(brush, person, frame)
    paint_mouth(brush, person, shot, frame)
    skin = planes(cv2.resize(sheet, (size, size), interpolation=cv2.INTER_AREA))
    blotches = noise("pink", rng, size) * np.float32(0.02) + light.redness * np.float32(
        0.22 * person.flush
    )
    skin[1:] *= 1 - np.clip(blotches, -0.3, 0.5)
    skin *= 1 + light.detail * np.float32(0.012 + 0.03 * person.pores)
    if person.beard != "none":
        skin = _grow_beard(skin, person, shot, frame, rng, size)
    shadow = _cast_shadow(head, shot, frame, size)
    skin *= light.on_skin(shadow)
    skin += light.gleam * shot.key[:, None, None]
    scale = np.float32(1 / 255)
    return head.astype(np.float32) * scale, neck.astype(np.float32) * scale, skin


def _cast_shadow(head: np.ndarray, shot: Shot, frame: Frame, size: int) -> np.ndarray:
    """What the nose and the chin keep from the key light: 1 is unshaded, (size, size)."""
    away = -shot.key_direction[:2] / max(float(shot.key_direction[2]), 0.4)
    mask = np.zeros((size, size), np.uint8)
    nose = np.array([[-0.03, -0.1], [0.03, -0.1], [0.16, 0.22], [0.0, 0.27], [-0.16, 0.22]])
    reach = np.array([[0.2], [0.2], [1], [1], [1]]) * away * 0.24 * frame.half_width
    Brush(mask).fill(frame.place(nose, 0.05) + reach, 150)
    chin = np.array([[-0.9, 0.72], [0.9, 0.72], [0.75, 1.28], [-0.75, 1.28]])
    below = np.zeros_like(mask)
    Brush(below).fill(frame.place_flat(chin) + away * 0.2 * frame.half_width, 190)
    mask = np.maximum(mask, np.minimum(below, 255 - head))
    soft = 2 * round(0.02 * size) + 1
    return 1 - cv2.blur(mask, (soft, soft)).astype(np.float32) * np.float32(1 / 255)


def _grow_beard(
    skin: np.ndarray, person: Person, shot: Shot, frame: Frame, rng: Generator, size: int
) -> np.ndarray:
    """Lay stubble, moustache or beard over the skin planes."""
    mask = np.zeros((size, size), np.uint8)
    brush = Brush(mask)
    mouth, wide = person.mouth_line, person.mouth_width
    if person.beard in ("full", "stubble"):
        jaw = [[-0.98, -0.1], [-0.8, 0.25], [-0.5, 0.36], [0, 0.3], [0.5, 0.36], [0.8, 0.25]]
        low = [[0.98, -0.1], [0.95, 0.6], [0.6, 1.12], [-0.6, 1.12], [-0.95, 0.6]]
        brush.fill(frame.place_flat(np.array(jaw + low)) + _turn_of(frame), 255)
    if person.beard in ("moustache", "goatee"):
        lip = [[-wide - 0.06, mouth + 0.02], [-0.2, mouth - 0.12], [0, mouth - 0.11]]
        lip += [[0.2, mouth - 0.12], [wide + 0.06, mouth + 0.02], [0, mouth - 0.03]]
        brush.fill(frame.place(np.array(lip), 0.08), 255)
    if person.beard == "goatee":
        tuft = [
            [-wide * 0.9, mouth + 0.02],
            [wide * 0.9, mouth + 0.02],
            [0.28, 1.04],
            [-0.28, 1.04],
        ]
        brush.fill(frame.place(np.array(tuft)), 255)
    opening = np.array([[-wide * 0.95, mouth], [0, mouth - 0.045], [wide * 0.95, mouth]])
    low_lip = np.array([[0, mouth + 0.1 + 0.08 * shot.mouth_open]])
    brush.fill(frame.place(np.concatenate([opening, low_lip]), 0.08), 0)
    soft = 2 * round(0.012 * size) + 1
    cover = cv2.blur(mask, (soft, soft)).astype(np.float32) * np.float32(1 / 255)
    hairs = noise("coils", rng, size)
    if person.beard == "stubble":
        return _over(skin, linear(person.beard_colour), cover * np.clip(0.3 + 0.1 * hairs, 0, 0.6))
    cover = np.clip(cover * np.float32(2.2) - np.float32(0.6) + np.float32(0.22) * hairs, 0, 0.95)
    shade = np.maximum(
        1 + np.float32(0.24) * hairs + np.float32(0.14) * noise("pores", rng, size), 0.2
    )
    return _over(skin, linear(person.beard_colour) * shade, cover * np.minimum(cover * 2, 1))


def _turn_of(frame: Frame) -> np.ndarray:
    """How far the front of the face moves when the head turns, in pixels."""
    return frame.place(np.array([0.0, 0.5])) - frame.place_flat(np.array([0.0, 0.5]))


@dataclass(frozen=True)
class _HairLayer:
    """Lit hair (3, size, size) and where it covers, behind the neck and in front of the face."""

    colour: np.ndarray
    behind: np.ndarray
    front: np.ndarray


def _hair(person: Person, shot: Shot, frame: Frame, rng: Generator, size: int) -> _HairLayer:
    """Hair with strands, a sheen and a ragged edge."""
    texture = strands(person.hair, shot, frame, rng, size)
    outer, opening = hair_masks(person, frame, size)
    soft = 2 * round((0.008 + 0.02 * person.hair.jagged) * size) + 1
    scale = np.float32(1 / 255)
    ragged = np.clip(texture * np.float32(0.12 + 0.1 * person.hair.jagged), -0.34, 0.34)
    edges = [cv2.blur(m, (soft, soft)).astype(np.float32) * scale for m in (outer, opening)]
    behind = np.clip((edges[0] - 0.5 + ragged * 0.5) * np.float32(5) + 0.5, 0, 1)
    inside = np.clip((edges[1] - 0.5 + ragged) * np.float32(4) + 0.5, 0, 1)
    u = (np.arange(size, dtype=np.float32) - np.float32(frame.centre[0])) / frame.half_width
    v = (np.arange(size, dtype=np.float32) - np.float32(frame.centre[1])) / frame.half_height
    key = shot.key_direction
    lean = (u * key[0] * np.float32(0.55))[None, :] + (v * key[1] * np.float32(0.4))[:, None]
    lit = np.clip(lean.astype(np.float32) + np.float32(0.5), 0.1, 1.2)
    contrast = np.float32(0.4 - 0.18 * person.hair.curl)
    depth = np.maximum(1 + texture * contrast, 0.12)
    tone = (
        linear(person.hair.colour) * shot.fill[:, None, None]
        + (linear(person.hair.colour) * shot.key[:, None, None]) * lit
    )
    band = np.exp(-(((v + 0.95) / 0.2) ** 2))[:, None].astype(np.float32)
    sheen = band * np.maximum(texture + 0.3, 0) * lit * np.float32(0.05 * (1 - person.hair.curl))
    front = behind * (1 - inside)
    if person.hair.cut == "buzz":
        front *= np.float32(0.75)
    return _HairLayer(tone * depth + sheen, behind, front)


def _headwear(
    kind: str, person: Person, frame: Frame, light: HeadLight, rng: Generator, size: int
) -> list[np.ndarray]:
    """A hat or scarf: lit fabric (3, size, size) and its coverage (size, size)."""
    mask = np.zeros((size, size), np.uint8)
    brush = Brush(mask)
    grow = {"headscarf": 0.16, "turban": 0.3}.get(kind, 0.1)
    outline = head_outline(person, grow)
    if kind == "headscarf":
        drape = [[1.25, 0.6], [1.6, 2.4], [-1.6, 2.4], [-1.25, 0.6]]
        brush.fill(frame.place_flat(np.concatenate([outline[:33], drape])), 255)
        brush.fill(frame.place(head_outline(person, 0.0) * [0.88, 0.84] + [0, 0.12], -0.25), 0)
    else:
        brow = {"beanie": -0.6, "cap": -0.62, "turban": -0.58}[kind]
        rim = [[1.1, -0.42], [0.8, brow + 0.04], [0, brow - 0.02], [-0.8, brow + 0.04]]
        brush.fill(frame.place_flat(np.array([*outline[:33], *rim, [-1.1, -0.42]])), 255)
    if kind == "cap":
        peak = CIRCLE * [0.85, 0.12] + [0, -0.6]
        brush.fill(frame.place(peak, 0.5), 255)
    relief = weave(rng, size) + light.detail * np.float32(0.1)
    folds = noise("smoke", rng, size)
    relief *= 1 + np.sin(folds * np.float32(9)) * np.float32(0.12)
    shade = np.float32(0.35) + np.float32(0.65) * light.facing
    fabric = linear(person.headwear_colour) * (relief * shade) * light.on_body
    return [fabric, mask.astype(np.float32) * np.float32(1 / 255)]


def _wear_glasses(
    canvas: np.ndarray, person: Person, shot: Shot, frame: Frame, light: HeadLight, size: int
) -> np.ndarray:
    """Spectacles with their shadow, a faint reflection and a gleam along the rim."""
    glasses = person.glasses
    assert glasses is not None
    rim, lens = glasses_mask(glasses, person, frame, size)
    dx, dy = (-shot.key_direction[:2] * 0.012 * size).tolist()
    shift = floats([[1, 0, dx], [0, 1, dy + 0.008 * size]])
    shadow = cv2.warpAffine(cv2.blur(rim, (3, 3)), shift, (size, size))
    canvas = canvas * (1 - np.float32(0.35) * shadow)
    slope = np.arange(size, dtype=np.float32) / np.float32(size)
    streak = np.sin((slope[None, :] * 2 + slope[:, None] * 3) * np.float32(9))
    canvas += lens * np.maximum(streak, 0) * np.float32(0.04 * shot.key[1])
    metal = np.float32(0.5) + np.float32(0.8) * light.facing
    return _over(canvas, linear(glasses.colour) * metal, rim)


def _develop(canvas: np.ndarray, shot: Shot, rng: Generator, size: int) -> np.ndarray:
    """Linear planes to an sRGB picture (size, size, 3): exposure, grain, tone, lens."""
    if shot.monochrome:
        canvas = np.tensordot(floats([0.3, 0.59, 0.11]), canvas, 1)[None].repeat(3, 0)
    grain = noise("white", rng, size) * np.float32(shot.grain) + np.float32(1)
    levels = canvas * (grain * np.float32(shot.exposure * (TONE_LEVELS - 1)))
    codes = np.clip(levels, 0, TONE_LEVELS - 1).astype(np.uint16)
    picture = cv2.merge(list(_tone_curve(shot.contrast).take(codes)))
    soft = cv2.GaussianBlur(picture, (3, 3), 0.9)
    return cv2.addWeighted(picture, 1 - shot.softness, soft, shot.softness, 0)


def _tone_curve(contrast: float) -> np.ndarray:
    """Linear level to sRGB code; `contrast` 0..1 deepens the shadows and rolls off the lights."""
    curved = PLAIN_TONES + np.float32(0.25 * contrast) * S_CURVE
    return (curved * np.float32(255) + np.float32(0.5)).astype(np.uint8)

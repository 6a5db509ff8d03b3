"""What surrounds the face in a drawn portrait: backdrops, clothes and how hair flows."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from train.portrait_parts import BANK_SIDE, Brush, Frame, blank, head_outline, noise, noise_banks
from train.portrait_traits import Colour, Hair, Person, Shot, any_colour, floats

# sRGB code values to linear light.
LINEAR_LIGHT = ((np.arange(256) / 255) ** 2.2).astype(np.float32)


def linear(colour: np.ndarray) -> np.ndarray:
    """An sRGB colour (0..255) in linear light (0..1), shaped to broadcast over planes."""
    return ((np.clip(colour, 0, 255) / 255) ** 2.2).astype(np.float32)[:, None, None]


def planes(picture: np.ndarray) -> np.ndarray:
    """An sRGB uint8 picture (H, W, 3) as linear float32 planes (3, H, W)."""
    return np.stack(cv2.split(cv2.LUT(picture, LINEAR_LIGHT)))


def between(mix: np.ndarray, dark: Colour, light: Colour) -> np.ndarray:
    """Planes that go from one colour (mix 0) to another (mix 1)."""
    low = linear(dark)
    return low + (linear(light) - low) * mix


def backdrop(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    """The background as linear planes (3, size, size), defocused as the shot asks."""
    return BACKDROP_PAINTERS[shot.backdrop](shot, rng, size)


def _ramp(rng: Generator, size: int) -> np.ndarray:
    """A soft pool of light or a straight gradient, 0..1."""
    grid = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    x, y = rng.normal(0, 0.3, 2)
    if rng.random() < 0.5:
        pool = (grid - np.float32(x))[None, :] ** 2 + (grid - np.float32(y))[:, None] ** 2
        return 1 / (1 + pool * np.float32(rng.uniform(1, 6)))
    slope = grid[None, :] * np.float32(x) * 2 + grid[:, None] * np.float32(rng.choice([-1, 1]))
    return np.clip(slope + np.float32(0.5), 0, 1)


def _near_colours(shot: Shot) -> tuple[Colour, Colour]:
    base = shot.backdrop_colours[0]
    return base * np.float32(0.62), base


def _studio(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    return between(_ramp(rng, size), *_near_colours(shot))


def _cloth(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    mottle = noise("smoke", rng, size) * np.float32(0.16) + noise("pink", rng, size) * np.float32(
        0.03
    )
    return between(np.clip(_ramp(rng, size) * 0.7 + mottle + 0.15, 0, 1), *_near_colours(shot))


def _gradient(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    return between(_ramp(rng, size), *shot.backdrop_colours)


def _bokeh(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    picture = blank(size, shot.backdrop_colours.min(0) * 0.5)
    brush = Brush(picture)
    for at in rng.random((22, 2)) * size:
        colour = shot.backdrop_colours[0] * 0.4 + rng.uniform(30, 153, 3)
        brush.disc(at, size * rng.uniform(0.02, 0.1), colour)
    return planes(_defocus(picture, shot.blur + 0.008))


def _bricks(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    rows = int(rng.integers(6, 16))
    tones = rng.uniform(0.65, 1.1, (rows, rows // 2 + 2)).astype(np.float32).repeat(2, 1)
    tones[1::2] = np.roll(tones[1::2], 1, 1)
    wall = cv2.resize(tones[:, :rows], (size, size), interpolation=cv2.INTER_NEAREST)
    lit = np.minimum(wall[..., None] * shot.backdrop_colours[0], 255)
    picture = lit.astype(np.uint8)
    brush, high = Brush(picture), size / rows
    mortar, width = np.clip(shot.backdrop_colours[1], 90, 220), 0.1 * high
    levels = np.arange(rows + 1) * high - 0.5
    brush.lines(np.array([[[0, y], [size, y]] for y in levels]), mortar, width)
    joints = [[k * high, row * high] for row in range(rows) for k in range(row % 2, rows, 2)]
    starts = np.array(joints) - 0.5
    brush.lines(np.stack([starts, starts + np.array([0, high])], 1), mortar, width)
    rough = 1 + noise("pink", rng, size) * np.float32(rng.uniform(0.03, 0.1))
    return planes(_defocus(picture, shot.blur * 0.6)) * np.maximum(rough, 0.2)


def _shelves(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    picture = blank(size, shot.backdrop_colours[0] * 0.35)
    covers = [any_colour(rng, 0.8, (40, 210)) for _ in range(9)]
    brush = Brush(picture)
    bottom, high = 0.0, size / rng.uniform(2, 5)
    while bottom < size:
        bottom += high
        x = 0.0
        while x < size:
            thick, tall = size * rng.uniform(0.025, 0.08), high * rng.uniform(0.6, 0.92)
            top, right = bottom - tall, x + thick
            spine = np.array([[x, top], [right, top], [right, bottom - 2], [x, bottom - 2]])
            colour = covers[int(rng.integers(len(covers)))]
            brush.fill(spine, colour)
            band = bottom - tall * rng.uniform(0.3, 0.8)
            brush.lines(np.array([[[x, band], [x + thick, band]]]), 255 - colour, size * 0.012)
            x += thick * 1.12
    return planes(_defocus(picture, shot.blur * 0.8))


def _foliage(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    boughs, twigs = noise("pink", rng, size), noise("coils", rng, size)
    leaves = np.ascontiguousarray(boughs * np.float32(0.16) + twigs * np.float32(0.08))
    kernel = _kernel(size, shot.blur)
    mix = np.clip(
        cv2.blur(leaves, kernel) * np.float32(1.3) + np.float32(rng.uniform(0.3, 0.6)), 0, 1.2
    )
    green = floats([rng.uniform(90, 190), rng.uniform(130, 220), rng.uniform(40, 120)])
    return between(mix, green * np.float32(0.22), green)


def _room(shot: Shot, rng: Generator, size: int) -> np.ndarray:
    picture = blank(size, shot.backdrop_colours[0])
    brush = Brush(picture)
    for _ in range(int(rng.integers(3, 10))):
        x, y, wide, high = rng.uniform([-0.2, -0.2, 0.05, 0.05], [1, 1, 0.5, 0.7]) * size
        box = np.array([[x, y], [x + wide, y], [x + wide, y + high], [x, y + high]])
        brush.fill(box, any_colour(rng, 0.5, (30, 245)))
        brush.lines(
            np.concatenate([box, box[:1]])[None], any_colour(rng, 0.4, (20, 240)), 0.01 * size
        )
    light = _ramp(rng, size) * np.float32(0.6) + np.float32(0.55)
    rough = noise("pink", rng, size) * np.float32(0.05)
    return planes(_defocus(picture, shot.blur)) * (light + rough)


BACKDROP_PAINTERS: dict[str, Callable[[Shot, Generator, int], np.ndarray]] = {
    "studio": _studio,
    "cloth": _cloth,
    "gradient": _gradient,
    "bokeh": _bokeh,
    "bricks": _bricks,
    "shelves": _shelves,
    "foliage": _foliage,
    "room": _room,
}


def _kernel(size: int, blur: float) -> tuple[int, int]:
    """An odd box side for a blur given as a fraction of the picture."""
    side = 2 * round(size * blur) + 1
    return side, side


def _defocus(picture: np.ndarray, blur: float) -> np.ndarray:
    """Two box filters: close enough to a lens and cheap."""
    kernel = _kernel(picture.shape[0], blur)
    if kernel[0] < 3:
        return picture
    return cv2.blur(cv2.blur(picture, kernel), kernel)


def dress(shot: Shot, frame: Frame, rng: Generator, size: int) -> list[np.ndarray]:
    """Clothes as linear planes (3, size, size) and their coverage 0..1 (size, size)."""
    cloth, shirt, tie = shot.clothes_colours
    sheet = blank(size, cloth)
    mask = np.zeros((size, size), np.uint8)
    neck = frame.centre + np.array([-frame.yaw * 0.1 * size, frame.half_height * 0.98])
    side, x, y = float(size), neck[0], neck[1]
    slope = rng.uniform(0.1, 0.3) * side
    collar = 0.62 * frame.half_width
    body = [[x - collar, y], [x - 0.62 * side, y + slope], [x - side, 2 * side]]
    body += [[x + side, 2 * side], [x + 0.62 * side, y + slope], [x + collar, y]]
    dip = y + side * (0.05 if shot.clothes != "crew" else rng.uniform(0.04, 0.16))
    Brush(mask).fill(np.array([*body, [x, dip]]), 255)
    brush = Brush(sheet)
    if shot.clothes in ("suit", "shirt"):
        vee = [[x - collar * 1.15, y - 0.02 * side], [x + collar * 1.15, y - 0.02 * side]]
        if shot.clothes == "suit":
            brush.fill(np.array([*vee, [x + 0.03 * side, y + 0.42 * side]]), shirt)
            lapel = [[x - collar * 1.2, y], [x + 0.03 * side, y + 0.42 * side]]
            other = [[x + collar * 1.2, y], [x + 0.03 * side, y + 0.42 * side]]
            brush.lines(np.array([lapel, other]), cloth * 0.45, 0.008 * side)
        knot = 0.05 * side
        if rng.random() < 0.75:
            tie_shape = [[x - knot, dip], [x + knot, dip], [x + knot * 0.6, dip + knot * 1.6]]
            tie_shape += [[x + knot * 1.3, 2 * side], [x - knot * 1.3, 2 * side]]
            brush.fill(np.array([*tie_shape, [x - knot * 0.6, dip + knot * 1.6]]), tie)
        flap = shirt * 0.97
        for sign in (-1, 1):
            wing = [[x + sign * collar * 1.05, y - 0.03 * side], [x + sign * 0.005 * side, dip]]
            wing += [[x + sign * 0.12 * side, dip + 0.08 * side]]
            brush.fill(np.array(wing), flap)
            brush.lines(np.array(wing)[None], flap * 0.55, 0.006 * side)
    return [planes(sheet) * weave(rng, size), mask.astype(np.float32) / 255]


def weave(rng: Generator, size: int) -> np.ndarray:
    """Fabric relief around 1: folds, threads, sometimes a pattern of stripes or checks."""
    folds = noise("smoke", rng, size) * np.float32(0.2)
    threads = noise("pores", rng, size) * np.float32(rng.uniform(0.02, 0.1))
    relief = 1 + folds + threads
    if rng.random() < 0.4:
        grid = np.arange(size, dtype=np.float32) / np.float32(size)
        pitch, angle = rng.uniform(14, 60), rng.uniform(-0.4, 0.4)
        phase = grid[None, :] * np.float32(np.cos(angle)) + grid[:, None] * np.float32(
            np.sin(angle)
        )
        phase *= np.float32(pitch)
        stripes = phase - np.floor(phase) < np.float32(rng.uniform(0.1, 0.5))
        relief += stripes * np.float32(rng.uniform(-0.35, 0.5))
    return np.maximum(relief, 0.1)


def hair_masks(person: Person, frame: Frame, size: int) -> list[np.ndarray]:
    """Where hair may lie and where it leaves the face open, 0..255 (size, size)."""
    hair = person.hair
    top = head_outline(person, hair.volume)[:33]
    wide = 1 + hair.volume * 1.1
    tail = max(hair.length, -0.1)
    ends = [[wide * 1.04, 0.5 * tail], [wide * 0.98, hair.length], [wide * 0.6, hair.length + 0.1]]
    sides = np.array(ends) if hair.length > 0.15 else np.array([[wide, hair.length]])
    outer = np.concatenate([top, sides, mirrored_order(sides)])
    inner = hair.sides
    corner = hair.hairline - hair.corners
    half = [[inner, 2.6], [inner, 0.0], [inner * 0.97, -0.35], [inner * 0.8, corner + 0.08]]
    half += [[inner * 0.5, corner - 0.02]]
    rim = np.array([*half, [hair.part * 0.3, hair.hairline]])
    opening = np.concatenate([rim, mirrored_order(rim[:-1])])
    masks = []
    for shape in (frame.place_flat(outer), frame.place(opening, -0.25)):
        mask = np.zeros((size, size), np.uint8)
        Brush(mask).fill(shape, 255)
        masks.append(mask)
    return masks


def mirrored_order(points: np.ndarray) -> np.ndarray:
    """The other half of a symmetric outline, run backwards."""
    return points[::-1] * [-1, 1]


def strands(hair: Hair, shot: Shot, frame: Frame, rng: Generator, size: int) -> np.ndarray:
    """Hair texture, unit deviation: strands that fan out from the parting, waves, or coils."""
    coils = noise("coils", rng, size)
    if hair.curl > 0.75:
        return coils
    grid = np.arange(size, dtype=np.float32)
    x = (grid - np.float32(frame.centre[0] + hair.part * frame.half_width))[None, :]
    y = (grid - np.float32(frame.centre[1] - 1.15 * frame.half_height))[:, None]
    x, y = np.broadcast_to(x, (size, size)), np.broadcast_to(y, (size, size))
    reach, angle = cv2.cartToPolar(np.ascontiguousarray(x), np.ascontiguousarray(y + 0.2 * size))
    bend = noise("smoke", rng, size) * np.float32(4 + 10 * hair.curl + 4 * shot.tousle)
    across = angle * np.float32(0.55 * size / 1.6) + bend
    if hair.curl > 0.25:
        across += cv2.blur(coils * np.float32(7 * hair.curl), (5, 5))
    across += np.float32(100)  # keeps most of the map inside the bank, where no wrapping is needed
    reach += np.float32(rng.integers(BANK_SIDE))
    texture = cv2.remap(
        noise_banks()["strands"], across, reach, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return texture * np.float32(1 - 0.5 * hair.curl) + coils * np.float32(0.5 * hair.curl)

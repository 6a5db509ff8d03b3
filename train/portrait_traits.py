"""What stays with a drawn person, and what changes from one picture of them to the next.

Lengths are in face units: u runs from -1 to 1 across the face, v from -1 (top of the forehead) to 1
(chin). Colours are sRGB triples, 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Colour = np.ndarray  # (3,) float32, sRGB 0..255


def floats(values: object) -> np.ndarray:
    """Numbers as float32, the precision of all planes here."""
    return np.array(values, np.float32)


# From the palest to the darkest human skin, read off well exposed portraits.
SKIN_TONES = floats(
    [
        [250, 222, 206],
        [238, 200, 176],
        [222, 176, 146],
        [198, 148, 112],
        [160, 110, 80],
        [118, 78, 56],
        [80, 52, 40],
    ]
)
# Black, dark brown, brown, chestnut, auburn, dark blond, blond, grey, white.
HAIR_COLOURS = floats(
    [
        [30, 26, 26],
        [48, 36, 30],
        [82, 58, 42],
        [110, 70, 46],
        [134, 66, 36],
        [142, 112, 76],
        [198, 164, 112],
        [140, 138, 138],
        [218, 214, 208],
    ]
)
EYE_COLOURS = floats(
    [[52, 34, 24], [84, 56, 34], [108, 88, 52], [84, 104, 72], [86, 118, 146], [112, 124, 132]]
)
HEADWEAR = ("none", "beanie", "cap", "headscarf", "turban")
HAIR_CUTS = ("bald", "receding", "buzz", "short", "parted", "fringe", "bob", "long", "tied", "big")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
BACKDROPS = ("studio", "cloth", "gradient", "bokeh", "bricks", "shelves", "foliage", "room")
CLOTHES = ("suit", "shirt", "jumper", "crew")


@dataclass(frozen=True)
class Hair:
    """A haircut: lengths in face units, `curl` from 0 (straight) to 1 (tight coils)."""

    cut: str
    colour: Colour
    volume: float  # how far the hair stands off the skull
    length: float  # v at which the sides end
    hairline: float  # v of the hairline in the middle of the forehead
    corners: float  # how far the hairline recedes at the temples (positive: upwards)
    part: float  # u of the parting
    curl: float
    sides: float  # half-width of the opening that the hair leaves for the face
    jagged: float  # how ragged the edge is


@dataclass(frozen=True)
class Glasses:
    """Spectacles: half-sizes of a lens in face units; `shape` is a superellipse power."""

    colour: Colour
    half_width: float
    half_height: float
    shape: float
    thickness: float  # of the rim, as a fraction of the picture's side
    rimless: bool
    habit: float  # how often they are worn


@dataclass(frozen=True)
class Person:
    """Everything about a face that its owner keeps between pictures."""

    skin: Colour
    lip: Colour
    iris: Colour
    brow: Colour
    hair: Hair
    headwear: str
    headwear_colour: Colour
    glasses: Glasses | None
    beard: str
    beard_colour: Colour
    width: float  # face half-width over its usual value
    jaw_power: float
    jaw_width: float
    crown: float
    eye_gap: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    lid: float
    eye_line: float
    brow_rise: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_height: float
    mouth_line: float
    mouth_width: float
    lip_fullness: float
    cheek: float
    chin: float
    ear: float
    age: float  # 0 (smooth) to 1 (deeply lined)
    freckles: float
    moles: np.ndarray  # (N, 3): u, v, radius
    pores: float
    shine: float
    flush: float
    make_up: float


@dataclass(frozen=True)
class Shot:
    """Everything that one picture decides: pose, expression, light, setting. Angles in radians."""

    yaw: float
    pitch: float
    roll: float
    zoom: float
    shift: np.ndarray  # (2,) crop jitter as a fraction of the side
    smile: float
    mouth_open: float
    eye_open: float
    gaze: np.ndarray  # (2,)
    key_direction: np.ndarray  # (3,) unit vector towards the light, y down, z to the camera
    key: Colour  # linear, about 1
    fill: Colour
    rim: Colour
    exposure: float
    contrast: float
    grain: float
    glasses_on: bool
    hat_on: bool
    tousle: float
    backdrop: str
    backdrop_colours: np.ndarray  # (2, 3)
    blur: float  # defocus of the backdrop as a fraction of the side
    clothes: str
    clothes_colours: np.ndarray  # (3, 3): cloth, shirt, tie
    monochrome: bool
    softness: float  # share of a 0.9 px blur in the picture: lens and sampling


def between_rows(palette: np.ndarray, position: float) -> Colour:
    """The colour at a fractional row of a palette."""
    row = min(int(position), len(palette) - 2)
    return palette[row] + (palette[row + 1] - palette[row]) * np.float32(position - row)


def bounded(value: float, low: float, high: float) -> float:
    """The value, kept between two limits."""
    return float(min(max(value, low), high))


def pick(rng: Generator, names: Sequence[str], odds: Sequence[float]) -> str:
    """One of the names, at these odds (they sum to one); much quicker than `rng.choice`."""
    level = rng.random()
    for name, share in zip(names, odds, strict=True):
        level -= share
        if level < 0:
            return name
    return names[-1]


def any_colour(rng: Generator, saturation: float, value: tuple[float, float]) -> Colour:
    """A random hue, at most this saturated, between two brightnesses (0..255)."""
    tint = 1 - saturation * rng.random() ** 0.5 * rng.random(3)
    return floats(tint * (rng.uniform(*value) / max(tint.tolist())))


def wall_colour(rng: Generator) -> Colour:
    """Mostly the blues and greys of photographers' backdrops, sometimes anything."""
    if rng.random() < 0.45:
        return any_colour(rng, 0.75, (50, 235))
    blue = np.array([1 - 0.5 * rng.random(), 1 - 0.25 * rng.random(), 1.0])
    return floats(blue * rng.uniform(55, 235))


def make_person(rng: Generator) -> Person:
    """Draw the lasting traits of one person."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = between_rows(SKIN_TONES, tone) * (1 + rng.normal(0, 0.025, 3)).astype(np.float32)
    age = float(rng.beta(1.3, 1.5))
    hair = make_hair(rng, age, tone)
    feminine = hair.cut in ("bob", "long", "tied", "fringe")
    headwear = pick(rng, HEADWEAR, [0.88, 0.03, 0.03, 0.03, 0.03])
    beard = (
        "none"
        if feminine or headwear == "headscarf"
        else pick(rng, BEARDS, [0.5, 0.18, 0.1, 0.09, 0.13])
    )
    brow = hair.colour * rng.uniform(0.5, 0.9) if hair.colour.mean() < 170 else skin * 0.6
    lip_tint = floats([rng.uniform(0.8, 0.95), rng.uniform(0.58, 0.74), rng.uniform(0.6, 0.78)])
    make_up = float(rng.random() * (feminine and rng.random() < 0.7))
    lip = skin * lip_tint * (1 - make_up * floats([0.02, 0.38, 0.28]))
    head_shape = rng.normal(0, 1, 8)
    return Person(
        skin=np.clip(skin, 30, 252),
        lip=np.clip(lip, 20, 240),
        iris=EYE_COLOURS[int(rng.integers(2 if tone > 3.2 else len(EYE_COLOURS)))],
        brow=np.clip(brow, 18, 160),
        hair=hair,
        headwear=headwear,
        headwear_colour=any_colour(rng, 0.8, (40, 220)),
        glasses=make_glasses(rng),
        beard=beard,
        beard_colour=np.clip(hair.colour * rng.uniform(0.75, 1.05), 20, 225),
        width=bounded(1 + 0.06 * head_shape[0], 0.86, 1.13),
        jaw_power=bounded(2.1 + 0.25 * head_shape[1], 1.7, 3.0),
        jaw_width=bounded(0.9 + 0.05 * head_shape[2], 0.8, 1.02),
        crown=bounded(1.2 + 0.06 * head_shape[3], 1.05, 1.35),
        eye_gap=bounded(0.47 + 0.025 * head_shape[4], 0.41, 0.53),
        eye_width=float(rng.uniform(0.175, 0.225)),
        eye_height=float(rng.uniform(0.05, 0.085)),
        eye_tilt=float(rng.normal(0.005, 0.02)),
        lid=float(rng.uniform(0.0, 1.0)),
        eye_line=bounded(-0.23 + 0.02 * head_shape[5], -0.28, -0.18),
        brow_rise=float(rng.uniform(0.13, 0.2)),
        brow_thickness=float(rng.uniform(0.02, 0.055)) * (0.7 if feminine else 1.0),
        brow_arch=float(rng.uniform(0.01, 0.07)),
        brow_tilt=float(rng.normal(0.0, 0.025)),
        nose_length=float(rng.uniform(0.16, 0.26)),
        nose_width=float(rng.uniform(0.15, 0.24)),
        nose_height=float(rng.uniform(0.2, 0.36)),
        mouth_line=bounded(0.47 + 0.03 * head_shape[6], 0.4, 0.53),
        mouth_width=float(rng.uniform(0.34, 0.46)),
        lip_fullness=float(rng.uniform(0.03, 0.075)),
        cheek=float(rng.uniform(0.02, 0.12)),
        chin=float(rng.uniform(0.03, 0.12)),
        ear=float(rng.uniform(0.75, 1.15)),
        age=age,
        freckles=float(rng.random() * (rng.random() < (0.35 if tone < 3 else 0.1))),
        moles=rng.uniform([-0.8, -0.8, 0.012], [0.8, 0.9, 0.03], (int(rng.integers(0, 5)), 3)),
        pores=float(rng.uniform(0.15, 1.0)),
        shine=float(rng.uniform(0.05, 0.5)),
        flush=float(rng.uniform(0.1, 0.9)),
        make_up=make_up,
    )


def make_hair(rng: Generator, age: float, tone: float) -> Hair:
    """Draw a haircut; darker skin mostly has dark hair, age brings grey."""
    natural = rng.uniform(0, 1.5) if tone > 2.8 else rng.uniform(0, 6)
    colour = between_rows(HAIR_COLOURS, natural)
    if rng.random() < (age - 0.35) * 0.9:
        grey = between_rows(HAIR_COLOURS, rng.uniform(7, 7.99))
        colour = colour + (grey - colour) * np.float32(rng.uniform(0.4, 1))
    if rng.random() < 0.02:
        colour = any_colour(rng, 1.0, (90, 210))
    odds = [0.06, 0.13, 0.07, 0.17, 0.17, 0.07, 0.08, 0.13, 0.06, 0.06]
    cut = pick(rng, HAIR_CUTS, odds)
    low, high = {
        "buzz": (0.02, 0.05),
        "receding": (0.03, 0.1),
        "tied": (0.03, 0.09),
        "big": (0.25, 0.45),
    }.get(cut, (0.06, 0.22))
    short_sides = rng.uniform(-0.3, 0.1)
    length = {"bob": rng.uniform(0.6, 1.0), "long": rng.uniform(1.2, 2.2), "big": 0.4}
    curl = rng.beta(0.5, 1.2) if tone < 3.5 else rng.beta(1.2, 0.7)
    return Hair(
        cut=cut,
        colour=np.clip(colour, 18, 235),
        volume=float(rng.uniform(low, high)),
        length=float(length.get(cut, short_sides)),
        hairline=float(
            {"receding": rng.uniform(-1.1, -0.85), "fringe": rng.uniform(-0.55, -0.42)}.get(
                cut, rng.uniform(-0.88, -0.66)
            )
        ),
        corners=float(rng.uniform(0.15, 0.4) if cut == "receding" else rng.uniform(-0.12, 0.1)),
        part=float(rng.uniform(-0.6, 0.6)),
        curl=float(max(curl, 0.5) if cut == "big" else curl),
        sides=float(rng.uniform(0.78, 0.93) if cut in length else rng.uniform(0.93, 0.99)),
        jagged=float(rng.uniform(0.4, 1.0)),
    )


def make_glasses(rng: Generator) -> Glasses | None:
    """Spectacles for about a third of the people."""
    if rng.random() > 0.36:
        return None
    metal = rng.random() < 0.5
    dark = any_colour(rng, 0.6, (15, 90))
    return Glasses(
        colour=any_colour(rng, 0.35, (70, 190)) if metal else dark,
        half_width=float(rng.uniform(0.27, 0.35)),
        half_height=float(rng.uniform(0.12, 0.21)),
        shape=float(rng.uniform(2.0, 4.5)),
        thickness=float(rng.uniform(0.004, 0.008) if metal else rng.uniform(0.008, 0.02)),
        rimless=bool(metal and rng.random() < 0.2),
        habit=float(rng.choice([0.5, 1.0])),
    )


def take_shot(rng: Generator, person: Person) -> Shot:
    """Draw what one picture of this person decides."""
    azimuth = rng.normal(0, 0.75)
    elevation = rng.uniform(0.1, 1.0)
    key = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    key[2] = max(key[2], 0.15)
    warmth = rng.normal(0, 0.06)
    paleness = (float(person.skin.mean()) / 255) ** 2.2
    cast = floats([1 + warmth, 1, 1 - warmth])
    strength = rng.uniform(0.55, 1.0)
    fill_cast = floats([1 - warmth * 1.5, 1, 1 + warmth * 1.5])
    smile = bounded(rng.normal(0.45, 0.4), 0, 1)
    grin = smile > 0.35 and rng.random() < 0.65
    backdrop = pick(rng, BACKDROPS, [0.24, 0.12, 0.12, 0.14, 0.07, 0.09, 0.11, 0.11])
    return Shot(
        yaw=bounded(rng.normal(0, 0.17), -0.5, 0.5),
        pitch=bounded(rng.normal(0.0, 0.09), -0.25, 0.25),
        roll=bounded(rng.normal(0, 0.07), -0.3, 0.3),
        zoom=bounded(rng.normal(1.0, 0.035), 0.9, 1.1),
        shift=rng.normal(0, 0.015, 2).clip(-0.04, 0.04),
        smile=smile,
        mouth_open=float(rng.uniform(0.3, 1.0) if grin else rng.random() * (rng.random() < 0.12)),
        eye_open=float(rng.uniform(0.7, 1.15) * (1 - 0.25 * smile)),
        gaze=rng.normal(0, 0.2, 2).clip(-0.5, 0.5),
        key_direction=(key / np.linalg.norm(key)).astype(np.float32),
        key=cast * floats(strength),
        fill=fill_cast * floats(rng.uniform(0.14, 0.4)),
        rim=any_colour(rng, 0.4, (0.1, 0.8)) * np.float32(rng.random() < 0.3),
        # A camera meters on the face: darker skin gets more light, though not all of it.
        exposure=float(rng.normal(1.72 - 0.55 * paleness, 0.12)),
        contrast=float(rng.uniform(0.0, 1.0)),
        grain=float(rng.uniform(0.002, 0.014)),
        glasses_on=person.glasses is not None and rng.random() < person.glasses.habit,
        hat_on=rng.random() < 0.8,
        tousle=float(rng.uniform(0, 1)),
        backdrop=backdrop,
        backdrop_colours=np.stack([wall_colour(rng), wall_colour(rng)]),
        blur=float(rng.uniform(0.0, 0.02)),
        clothes=pick(rng, CLOTHES, [0.4, 0.25, 0.2, 0.15]),
        clothes_colours=np.stack(
            [
                any_colour(rng, 0.8, (18, 110) if rng.random() < 0.7 else (90, 230)),
                any_colour(rng, 0.25, (150, 245)),
                any_colour(rng, 0.9, (60, 220)),
            ]
        ),
        monochrome=bool(rng.random() < 0.1),
        softness=float(rng.uniform(0.0, 0.58)),
    )

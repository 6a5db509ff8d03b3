"""Clean faces to degrade: drawn people, or real portraits cut as the contract says."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fiqa.contract import Bytes, PreprocessSpec, Square, load_picture
from fiqa.errors import InputError, LabelError
from fiqa.labels import SHOWN_BAD_ROWS, LabelSet, Row, draw_split, side_of
from train.portraits import draw_portrait
from train.shards import check_names

GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, fill 0..1 evenly at any count
# Half axes of the face in a 1.45-margin crop, as shares of the side: the detected face is
# 1 / 1.45 of the side tall (0.345 from its middle), and faces are about 3 wide to 4 tall.
FACE_HALF_WIDTH, FACE_HALF_HEIGHT = 0.26, 0.345
FACE_EDGE = 0.25  # softness: the weight falls from 1 to 0 within this share of the half axis
# A detector's box never sits twice the same, and people look left as often as right.
MOST_ZOOM, MOST_SHIFT = 0.06, 0.03
LEAST_ENLARGED = 0.6  # a crop below 0.6 of the size is enlarged so far that it isn't clean


@dataclass(frozen=True)
class Clean:
    """A clean face, (S, S, 3) uint8 RGB, and how much each pixel is face, (S, S) float32."""

    image: Bytes
    face: NDArray[np.float32]


class Source(Protocol):
    """Where the clean pictures of one person come from. Small, so that it can go to workers."""

    def clean(self, identity: str, index: int, seed: int, size: int) -> Clean:
        """Picture `index` of the person; the same numbers give the same picture."""


@dataclass(frozen=True)
class Person:
    """Somebody with clean pictures and the side (train, val, test) they stay on."""

    identity: str
    side: str
    source: Source


@dataclass(frozen=True)
class DrawnPerson:
    """Each drawing serves two pictures, as drawing takes half of the time of a sample."""

    number: int

    def clean(self, identity: str, index: int, seed: int, size: int) -> Clean:
        drawn = _drawn(self.number, index // 2, seed, size)
        if index % 2 == 0:
            return drawn
        # Mirrored, so that no two pictures are the same even where the damage is invisible.
        mirrored = np.ascontiguousarray(drawn.image[:, ::-1])
        return Clean(mirrored, np.ascontiguousarray(drawn.face[:, ::-1]))


@dataclass(frozen=True)
class PortraitPerson:
    root: Path
    rows: tuple[Row, ...]

    def clean(self, identity: str, index: int, seed: int, size: int) -> Clean:
        row = self.rows[index % len(self.rows)]
        picture = _load(self.root / row.image)
        spec = PreprocessSpec(size=size)
        rng = numbers(identity, index, seed, "crop")
        crop = _shaken(Square(*spec.square(picture, row.box, row.crop)), picture, rng)
        image = spec.to_bytes(picture, crop=crop)
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        return Clean(image, face_ellipse(size))


def numbers(identity: str, index: int, seed: int, purpose: str) -> np.random.Generator:
    """Random numbers that depend on these four alone, never on order, count or machine."""
    digest = hashlib.sha256(f"{purpose}:{identity}".encode()).digest()
    return np.random.default_rng([seed, index, int.from_bytes(digest[:8], "big")])


def drawn_people(count: int, eval_share: float, seed: int) -> list[Person]:
    """People 0..count-1 of a seed; each seed draws others, so it is part of their names.

    A person's side depends on the number alone, not on the count.
    """
    return [
        Person(
            f"drawn{seed}-{number:06d}",
            _side_at(number * GOLDEN % 1, eval_share),
            DrawnPerson(number),
        )
        for number in range(count)
    ]


def portrait_people(
    labels: LabelSet, size: int, eval_share: float, count: int | None
) -> list[Person]:
    """People of a label set with their own sides, or with sides by a hash of the identity.

    Of a set that knows only train and test, val is cut out of train. `count` takes that many
    people, chosen by hash; pictures of unknown people count as one person each.
    """
    check_names(labels)
    _refuse_small(labels, size)
    by_person: dict[str, list[Row]] = defaultdict(list)
    for row in labels.rows:
        by_person[row.identity or Path(row.image).with_suffix("").as_posix()].append(row)
    sides = {identity: _given_side(rows[0]) for identity, rows in by_person.items()}
    names = sorted(by_person, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [
        Person(
            identity,
            _side(identity, sides[identity], set(sides.values()), eval_share),
            PortraitPerson(labels.root, tuple(by_person[identity])),
        )
        for identity in sorted(names[:count])
    ]


@lru_cache(maxsize=2)
def _drawn(number: int, drawing: int, seed: int, size: int) -> Clean:
    portrait = draw_portrait(number, drawing, seed, size)
    portrait.image.setflags(write=False)  # shared by the pictures made from it
    portrait.face.setflags(write=False)
    return Clean(portrait.image, portrait.face)


@lru_cache(maxsize=8)
def face_ellipse(size: int) -> NDArray[np.float32]:
    """Weight of the face in a crop that carries the contract's margin, with a soft edge."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    distance = np.hypot(axis[None, :] / FACE_HALF_WIDTH, axis[:, None] / FACE_HALF_HEIGHT)
    weight = np.clip((1 - distance) / FACE_EDGE + 0.5, 0, 1).astype(np.float32)
    weight.setflags(write=False)  # shared by all callers
    return weight


@lru_cache(maxsize=4)
def _load(path: Path) -> Bytes:
    return load_picture(path)


def _shaken(square: Square, picture: Bytes, rng: np.random.Generator) -> Square:
    side = square.side * (1 - rng.uniform(0, MOST_ZOOM))
    middle = (square.side - side) / 2
    dx, dy = rng.uniform(-MOST_SHIFT, MOST_SHIFT, 2) * square.side
    height, width = picture.shape[:2]
    x = min(max(square.x + middle + dx, 0), width - side)
    y = min(max(square.y + middle + dy, 0), height - side)
    return Square(x, y, side)


def _given_side(row: Row) -> str:
    side = side_of(row.split)
    if side not in ("", "train", "val", "test"):
        raise InputError(
            f"{row.image} stands in split {row.split!r}",
            expected="train, val, test, or no split column at all",
            fix="rename the split in the CSV",
        )
    return side


def _side(identity: str, given: str, known: set[str], eval_share: float) -> str:
    if given and not (given == "train" and "val" not in known):
        return given
    shares = {"val": eval_share, "test": eval_share} if not given else {"val": eval_share}
    return draw_split(identity, {"train": 1 - sum(shares.values()), **shares})


def _side_at(point: float, eval_share: float) -> str:
    """`point` in 0..1 to a side: val and test take `eval_share` each, train the rest."""
    if point < eval_share:
        return "val"
    return "test" if point < 2 * eval_share else "train"


def _refuse_small(labels: LabelSet, size: int) -> None:
    least = LEAST_ENLARGED * size
    small = [(row, side) for row in labels.rows if (side := crop_side(labels.root, row)) < least]
    if not small:
        return
    shown = [f"{row.image}: {side:.0f} px" for row, side in small[:SHOWN_BAD_ROWS]]
    more = [f"... and {len(small) - len(shown)} more"] if len(small) > len(shown) else []
    raise LabelError(
        f"{len(small)} of {len(labels)} faces are too small for clean {size} px pictures\n  "
        + "\n  ".join(shown + more),
        expected=f"face crops of at least {least:.0f} px",
        fix="leave these rows out, or choose a smaller --size",
    )


def crop_side(root: Path, row: Row) -> float:
    """Side of the square that will be cut, from the header alone."""
    with PillowImage.open(root / row.image) as picture:
        whole = min(picture.size)
    if row.crop is not None:
        return min(row.crop.side, whole)
    if row.box is not None:
        return min(PreprocessSpec().margin * max(row.box.width, row.box.height), whole)
    return whole

"""The packaged detector on drawn photos: places, tiles, decoding, and files that are not it."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiqa import detector
from fiqa.contract import Box
from fiqa.detector import (
    CONFIDENCE,
    PRIORS,
    SIZE,
    STRIDES,
    VALUES,
    Detection,
    Detector,
    decode,
    intersection_over_union,
    looks,
    packaged_model,
)
from fiqa.errors import ArtifactError, InputError, ManifestError, PictureError
from tests.doubles import tiny_models
from tests.doubles.photos import middle, photo

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def finder() -> Detector:
    return Detector()


def centre(face: Detection) -> tuple[float, float]:
    return face.box.x + face.box.width / 2, face.box.y + face.box.height / 2


def distances(found: list[Detection], wanted: list[tuple[float, float]]) -> list[float]:
    """From each wanted middle to the nearest found one, in pixels."""
    return [min(math.dist(centre(face), place) for face in found) for place in wanted]


def test_face_is_found_where_it_was_drawn(finder: Detector) -> None:
    (face,) = finder.find(photo(400, 300, [(150, 90)]))
    assert math.dist(centre(face), middle((150, 90))) < 12
    assert face.confidence > 0.8
    assert 60 < face.box.width < 110
    assert 80 < face.box.height < 140


def test_several_faces_come_largest_first(finder: Detector) -> None:
    picture = photo(700, 500, [(20, 30)], side=240)
    picture[300:460, 400:560] = photo(160, 160, [(0, 0)])
    first, second = finder.find(picture)
    assert first.box.width > 1.3 * second.box.width
    assert math.dist(centre(second), middle((400, 300))) < 12


def test_picture_without_a_face_gives_none(finder: Detector) -> None:
    assert finder.find(np.full((300, 400, 3), 128, np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (700, 500, 3)).astype(np.uint8)
    assert finder.find(noise) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (2000, 3), (33, 31)])
def test_pictures_of_any_shape_are_looked_at(finder: Detector, shape: tuple[int, int]) -> None:
    assert finder.find(np.zeros((*shape, 3), np.uint8)) == []


def test_face_in_a_long_picture_is_found_through_its_tiles(finder: Detector) -> None:
    """Shrunk as a whole the face is 7 pixels wide: only a tile can show it."""
    picture = photo(4000, 600, [(3100, 200)], side=160)
    (face,) = finder.find(picture)
    assert math.dist(centre(face), middle((3100, 200))) < 14


def test_every_small_face_of_a_group_is_found_once(finder: Detector) -> None:
    places = [(x, y) for x in range(15, 1400, 205) for y in range(25, 1100, 210)]
    picture = photo(1600, 1300, places, side=120)
    found = finder.find(picture)
    assert len(found) == len(places)
    assert max(distances(found, [middle(place, 120) for place in places])) < 14


def test_face_that_fills_the_picture_is_one_face(finder: Detector) -> None:
    """Tiles show parts of it, and none of them counts as another face."""
    picture = photo(512, 512, [(0, 0)], side=512).repeat(3, axis=0).repeat(3, axis=1)
    assert len(finder.find(picture)) == 1


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_by_exif_the_face_is_found_in_the_upright_picture(
    finder: Detector, orientation: int
) -> None:
    upright = Image.fromarray(photo(400, 300, [(150, 90)]))
    turn = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    (upright.transpose(turn) if turn is not None else upright).save(buffer, "PNG", exif=exif)
    (face,) = finder.find(buffer.getvalue())
    assert math.dist(centre(face), middle((150, 90))) < 12


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK"])
def test_pictures_of_every_mode_are_read_as_the_contract_says(finder: Detector, mode: str) -> None:
    (face,) = finder.find(Image.fromarray(photo(400, 300, [(150, 90)])).convert(mode))
    assert math.dist(centre(face), middle((150, 90))) < 14


def test_damaged_picture_is_a_picture_error(finder: Detector) -> None:
    with pytest.raises(PictureError, match="cannot be decoded"):
        finder.find(b"no picture")


# ---------------------------------------------------------------- tiles


@pytest.mark.parametrize("size", [(1280, 1280), (640, 480), (1999, 1300), (1281, 200)])
def test_tiles_cover_every_pixel_in_steps_of_half_a_tile(size: tuple[int, int]) -> None:
    width, height = size
    covered: dict[float, np.ndarray] = {}
    for look in looks(np.zeros((height, width, 3), np.uint8)):
        shape = (round(height * look.down), round(width * look.across))
        seen = covered.setdefault(look.across, np.zeros(shape, int))
        seen[look.y : look.y + SIZE, look.x : look.x + SIZE] += 1
    assert all(seen.min() >= 1 for seen in covered.values())
    assert len(covered) == (3 if max(size) >= 1280 else 2)


def test_small_picture_is_looked_at_once_at_its_own_size() -> None:
    picture = np.arange(200 * 100 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 100, 3)
    (look,) = looks(picture)
    np.testing.assert_array_equal(look.pixels[:200, :100], picture)
    assert look.pixels[200:].max() == 0
    assert look.pixels[:, 100:].max() == 0
    assert (look.across, look.down) == (1.0, 1.0)


def test_box_cut_by_a_tile_is_left_to_its_neighbour() -> None:
    whole, *_, last = looks(np.zeros((640, 640, 3), np.uint8))
    cut, inside = Box(1, 100, 60, 80), Box(40, 100, 60, 80)
    assert whole.takes(cut)
    assert not last.takes(cut)  # its left edge is inside the picture
    assert last.takes(inside)
    assert last.takes(Box(255, 255, 64, 64))  # the picture itself ends there
    assert not last.takes(Box(40, 40, 200, 200))  # too large to lie whole in every tile


# ---------------------------------------------------------------- decoding


def rows_with(*faces: tuple[int, float, float, tuple[float, float, float, float]]) -> np.ndarray:
    rows = np.zeros((PRIORS, VALUES))
    for place, class_, objectness, box in faces:
        rows[place] = (class_, objectness, *box)
    return rows


def test_row_is_decoded_relative_to_its_prior() -> None:
    at_16 = (SIZE // 8) ** 2 + 3 * (SIZE // 16) + 5  # row 3, column 5 of the second stride
    (face,) = decode(
        rows_with((at_16, 0.9, 0.4, (0.5, -0.25, math.log(2), math.log(4)))), confidence=0.5
    )
    assert face.confidence == pytest.approx(0.6)
    assert face.box == pytest.approx(Box(5.5 * 16 - 16, 2.75 * 16 - 32, 32, 64))


def test_priors_are_listed_by_stride_then_row_then_column() -> None:
    assert sum((SIZE // stride) ** 2 for stride in STRIDES) == PRIORS
    (face,) = decode(rows_with((PRIORS - 1, 1.0, 1.0, (0, 0, 0, 0))), confidence=0.5)
    assert face.box == pytest.approx(Box(9 * 32 - 16, 9 * 32 - 16, 32, 32))


def test_overlapping_rows_are_one_face_the_surest() -> None:
    near = (0.1, 0.1, math.log(4), math.log(4))
    found = decode(
        rows_with((100, 0.8, 0.8, near), (101, 0.9, 0.9, near), (900, 0.7, 0.7, near)), 0.5
    )
    assert [face.confidence for face in found] == pytest.approx([0.9, 0.7])


def test_values_beyond_0_to_1_are_cut_and_low_ones_left_out() -> None:
    found = decode(rows_with((0, 1.7, 1.0, (0,) * 4), (800, -0.2, 1.0, (0,) * 4)), 0.5)
    assert [face.confidence for face in found] == [1.0]


def test_intersection_over_union_of_known_boxes() -> None:
    assert intersection_over_union(Box(0, 0, 2, 2), Box(1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert intersection_over_union(Box(0, 0, 2, 2), Box(2, 2, 2, 2)) == 0
    assert intersection_over_union(Box(3, 4, 5, 6), Box(3, 4, 5, 6)) == 1


# ---------------------------------------------------------------- files


def test_packaged_model_names_its_origin_and_licence(finder: Detector) -> None:
    assert finder.manifest.model == "yunet"
    assert finder.manifest.licence == "Apache-2.0"
    assert {check.status for check in finder.manifest.checks} == {"passed"}
    assert (packaged_model().parent / "yunet.LICENSE").is_file()


def test_installed_detector_is_taken_before_the_repositorys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(detector, "__file__", str(tmp_path / "fiqa" / "detector.py"))
    assert packaged_model() == tmp_path / "models" / "yunet.tflite"
    (tmp_path / "fiqa" / "models").mkdir(parents=True)
    (tmp_path / "fiqa" / "models" / "yunet.tflite").touch()
    assert packaged_model() == tmp_path / "fiqa" / "models" / "yunet.tflite"


def test_scorer_is_refused_as_detector(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"takes \[1, 16, 16, 3\]"):
        Detector(tiny_models.write_tflite(tmp_path / "scorer.tflite"))


def test_damaged_detector_is_told_before_a_runtime_sees_it(tmp_path: Path) -> None:
    data = bytearray(packaged_model().read_bytes())
    data[5000] ^= 1
    (tmp_path / "damaged.tflite").write_bytes(data)
    with pytest.raises(ManifestError, match="sha256"):
        Detector(tmp_path / "damaged.tflite")


@pytest.mark.parametrize("confidence", [0.0, 1.5, math.nan])
def test_senseless_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence"):
        Detector(confidence=confidence)


# ---------------------------------------------------------------- golden vectors


def golden(kind: str) -> dict[str, Any]:
    cases = json.loads((GOLDEN / "cases.json").read_text())
    (case,) = (case for case in cases if case["kind"] == kind)
    assert isinstance(case, dict)
    return case


def test_golden_rows_decode_to_the_golden_faces() -> None:
    case = golden("detector")
    rows = np.fromfile(GOLDEN / case["rows"], "<f4").reshape(PRIORS, VALUES)
    found = decode(rows.astype(float), CONFIDENCE)
    assert len(found) >= 3
    assert [[*face.box, face.confidence] for face in found] == case["faces"]


def test_golden_photo_shows_the_golden_faces(finder: Detector) -> None:
    case = golden("photo")
    found = [[*face.box, face.confidence] for face in finder.find(GOLDEN / case["file"])]
    np.testing.assert_allclose(found, case["faces"], atol=0.02)

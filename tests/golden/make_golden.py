"""Write the golden vectors: small pictures, and the exact bytes the contract makes of them.

    python tests/golden/make_golden.py

Run it only when the contract changes on purpose. `cases.json` lists five kinds of case, in a
form any language can read; every .rgb file is raw bytes, row by row, three a pixel:
- decode: `file` (PNG or BMP) must decode to `rgb` of width x height;
- bytes: the picture `rgb` must become `expected`, by `spec` and an optional box or crop;
- detector: the model's `rows` (float32, little-endian, 2100 x 6) must become `faces`, each
  x, y, width, height and confidence, surest first;
- photo: the detector must find `faces` in `file`, looking at it once, largest first;
- frame: the camera's planes in `data` must become `expected`, by `turn`, `mirrored`, `spec` and
  an optional box or crop in pixels of the upright picture.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fiqa.contract import Box, PreprocessSpec, Square, load_picture
from fiqa.detector import Detection, Detector, decode, looks
from fiqa.frames import Frame, Plane, Turn
from tests.doubles.photos import photo

HERE = Path(__file__).parent


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Waves, an edge and noise: smooth parts, sharp parts, and both ends of the byte range."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin(x / (3 + c) + seed) * np.cos(y / (4 - c)) for c in range(3)]
    image = np.stack(waves, axis=2) + rng.normal(0, 25, (height, width, 3))
    image[:, width // 3 : width // 3 + 2] = 255
    image[height // 4 : height // 4 + 2] = 0
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def encoded_sources() -> dict[str, bytes]:
    rgb = picture(23, 17, 1)
    gray = rgb[..., 0]
    deep = gray.astype(np.uint16) * 256 + rgb[..., 1]
    alpha = np.dstack([rgb, picture(23, 17, 2)[..., 1]])
    palette = Image.fromarray(rgb).quantize(16)
    sources = {
        "plain.png": encoded(Image.fromarray(rgb)),
        "plain.bmp": encoded(Image.fromarray(rgb), "BMP"),
        "gray.png": encoded(Image.fromarray(gray)),
        "gray16.png": encoded(Image.fromarray(deep)),
        "alpha.png": encoded(Image.fromarray(alpha)),
        "gray_alpha.png": encoded(Image.fromarray(alpha).convert("LA")),
        "palette.png": encoded(palette),
        "palette_alpha.png": encoded(palette, transparency=bytes(range(0, 256, 16))),
        "one_bit.png": encoded(Image.fromarray(gray).convert("1")),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        sources[f"exif_{orientation}.png"] = encoded(Image.fromarray(rgb), exif=exif)
    return sources


# name: (width, height, spec fields, box or crop)
BYTES_CASES: dict[str, tuple[int, int, dict[str, Any], Box | Square | None]] = {
    "down": (61, 61, {"size": 32}, None),
    "up": (13, 13, {"size": 32}, None),
    "same_size": (32, 32, {"size": 32}, None),
    "wide": (64, 37, {"size": 24}, None),
    "tall": (37, 64, {"size": 24}, None),
    "one_pixel": (1, 1, {"size": 8}, None),
    "box_inside": (90, 70, {"size": 32}, Box(30, 20, 20, 28)),
    "box_fraction": (90, 70, {"size": 32}, Box(30.5, 19.25, 21.5, 17.75)),
    "box_at_left_edge": (90, 70, {"size": 32}, Box(-4, 30, 24, 30)),
    "box_at_corner": (90, 70, {"size": 32}, Box(70, 50, 30, 30)),
    "box_larger_than_picture": (50, 40, {"size": 32}, Box(0, 0, 50, 40)),
    "box_without_margin": (90, 70, {"size": 32, "margin": 1.0}, Box(30, 20, 20, 28)),
    "crop": (90, 70, {"size": 32}, Square(12, 7, 51)),
    "crop_over_the_edge": (90, 70, {"size": 32}, Square(60, 30, 45)),
    "bgr": (61, 45, {"size": 16, "color_order": "BGR"}, None),
    "filter_box": (61, 61, {"size": 24, "filter": "box"}, None),
    "filter_bicubic": (61, 61, {"size": 24, "filter": "bicubic"}, None),
    "filter_lanczos": (17, 17, {"size": 40, "filter": "lanczos"}, None),
    "filter_nearest": (61, 61, {"size": 24, "filter": "nearest"}, None),
    "large_step": (150, 150, {"size": 8}, None),
}

# name: (width, height, layout of the planes, turn, mirrored, spec fields, box or crop)
FRAME_CASES: dict[str, tuple[int, int, str, Turn, bool, dict[str, Any], Box | Square | None]] = {
    "planar": (64, 48, "planar", 0, False, {"size": 32}, None),
    "planar_90": (64, 48, "planar", 90, False, {"size": 32}, Box(10, 14, 18, 21)),
    "planar_180": (64, 48, "planar", 180, False, {"size": 32}, Box(30, 9, 17, 20)),
    "planar_270": (64, 48, "planar", 270, False, {"size": 32}, Box(20.5, 30.25, 16.5, 19.75)),
    "padded": (50, 38, "padded", 0, False, {"size": 24}, Box(12, 8, 15, 18)),
    "padded_270": (50, 38, "padded", 270, False, {"size": 24}, Square(3, 10, 31)),
    "vu": (64, 48, "vu", 0, False, {"size": 32}, Box(40, 20, 30, 30)),
    "vu_90_mirrored": (64, 48, "vu", 90, True, {"size": 32}, Box(4, 10, 16, 20)),
    "vu_270_mirrored": (64, 48, "vu", 270, True, {"size": 32}, Box(-5, 40, 22, 24)),
    "uv_padded_180": (50, 38, "uv_padded", 180, False, {"size": 24}, Box(12, 8, 15, 18)),
    "uv_padded_mirrored": (50, 38, "uv_padded", 0, True, {"size": 24}, Box(5, 8, 15, 18)),
    "odd": (47, 35, "padded", 0, False, {"size": 32}, None),
    "odd_90": (47, 35, "vu", 90, False, {"size": 40}, Box(20, 30, 15, 20)),
    "odd_180_mirrored": (47, 35, "uv_padded", 180, True, {"size": 32}, Box(30, 15, 15, 20)),
    "odd_270": (35, 47, "planar", 270, False, {"size": 32}, Square(7, 5, 29)),
    "spread_luma": (40, 30, "spread", 90, False, {"size": 24}, Box(8, 10, 12, 14)),
    "bgr_frame": (64, 48, "vu", 270, False, {"size": 32, "color_order": "BGR"}, None),
    "same_size_frame": (32, 48, "planar", 0, False, {"size": 32}, None),
    "one_pixel_frame": (1, 1, "planar", 0, False, {"size": 8}, None),
}


def frame_planes(width: int, height: int, layout: str, seed: int) -> tuple[bytes, list[Any]]:
    """Bytes of a frame, and where its Y, U and V lie. Padding holds 0xEE; nothing follows the
    last sample of a plane, as on real phones."""
    luma = picture(width, height, seed)[..., 0]
    columns, rows = -(-width // 2), -(-height // 2)
    u, v = (picture(columns, rows, seed + n)[..., n] for n in (1, 2))
    stride, gap = {"padded": (width + 13, 1), "spread": (2 * width + 6, 2)}.get(layout, (width, 1))
    data = laid_out([luma], stride, gap)
    planes = [{"offset": 0, "length": len(data), "row_stride": stride, "pixel_stride": gap}]
    if layout in ("vu", "uv_padded"):
        stride = 2 * columns + (10 if layout == "uv_padded" else 0)
        both = laid_out([v, u] if layout == "vu" else [u, v], stride, 2)
        first = {"offset": len(data), "length": len(both) - 1}
        second = {"offset": len(data) + 1, "length": len(both) - 1}
        order = [second, first] if layout == "vu" else [first, second]
        planes += [place | {"row_stride": stride, "pixel_stride": 2} for place in order]
        return data + both, planes
    stride = columns + (7 if layout == "padded" else 0)
    for chroma in (u, v):
        plane = laid_out([chroma], stride, 1)
        place = {"offset": len(data), "length": len(plane)}
        planes.append(place | {"row_stride": stride, "pixel_stride": 1})
        data += plane
    return data, planes


def laid_out(samples: list[np.ndarray], stride: int, gap: int) -> bytes:
    """Rows `stride` bytes apart, samples `gap` apart, several kinds one byte behind another."""
    rows, columns = samples[0].shape
    length = (rows - 1) * stride + (columns - 1) * gap + len(samples)
    out = np.full(rows * stride + gap, 0xEE, np.uint8)
    for kind, values in enumerate(samples):
        for row in range(rows):
            start = row * stride + kind
            out[start : start + (columns - 1) * gap + 1 : gap] = values[row]
    return out[:length].tobytes()


def frame_of(case: dict[str, Any], data: bytes) -> Frame:
    """The frame that a case describes."""
    planes = [
        Plane(
            np.frombuffer(data, np.uint8)[place["offset"] : place["offset"] + place["length"]],
            place["row_stride"],
            place["pixel_stride"],
        )
        for place in case["planes"]
    ]
    return Frame(case["width"], case["height"], *planes, case["turn"], case["mirrored"])


def main() -> None:
    cases: list[dict[str, Any]] = []
    for file, data in encoded_sources().items():
        (HERE / file).write_bytes(data)
        decoded = load_picture(data)
        stem = file.replace(".", "_")
        cases.append(
            {"kind": "decode", "name": stem, "file": file} | save(f"decoded_{stem}.rgb", decoded)
        )
    for number, (name, (width, height, fields, place)) in enumerate(BYTES_CASES.items()):
        source = picture(width, height, 100 + number)
        spec = PreprocessSpec(**fields)
        box = place if isinstance(place, Box) else None
        crop = place if isinstance(place, Square) else None
        expected = spec.to_bytes(source, box, crop)
        (HERE / f"expected_{name}.rgb").write_bytes(expected.tobytes())
        cases.append(
            {"kind": "bytes", "name": name, "spec": {"margin": 1.45} | fields}
            | {"box": box, "crop": crop, "expected": f"expected_{name}.rgb"}
            | save(f"source_{name}.rgb", source)
        )
    cases += [frame_case(name, 200 + number) for number, name in enumerate(FRAME_CASES)]
    cases += detector_cases()
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


def frame_case(name: str, seed: int) -> dict[str, Any]:
    width, height, layout, turn, mirrored, fields, place = FRAME_CASES[name]
    data, planes = frame_planes(width, height, layout, seed)
    (HERE / f"frame_{name}.yuv").write_bytes(data)
    case = {
        "kind": "frame",
        "name": name,
        "data": f"frame_{name}.yuv",
        "width": width,
        "height": height,
        "planes": planes,
        "turn": turn,
        "mirrored": mirrored,
        "spec": {"margin": 1.45} | fields,
        "box": place if isinstance(place, Box) else None,
        "crop": place if isinstance(place, Square) else None,
        "expected": f"expected_{name}.rgb",
    }
    made = frame_of(case, data).to_bytes(PreprocessSpec(**fields), case["box"], case["crop"])
    (HERE / f"expected_{name}.rgb").write_bytes(made.tobytes())
    return case


def detector_cases() -> list[dict[str, Any]]:
    """A drawn group whose faces overlap and are cut: its rows as they are, and what is found."""
    group = photo(480, 360, [(10, 20), (95, 60), (300, 190), (318, 10)], side=160)
    (HERE / "group.png").write_bytes(encoded(Image.fromarray(group)))
    detector = Detector()
    look, *_ = looks(group)
    rows = detector.rows(look.pixels).astype("<f4")
    (HERE / "detector_group.f32").write_bytes(rows.tobytes())
    found = decode(rows.astype(float), detector.confidence)
    return [
        {"kind": "detector", "name": "group", "rows": "detector_group.f32", "faces": plain(found)},
        {"kind": "photo", "name": "group", "file": "group.png"}
        | {"faces": plain(detector.find(group))},
    ]


def plain(faces: list[Detection]) -> list[list[float]]:
    return [[*face.box, face.confidence] for face in faces]


def save(file: str, image: np.ndarray) -> dict[str, Any]:
    (HERE / file).write_bytes(image.tobytes())
    return {"rgb": file, "width": image.shape[1], "height": image.shape[0]}


if __name__ == "__main__":
    main()

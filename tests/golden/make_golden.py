"""Write the golden vectors: small pictures, and the exact bytes the contract makes of them.

    python tests/golden/make_golden.py

Run it only when the contract changes on purpose. `cases.json` lists two kinds of case, in a
form any language can read; every .rgb file is raw bytes, row by row, three a pixel:
- decode: `file` (PNG or BMP) must decode to `rgb` of width x height;
- bytes: the picture `rgb` must become `expected`, by `spec` and an optional box or crop.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fiqa.contract import Box, PreprocessSpec, Square, load_picture

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
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")


def save(file: str, image: np.ndarray) -> dict[str, Any]:
    (HERE / file).write_bytes(image.tobytes())
    return {"rgb": file, "width": image.shape[1], "height": image.shape[0]}


if __name__ == "__main__":
    main()

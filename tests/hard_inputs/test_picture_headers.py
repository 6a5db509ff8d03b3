"""A header that claims 50,000 x 50,000 pixels is refused before any memory is asked for."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, features

from fiqa.contract import MAX_PIXELS, check_picture, load_picture
from fiqa.errors import PictureError

SIDE = 50_000


def small(name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, name, **options)
    return out.getvalue()


def put(data: bytes, at: int, pattern: str, *values: int) -> bytes:
    new = struct.pack(pattern, *values)
    return data[:at] + new + data[at + len(new) :]


def png(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        framed = kind + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def jpeg(side: int) -> bytes:
    data = small("JPEG")
    return put(data, data.index(b"\xff\xc0") + 5, ">HH", side, side)


def gif(side: int) -> bytes:
    data = put(small("GIF"), 6, "<HH", side, side)
    return put(data, data.index(b",") + 5, "<HH", side, side)


def gif_of_a_large_frame(side: int) -> bytes:
    data = small("GIF")
    return put(data, data.index(b",") + 5, "<HH", side, side)


def bmp(side: int) -> bytes:
    return put(small("BMP"), 18, "<II", side, side)


def tiff(side: int) -> bytes:
    data = small("TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257, 278):  # width, height, rows
            data = put(data, entry + 2, "<HII", 4, 1, side)
    return data


def webp(side: int) -> bytes:
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"VP8X" + struct.pack("<II", 10, 0) + canvas + small("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def ppm(side: int) -> bytes:
    return f"P6 {side} {side} 255\n".encode() + bytes(100)


def jpeg2000(side: int) -> bytes:
    data = small("JPEG2000")
    data = put(data, data.index(b"ihdr") + 4, ">II", side, side)
    return put(data, data.index(b"\xff\x51") + 6, ">II", side, side)


MAKERS = (png, jpeg, gif, gif_of_a_large_frame, bmp, tiff, webp, ppm, jpeg2000)
MODULES = {webp: "webp", jpeg2000: "jpg_2000"}


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("read", [load_picture, lambda data: check_picture(data, "picture")])
def test_a_header_of_fifty_thousand_pixels_a_side_is_refused_at_once(
    make: Callable[[int], bytes], read: Callable[[bytes], object]
) -> None:
    if make in MODULES and not features.check(MODULES[make]):
        pytest.skip(f"this Pillow was built without {MODULES[make]}")
    load_picture(small("PNG"))  # plugins are loaded before time and memory are taken
    data = make(SIDE)
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(PictureError) as refused:
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.found.endswith(("claims 2500000000 pixels", "claims 50000 x 50000 pixels"))
    assert "100 megapixels" in refused.value.expected
    assert peak < 10 * 2**20
    assert time.monotonic() - started < 5


def test_the_limit_is_ours_where_an_application_took_pillows_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(PictureError, match="claims 50000 x 50000 pixels"):
        load_picture(png(SIDE))
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(PictureError, match=f"claims {side} x {side} pixels"):
        load_picture(png(side))

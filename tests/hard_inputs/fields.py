"""Valid files of binary formats with one field changed to something hostile."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.hard_inputs.damage import NUMBERS, json_changed, set_number


def picture_changed(data: bytes, rng: Random) -> bytes:
    """One field of a chunk or segment; of other formats a number in the header."""
    if data.startswith(b"\x89PNG"):
        return _png_changed(data, rng)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_changed(data, rng)
    return set_number(data, rng)


def _png_changed(data: bytes, rng: Random) -> bytes:
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    place = rng.randrange(len(chunks))
    way = rng.randrange(6)
    if way == 0:
        del chunks[place]
    elif way == 1:
        chunks.insert(place, list(rng.choice(chunks)))
    elif way == 2:
        kind = rng.choice((b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"tRNS", b"PLTE", b"acTL", b"fcTL"))
        chunks.insert(place, [kind, rng.randbytes(rng.choice((0, 4, 26, 300)))])
    elif way == 3:
        chunks[place][0] = rng.choice((b"IHDR", b"IDAT", b"IEND", b"abcd", b"\0\0\0\0"))
    else:  # the header: width, height, depth, colour, compression, filter, interlace
        size, at = rng.choice(((4, 0), (4, 4), (1, 8), (1, 9), (1, 10), (1, 11), (1, 12)))
        value = (rng.choice(NUMBERS) % 256**size).to_bytes(size, "big")
        head = chunks[0][1]
        chunks[0][1] = head[:at] + value + head[at + size :]
    out = data[:8]
    for kind, content in chunks:
        out += struct.pack(">I", len(content)) + kind + content
        out += struct.pack(">I", zlib.crc32(kind + content))
    return out


def _jpeg_changed(data: bytes, rng: Random) -> bytes:
    """Segments up to the scan: (marker, content); the scan goes along as it is."""
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append([data[at + 1], data[at + 4 : at + 2 + length]])
        at += 2 + length
    place = rng.randrange(len(segments))
    way = rng.randrange(5)
    if way == 0:
        del segments[place]
    elif way == 1:
        segments.insert(place, list(rng.choice(segments)))
    elif way == 2:
        exif = b"Exif\0\0" + rng.choice((b"II*\0\x08\0\0\0", b"MM\0*", b"")) + rng.randbytes(40)
        segments.insert(0, [rng.choice((0xE1, 0xE2, 0xEE, 0xDD)), exif])
    elif way == 3:
        segments[place][0] = rng.choice((0xC0, 0xC2, 0xC3, 0xC9, 0xDB, 0xC4, 0xFE))
    else:
        segments[place][1] = set_number(segments[place][1], rng)
    out = data[:2]
    for marker, content in segments:
        out += bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return out + data[at:]


def protobuf_changed(data: bytes, rng: Random, depth: int = 0) -> bytes:
    """One field, at any depth; lengths around it are made right again."""
    fields = list(_protobuf_fields(data))
    place = rng.randrange(len(fields))
    number, wire, value = fields[place]
    way = rng.randrange(12)
    if wire == 2 and way > 3 and depth < 9 and _is_message(value):
        fields[place] = number, wire, protobuf_changed(value, rng, depth + 1)
    elif way == 0:
        del fields[place]
    elif way == 1:
        fields.insert(place, rng.choice(fields))
    elif way == 2:
        fields[place] = rng.choice((0, 1, number + 1, 2**28)), wire, value
    elif wire == 0:
        fields[place] = number, wire, rng.choice((*NUMBERS, value + 1, value ^ 1))
    elif wire == 2:
        texts = (b"", b"\0", b"../../etc/passwd", b"\xff\xfe", b"x" * 5000, rng.randbytes(40))
        fields[place] = number, wire, rng.choice((*texts, set_number(value, rng)))
    else:
        fields[place] = number, wire, rng.randbytes(len(value))
    return b"".join(_protobuf_field(*field) for field in fields)


def _is_message(data: bytes) -> bool:
    try:
        return bool(list(_protobuf_fields(data)))
    except (IndexError, ValueError):
        return False


def _protobuf_fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    at = 0
    while at < len(data):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, wire, varint()
            continue
        size = varint() if wire == 2 else {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or at + size > len(data) or not key >> 3:
            raise ValueError("no protobuf")
        yield key >> 3, wire, data[at : at + size]
        at += size


def _protobuf_field(number: int, wire: int, value: Any) -> bytes:
    head = _varint(number << 3 | wire)
    if wire == 0:
        return head + _varint(value)
    return head + (_varint(len(value)) if wire == 2 else b"") + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def safetensors_changed(data: bytes, rng: Random) -> bytes:
    """The header, and now and then the JSON that its metadata hold."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    notes = json.loads(header).get("__metadata__")
    if notes and rng.random() < 0.5:
        document = json.loads(header)
        name = rng.choice(sorted(notes))
        changed = json_changed(notes[name].encode(), rng).decode("utf-8", "replace")
        document["__metadata__"][name] = changed
        header = json.dumps(document).encode()
    else:
        header = json_changed(header, rng)
    declared = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS)
    return declared.to_bytes(8, "little") + header + rest


def tflite_changed(data: bytes, rng: Random) -> bytes:
    """One attribute, or one entry of a vector, of any table."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as fb

    while True:
        model = fb.ModelT.InitFromObj(fb.Model.GetRootAs(data, 0))
        holder, key = rng.choice(list(_table_places(model)))
        old = holder[key] if isinstance(holder, list) else getattr(holder, key)
        new = _hostile_like(old, rng)
        if isinstance(holder, list):
            holder[key] = new
        else:
            setattr(holder, key, new)
        try:
            builder = flatbuffers.Builder(1024)
            builder.Finish(model.Pack(builder), b"TFL3")
        except Exception:  # a value that no flatbuffer can hold: another one
            continue
        return bytes(builder.Output())


def _hostile_like(old: Any, rng: Random) -> Any:
    if isinstance(old, (bytes, str)):
        return rng.choice(("", "x" * 2000, "\0", "ü", "CustomOp"))
    if isinstance(old, list):
        return rng.choice((None, [], old[:-1], old + old[-1:], old[::-1], old * 50))
    if hasattr(old, "dtype"):  # numpy
        return rng.choice((old[:-1], old[::-1], old[:0]))
    if isinstance(old, float):
        return rng.choice((0.0, -1.0, 1e-30, 3e38, float("nan"), float("inf")))
    if isinstance(old, int):
        return rng.choice((*NUMBERS, *(-number for number in NUMBERS), old + 1, old - 1))
    return None if old is not None else rng.choice((0, 1, [], [1, 2], "text"))


def _table_places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (object or list, attribute or index) of an unpacked flatbuffer."""
    if isinstance(node, list):
        keys: Any = range(min(len(node), 64))
    else:
        keys = vars(node) if hasattr(node, "Pack") else ()
    for key in list(keys):
        value = node[key] if isinstance(node, list) else getattr(node, key)
        yield node, key
        if isinstance(value, list) or hasattr(value, "Pack"):
            yield from _table_places(value)

"""Bad inputs of every kind, decided by a random generator: the same seed, the same file.

`damaged` harms bytes without knowing what they mean. The other functions read a valid file of
their format, change one field of it to something hostile, and write it as a valid file again.
"""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

DEEP, DEEPER = 300, 100_000
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 127, 255, 1e-320, -0.0, 0.5, 1e308, -1e308, 2**31 - 1, -(2**31),
    2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, float("nan"), float("inf"),
    float("-inf"), "", " ", "nan", "1e999", "0x10", "x" * 300, "y" * 100_000, "\ud800", "a\0b",
    "../../../etc/passwd", "/etc/passwd", "ü💥\u202e", "=1+1", "%s{}", "\n", "tiny", [], {}, [None],
    {"": None}, [0], [1e308] * 3, [[]], ["x"] * 1000, list(range(2000)),
)  # fmt: skip
NUMBERS = (
    0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 50_000, 65_500, 0x10000,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF,
)  # fmt: skip


def damaged(data: bytes, rng: Random) -> bytes:
    """One or two of the ways in which files are harmed."""
    for _ in range(rng.choice((1, 1, 2))):
        data = rng.choice(WAYS)(data, rng)
    return data


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip_bits(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32)) if data else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _set_number(data: bytes, rng: Random) -> bytes:
    """A hostile integer in the place of some bytes, more often near the file's beginning."""
    size = rng.choice((1, 2, 4, 8))
    reach = min(len(data), rng.choice((64, 512, len(data))))
    if reach < size:
        return data
    at = rng.randrange(reach - size + 1)
    value = rng.choice(NUMBERS) % 256**size
    return data[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _overwrite(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.choice((b"\0", b"\xff")) * (end - start) + data[end:]


def _randomise(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _remove(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _insert(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 16, 300))) + data[at:]


def _splice(data: bytes, rng: Random) -> bytes:
    """Two parts change places."""
    start, end = _span(data, rng)
    at = rng.randrange(len(data) + 1)
    rest = data[:start] + data[end:]
    return rest[:at] + data[start:end] + rest[at:]


def _double(data: bytes, rng: Random) -> bytes:
    start, end = rng.choice(((0, len(data)), _span(data, rng)))
    return data[:end] + data[start:end] + data[end:]


def _replace_all(data: bytes, rng: Random) -> bytes:
    return rng.choice((b"", b"\0" * len(data), rng.randbytes(len(data)), rng.randbytes(3)))


def _span(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 8, 100, max(1, len(data) // 3))))


WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _cut, _cut, _flip_bits, _flip_bits, _set_number, _set_number, _overwrite, _randomise, _remove,
    _insert, _splice, _double, _replace_all,
)  # fmt: skip


# ---------------------------------------------------------------- text


def json_changed(text: bytes, rng: Random) -> bytes:
    """One value of the document replaced, removed, renamed, doubled or nested without end."""
    document = json.loads(text)
    places = list(_places(document))
    if not places:
        return json.dumps(rng.choice(HOSTILE)).encode()
    holder, key = rng.choice(places)
    old = holder[key]
    way = rng.randrange(10)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[rng.choice(("", "nonsense", "\ud800", f"{key} "))] = holder.pop(key)
    elif way == 2:
        holder[key] = "@deep@"
    elif way == 3:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if _is_in(other, name) else None
    elif way == 4 and isinstance(old, (int, float)):
        holder[key] = rng.choice((old + 1, old - 1, -old, old * 10**9, old / 2, str(old), [old]))
    else:
        holder[key] = rng.choice(HOSTILE)
    depth = rng.choice((DEEP, DEEPER))
    written = json.dumps(document, indent=rng.choice((None, 2)))
    return written.replace('"@deep@"', "[" * depth + "]" * depth).encode("utf-8", "surrogatepass")


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from _places(node[key])


def _is_in(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def csv_changed(text: bytes, rng: Random) -> bytes:
    """One cell, or one row's length, changed; quoted as CSV asks, or not at all."""
    rows = [row for row in csv.reader(io.StringIO(text.decode())) if row]
    row = rng.choice(rows)
    column = rng.randrange(len(row))
    value = rng.choice(HOSTILE)
    way = rng.randrange(6)
    if way == 0:
        del row[column]
    elif way == 1:
        row.insert(column, str(value)[:200_000])
    elif way == 2:
        row[column] = rng.choice(rng.choice(rows))
    else:
        row[column] = str(value)[:200_000]
    out = io.StringIO()
    if rng.random() < 0.8:
        csv.writer(out).writerows(rows)
    else:
        out.write("\n".join(rng.choice((",", ";", "\t")).join(row) for row in rows))
    return out.getvalue().encode(rng.choice(("utf-8", "utf-8-sig", "utf-16")), "surrogatepass")


def words_changed(text: bytes, rng: Random) -> bytes:
    """One word, whatever it means, is another."""
    places = list(re.finditer(rb"[^\s=:]+", text))
    start, end = rng.choice(places).span()
    others = (str(value).encode("utf-8", "replace") for value in HOSTILE)
    new = rng.choice((*others, "²٣".encode(), b"9" * 5000, rng.choice(places)[0], b"\\q"))
    return text[:start] + new + text[end:]


# ---------------------------------------------------------------- binary formats


def picture_changed(data: bytes, rng: Random) -> bytes:
    """One field of a chunk or segment; of other formats a number in the header."""
    if data.startswith(b"\x89PNG"):
        return _png_changed(data, rng)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_changed(data, rng)
    return _set_number(data, rng)


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
        segments[place][1] = _set_number(segments[place][1], rng)
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
        fields[place] = number, wire, rng.choice((*texts, _set_number(value, rng)))
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

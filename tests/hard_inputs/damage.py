"""Bad inputs of every kind, decided by a random generator: the same seed, the same file.

`damaged` harms bytes without knowing what they mean. The other functions, here for text and in
`fields` for binary formats, read a valid file, change one field of it to something hostile, and
write it as a valid file again.
"""

from __future__ import annotations

import csv
import io
import json
import re
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


def set_number(data: bytes, rng: Random) -> bytes:
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
    _cut, _cut, _flip_bits, _flip_bits, set_number, set_number, _overwrite, _randomise, _remove,
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

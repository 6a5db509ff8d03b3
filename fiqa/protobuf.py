"""Protobuf by hand: just enough to find, drop and append fields without a protobuf package.

Artifacts are read so before any runtime sees them; everything unknown is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from fiqa.errors import ArtifactError

VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5


def fields(data: bytes, name: str) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Top-level fields: (number, content of a length-delimited one, raw bytes).

    `name` stands in the ArtifactError that damaged bytes raise.
    """
    at, end = 0, len(data)
    while at < end:
        start = at
        key, at = _varint(data, at, name)
        number, wire = key >> 3, key & 7
        content = None
        if wire == VARINT:
            _, at = _varint(data, at, name)
        elif wire == DELIMITED:
            length, at = _varint(data, at, name)
            content = data[at : at + length]
            at += length
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if wire == EIGHT_BYTES else 4
        else:
            at = end + 1
        if at > end or number == 0:
            raise _damaged(name)
        yield number, content, data[start:at]


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field."""
    return _to_varint(number << 3 | DELIMITED) + _to_varint(len(content)) + content


def entry(key: str, value: bytes) -> bytes:
    """The content of one entry of a map from strings: what `pair` reads."""
    return field(1, key.encode()) + field(2, value)


def pair(content: bytes, name: str) -> tuple[bytes | None, bytes | None]:
    """(key, value) of a map entry; None for a missing one."""
    found = {number: value for number, value, _ in fields(content, name)}
    return found.get(1), found.get(2)


def take_entry(data: bytes, number: int, key: str, name: str) -> tuple[bytes, bytes | None]:
    """(the message without the entry `key` of its map `number`, value of that entry or None)."""
    rest, found = bytearray(), None
    for own, content, raw in fields(data, name):
        if own == number and content is not None:
            given, value = pair(content, name)
            if given == key.encode():
                found = value
                continue
        rest += raw
    return bytes(rest), found


def _varint(data: bytes, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _damaged(name)


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _damaged(name: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is cut short or damaged", expected="a whole protobuf file", fix="make it again"
    )

"""Frozen dataclasses to JSON and back, strictly: a wrong type is named by its path.

Every stored record is a dataclass. `read` refuses unknown fields, missing fields and wrong
types, so that a damaged or foreign file is an error at the door and not a surprise later.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from fiqa.errors import ManifestError

Record = TypeVar("Record")

MOST_BITS = 64
MEND = "the file is damaged or foreign: make it again with its command"


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and dicts as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[Record], value: Any, where: str) -> Record:
    """Build the dataclass `kind` from plain JSON values, or raise ManifestError naming `where`."""
    if not isinstance(value, dict):
        raise _mismatch(where, "an object", value)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ManifestError(
            f"{where}: unknown field {unknown[0]!r}",
            expected=f"only {', '.join(fields)}",
            fix="use the fiqa version that wrote this file",
        )
    built = {}
    for name, field in fields.items():
        if name in value:
            built[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ManifestError(
                f"{where}: field {name!r} is missing",
                expected=f"fields {', '.join(fields)}",
                fix=MEND,
            )
    try:
        return kind(**built)
    except ValueError as error:  # a dataclass's own check in __post_init__
        raise ManifestError(
            f"{where}: {error}", expected=f"a valid {kind.__name__}", fix=MEND
        ) from error


def parse_json(text: str | bytes, where: str) -> Any:
    """JSON with duplicate keys, NaN, absurd nesting and half characters refused."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate could not be printed
        return document
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ManifestError(
            f"{where} is not valid JSON: {reason}", expected="a JSON document", fix=MEND
        ) from error


def read_json(path: Path, where: str = "") -> Any:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read: {error.strerror}",
            expected="a readable JSON file",
            fix="check the path and its rights",
        ) from error
    return parse_json(text, where or str(path))


def check_schema(document: Any, newest: int, where: str) -> None:
    """Refuse strangers politely: a schema number must be there, and not from the future."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ManifestError(
            f"{where} has no schema number",
            expected=f'"schema": 1 to {newest}, as fiqa writes it',
            fix=MEND,
        )
    if schema > newest:
        raise ManifestError(
            f"{where} has schema {schema}",
            expected=f"schema {newest} or older",
            fix="pip install --upgrade fiqa-edge",
        )


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        (inner,) = (arg for arg in args if arg is not type(None))
        return _convert(inner, value, where)
    if origin is typing.Literal:
        if value not in args:
            raise _mismatch(where, "one of " + ", ".join(map(repr, args)), value)
        return value
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(where, "an object", value)
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type[Any], hint), value, where)
    return _convert_scalar(hint, value, where)


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mismatch(where, "a list", value)
    kinds = args[:1] * len(value) if args[-1] is Ellipsis else args
    if len(kinds) != len(value):
        raise _mismatch(where, f"a list of {len(kinds)}", value)
    return tuple(
        _convert(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not hint:
        raise _mismatch(where, getattr(hint, "__name__", str(hint)), value)
    if hint is float and not math.isfinite(value):
        raise _mismatch(where, "a finite number", value)
    if hint is int and value.bit_length() > MOST_BITS:  # it would become no float
        raise _mismatch(where, f"an integer of {MOST_BITS} bits", value)
    return value


def _mismatch(where: str, expected: str, value: Any) -> ManifestError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ManifestError(f"{where} is {shown}", expected=expected, fix=MEND)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document

"""Core ML packages without coremltools: find the model, its hash, and the manifest inside.

A .mlpackage is a folder. Its Manifest.json (Core ML's own, not ours) names the root model, a
protobuf whose weights lie beside it. Our manifest is the entry `fiqa_manifest` of the model's
user-defined metadata, where Xcode shows it. Tools that read protobuf in their own ways expect
one description with one metadata message in it, so the entry is put there and not appended.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from fiqa import protobuf
from fiqa.errors import ArtifactError
from fiqa.files import read_bytes, sha256_bytes, sha256_file, writing_folder

SUFFIX = ".mlpackage"
ENTRY = "fiqa_manifest"
INDEX, DATA = "Manifest.json", "Data"
# Field numbers of Core ML's Model.proto.
DESCRIPTION, METADATA, USER_DEFINED = 2, 100, 100


def is_package(path: Path) -> bool:
    """A folder that is, or was meant to be, a Core ML package."""
    return path.is_dir() and (path.suffix == SUFFIX or (path / DATA).is_dir())


def model_file(package: Path) -> Path:
    """The root model's protobuf, as the package's index names it."""
    try:
        index = json.loads((package / INDEX).read_bytes())
        item = str(index["itemInfoEntries"][index["rootModelIdentifier"]]["path"])
        item.encode()  # half a character can stand in no path
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(package, f"its {INDEX} names no root model") from error
    path = package / DATA / item
    inside = os.path.realpath(path).startswith(os.path.realpath(package / DATA) + os.sep)
    if not inside or not os.path.isfile(path):
        raise _broken(package, f"the root model {item!r} is missing")
    return path


def read_package(package: Path) -> tuple[str, bytes | None]:
    """(sha256 of everything that makes the model, text of the manifest or None)."""
    model = model_file(package)
    body, text = split_model(read_bytes(model), f"{package}/{model.name}")
    return _sha256(package, model, body), text


def write_package(path: Path, source: Path, text: bytes) -> None:
    """Copy the package `source`, which may be `path` itself, with this manifest in it.

    The new package takes its name only when it is whole.
    """
    model = model_file(source)
    body, _ = split_model(read_bytes(model), f"{source}/{model.name}")
    with writing_folder(path) as temporary:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        (temporary / model.relative_to(source)).write_bytes(join_model(body, text, path.name))


def split_model(data: bytes, name: str) -> tuple[bytes, bytes | None]:
    """(the model's protobuf without the manifest, text of the manifest or None)."""
    body, text = bytearray(), None
    for number, content, raw in protobuf.fields(data, name):
        if number == DESCRIPTION and content is not None:
            kept, found = _split_description(content, name)
            text = found if text is None else text
            raw = protobuf.field(DESCRIPTION, kept)
        body += raw
    return bytes(body), text


def join_model(body: bytes, text: bytes, name: str) -> bytes:
    """The inverse of `split_model`."""
    added = protobuf.field(USER_DEFINED, protobuf.entry(ENTRY, text))
    out, placed = bytearray(), False
    for number, content, raw in protobuf.fields(body, name):
        if number == DESCRIPTION and content is not None and not placed:
            raw, placed = protobuf.field(DESCRIPTION, _add_to_metadata(content, added, name)), True
        out += raw
    if not placed:
        raise ArtifactError(
            f"{name}: the model has no description", expected="a Core ML model", fix="make it again"
        )
    return bytes(out)


def _split_description(description: bytes, name: str) -> tuple[bytes, bytes | None]:
    """The description without our entry. Empty metadata goes: it may exist for the entry only."""
    kept, text = bytearray(), None
    for number, content, raw in protobuf.fields(description, name):
        if number == METADATA and content is not None:
            metadata, found = protobuf.take_entry(content, USER_DEFINED, ENTRY, name)
            text = text if found is None else found
            raw = protobuf.field(METADATA, metadata) if metadata else b""
        kept += raw
    return bytes(kept), text


def _add_to_metadata(description: bytes, added: bytes, name: str) -> bytes:
    out, placed = bytearray(), False
    for number, content, raw in protobuf.fields(description, name):
        if number == METADATA and content is not None and not placed:
            raw, placed = protobuf.field(METADATA, content + added), True
        out += raw
    return bytes(out) + (b"" if placed else protobuf.field(METADATA, added))


def _sha256(package: Path, model: Path, body: bytes) -> str:
    """One hash over names and contents of all files of the model; identifiers are left out.

    Core ML's index holds random identifiers, and systems drop hidden files into folders:
    neither makes the model another one.
    """
    lines = []
    for path in sorted((package / DATA).rglob("*")):
        name = path.relative_to(package).as_posix()
        if path.is_file() and "/." not in name:
            digest = sha256_bytes(body) if path == model else sha256_file(path)
            lines.append(f"{digest}  {name}\n")
    return sha256_bytes("".join(lines).encode())


def _broken(package: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{package} is no whole Core ML package: {reason}",
        expected=f"a {SUFFIX} folder with {INDEX} and {DATA}/",
        fix="export it again: python -m export.coreml --help",
    )

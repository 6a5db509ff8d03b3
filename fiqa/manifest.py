"""The Manifest: what a checkpoint or artifact is, where it comes from and what it measured.

It is written beside a checkpoint (manifest.json) and travels inside an artifact:
- .tflite: `fiqa_manifest.json` in a zip behind the flatbuffer, where TFLite metadata tools
  look for associated files;
- .onnx: a `fiqa_manifest` entry of metadata_props, appended as one protobuf field;
- .mlpackage: a `fiqa_manifest` entry of the model's user-defined metadata.
All are read and written without any runtime, so that an artifact's hash can be checked before
native code sees it. `sha256` covers the artifact without the embedded manifest.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import zipfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from fiqa import protobuf
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError, InputError, ManifestError
from fiqa.files import read_bytes, sha256_bytes, sha256_file, write_bytes, write_json
from fiqa.mlpackage import ENTRY, is_package, read_package, write_package
from fiqa.records import check_schema, from_plain, parse_json, to_plain

SCHEMA = 1
MANIFEST_FILE = f"{ENTRY}.json"  # in the zip behind a .tflite
WEIGHTS, SIDECAR = "weights.safetensors", "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
TFLITE_IDENTIFIER = b"TFL3"
ONNX_METADATA_FIELD = 14  # ModelProto.metadata_props

Kind = Literal["checkpoint", "tflite", "onnx", "coreml"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. Integer tensors stand for scale * (value - zero_point).

    The dtype "image" is Core ML's: a picture of bytes that the model itself normalises.
    """

    name: str
    shape: tuple[int, ...]  # -1 where any size is taken
    dtype: str
    layout: str  # "NHWC", "NCHW", "N1"
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class ScoreSpec:
    """What the output means. A picture is accepted when its score reaches the threshold."""

    low: float = 0.0
    high: float = 1.0
    meaning: str = "perceptual quality of the face picture, higher is better"
    threshold: float | None = None


@dataclass(frozen=True)
class ScoreScale:
    """How a label set's own scale was mapped to 0..1: (score - low) / (high - low)."""

    low: float
    high: float
    declared: bool  # False: recognised from the values


@dataclass(frozen=True)
class DataRecord:
    """A label set that went into a model or a figure."""

    name: str
    sha256: str
    role: str  # "train", "val", "calibration", "unlabelled", ...
    count: int
    identities: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    skipped: int = 0  # bad rows left out with --skip-bad
    scale: ScoreScale | None = None


@dataclass(frozen=True)
class Measurement:
    """One figure, with what it was measured on. `low` and `high` bound its interval."""

    name: str
    value: float
    data: str
    split: str
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Check:
    """A proof that ran, or did not. `unchecked` needs a reason and never counts as passed."""

    name: str
    status: Literal["passed", "failed", "unchecked"]
    reason: str = ""
    value: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.status == "unchecked" and not self.reason:
            raise ValueError(f"check {self.name!r} is unchecked without a reason")


@dataclass(frozen=True)
class Manifest:
    """One record for checkpoints and artifacts; follow `parent_sha256` back to the labels."""

    kind: Kind
    model: str
    sha256: str
    preprocess: PreprocessSpec
    schema: int = SCHEMA
    parent_sha256: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    score: ScoreSpec = ScoreSpec()
    recipe: dict[str, Any] = field(default_factory=dict)
    datasets: tuple[DataRecord, ...] = ()
    metrics: tuple[Measurement, ...] = ()
    checks: tuple[Check, ...] = ()
    tools: dict[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"

    def to_json(self) -> str:
        return json.dumps(to_plain(self), indent=2, allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Manifest:
        document = parse_json(text, where)
        check_schema(document, SCHEMA, where)
        return from_plain(Manifest, document, where)


def tool_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, fiqa-edge and the named packages, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for package in ("fiqa-edge", "numpy", "pillow", *packages):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def read_manifest(path: Path | str) -> Manifest:
    """The manifest of a checkpoint folder or artifact, after checking that the hash fits."""
    path = Path(path)
    if is_package(path):
        sha256, text = read_package(path)
        return _parse_manifest(text, sha256, path)
    if path.is_dir():
        return _read_checkpoint(path)
    return manifest_in(read_artifact(path), path)


def manifest_in(data: bytes, path: Path) -> Manifest:
    """The manifest inside an artifact's bytes, after checking that the hash fits."""
    body, text = split_artifact(data, path.name)
    return _parse_manifest(text, sha256_bytes(body), path)


def _parse_manifest(text: bytes | None, sha256: str, path: Path) -> Manifest:
    if text is None:
        raise ManifestError(
            f"{path} carries no fiqa manifest",
            expected="an artifact made by fiqa-edge",
            fix="for foreign models name the contract: --preprocess FILE.json",
        )
    manifest = Manifest.from_json(text, f"{path} (manifest)")
    _check_hash(manifest, sha256, path)
    return manifest


def read_artifact(path: Path) -> bytes:
    """The whole file, or an InputError."""
    if path.is_dir() or not path.exists():
        raise InputError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}",
            expected="a .tflite or .onnx file, or a .mlpackage folder",
            fix="check the path",
        )
    return read_bytes(path)


def artifact_kind(data: bytes, name: str) -> Kind:
    """Told from the content; ONNX has no mark of its own, so that its name must agree."""
    if data[4:8] == TFLITE_IDENTIFIER:
        return "tflite"
    if data[:1] == b"\x08" and name.lower().endswith(".onnx"):  # ModelProto's ir_version
        return "onnx"
    raise ArtifactError(
        f"{name} is neither a TFLite flatbuffer nor an ONNX model",
        expected="a whole .tflite or .onnx file",
        fix="export it again: python -m export.tflite --help",
    )


def split_artifact(data: bytes, name: str) -> tuple[bytes, bytes | None]:
    """(body without the embedded manifest, manifest text or None)."""
    if artifact_kind(data, name) == "tflite":
        return _split_tflite(data, name)
    return protobuf.take_entry(data, ONNX_METADATA_FIELD, ENTRY, name)


def embed(body: bytes, manifest: Manifest) -> bytes:
    """The artifact's bytes with the manifest inside; its sha256 is set to that of `body`."""
    manifest = dataclasses.replace(manifest, sha256=sha256_bytes(body))
    text = manifest.to_json().encode()
    if manifest.kind == "tflite":
        return body + _zip_of(MANIFEST_FILE, text)
    if manifest.kind == "onnx":
        return body + protobuf.field(ONNX_METADATA_FIELD, protobuf.entry(ENTRY, text))
    raise AssertionError(f"no embedding for {manifest.kind}")


def write_artifact(path: Path, body: bytes | Path, manifest: Manifest) -> Manifest:
    """Write body and manifest as one, atomically; gives the manifest as written.

    `body` is a file's bytes or, for Core ML, the package to copy, which may be `path` itself.
    """
    if isinstance(body, Path):
        sha256, _ = read_package(body)
        text = dataclasses.replace(manifest, sha256=sha256).to_json()
        write_package(path, body, text.encode())
    else:
        write_bytes(path, embed(body, manifest))
    return read_manifest(path)


def update_manifest(path: Path, manifest: Manifest) -> Manifest:
    """Replace the manifest of an existing checkpoint or artifact; the model stays as it is."""
    if is_package(path):
        return write_artifact(path, path, manifest)
    if path.is_dir():
        write_json(path / SIDECAR, to_plain(manifest))
        return read_manifest(path)
    body, _ = split_artifact(read_artifact(path), path.name)
    return write_artifact(path, body, manifest)


def _read_checkpoint(folder: Path) -> Manifest:
    for name in (SIDECAR, WEIGHTS):
        if not (folder / name).is_file():
            raise ManifestError(
                f"{folder} has no {name}",
                expected=f"a checkpoint folder with {WEIGHTS} and {SIDECAR}",
                fix="train one: python -m train.fit_student --help",
            )
    where = str(folder / SIDECAR)
    manifest = Manifest.from_json((folder / SIDECAR).read_bytes(), where)
    _check_hash(manifest, sha256_file(folder / WEIGHTS), folder)
    return manifest


def _check_hash(manifest: Manifest, found: str, path: Path) -> None:
    if manifest.sha256 != found:
        raise ManifestError(
            f"{path}: the model's sha256 is {found[:12]}..., its manifest says "
            f"{manifest.sha256[:12]}...",
            expected="a file as it was written",
            fix="the file was damaged or changed: fetch or make it again",
        )


def _split_tflite(data: bytes, name: str) -> tuple[bytes, bytes | None]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            wanted = [entry for entry in entries if entry.filename == MANIFEST_FILE]
            if not wanted:
                return data, None
            if wanted[0].file_size > MAX_MANIFEST_BYTES:
                raise zipfile.BadZipFile("the manifest is too large")
            start = min(entry.header_offset for entry in entries)
            return data[:start], archive.read(wanted[0])
    except Exception as error:  # zipfile and zlib raise many kinds on damaged files
        if not zipfile.is_zipfile(io.BytesIO(data)):
            return data, None
        raise ManifestError(
            f"{name}: its embedded files are damaged: {error}",
            expected="a whole .tflite file",
            fix="fetch or make it again",
        ) from error


def _zip_of(name: str, content: bytes) -> bytes:
    """A zip of one stored file, the same bytes for the same content (no clock inside)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()

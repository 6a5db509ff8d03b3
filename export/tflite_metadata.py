"""Standard TFLite metadata: what Android tools, Netron and tflite-support show of a model.

tflite-support cannot be installed beside today's protobuf, so the ModelMetadata flatbuffer is
packed here, from the field numbers of metadata_schema.fbs 1.0.0 (numbers never change there).

Conventions of that schema, for quantised tensors too:
- NormalizationOptions are those of the real numbers a tensor stands for, (byte - mean) / std.
  A reader then quantises with the tensor's own scale and zero point: for mean 128, std 1, scale 1
  a uint8 tensor (zero point 128) takes the byte as it is and an int8 tensor (0) byte - 128.
- Stats are in values of the tensor itself: 0 to 255 for that uint8 tensor.
- The manifest is listed as an associated file; fiqa.manifest appends it as a zip afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from fiqa.contract import PreprocessSpec
from fiqa.manifest import MANIFEST_FILE, Manifest, ScoreSpec
from quantize.flatbuffer import (
    input_and_output,
    read_model,
    schema,
    tensor_name,
    to_bytes,
    type_name,
)

NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"  # nothing younger than the first schema is used
FEATURE, IMAGE = 1, 2  # union ContentProperties
NORMALIZATION = 1  # union ProcessUnitOptions
RGB, UNKNOWN_COLORS = 1, 0  # enum ColorSpaceType
DESCRIPTIONS = 1  # enum AssociatedFileType
DIMENSIONS = {
    4: ("batch", "height", "width", "channel"),
    2: ("batch", "score"),
    1: ("batch",),
}


def with_metadata(data: bytes, manifest: Manifest) -> bytes:
    """The model with TFLITE_METADATA made from its manifest, in place of any it had.

    `data` is the body without embedded manifest; one that follows it is left behind.
    """
    model = read_model(data)
    source, score = (model.subgraphs[0].tensors[index] for index in input_and_output(model))
    content = _pack(_model_metadata(manifest, source, score))
    _set_entry(model, np.frombuffer(content, np.uint8))
    return to_bytes(model)


def _set_entry(model: Any, content: Any) -> None:
    entries = model.metadata or []
    old = [entry for entry in entries if entry.name in (NAME, NAME.encode())]
    for entry in old[1:]:
        model.buffers[entry.buffer].data = None
    model.metadata = [entry for entry in entries if entry not in old[1:]]
    if old and old[0].buffer > 0:  # buffer 0 is the empty one
        model.buffers[old[0].buffer].data = content
        return
    buffer, entry = schema().BufferT(), schema().MetadataT()
    buffer.data = content
    model.buffers.append(buffer)
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [item for item in model.metadata if item not in old] + [entry]


@dataclass(frozen=True)
class _Byte:
    """An enum or union tag, one byte wide."""

    value: int


# A table is written as {field number: value}; a field that is None is left out.
_Table = dict[int, Any]


def _model_metadata(manifest: Manifest, source: Any, score: Any) -> _Table:
    subgraph = {
        2: [_input_metadata(manifest.preprocess, source)],
        3: [_output_metadata(manifest.score, score)],
    }
    listed = {
        0: MANIFEST_FILE,
        1: "origin, preprocessing contract, figures and checks of this model",
        2: _Byte(DESCRIPTIONS),
    }
    return {
        0: manifest.model,
        1: f"Scores the picture of a face. {_score_text(manifest.score)}",
        2: _version(manifest),
        3: [subgraph],
        5: manifest.licence,
        6: [listed],
        7: MIN_PARSER_VERSION,
    }


def _input_metadata(spec: PreprocessSpec, tensor: Any) -> _Table:
    mean, std = np.array(spec.mean), np.array(spec.std)
    color = RGB if spec.color_order == "RGB" else UNKNOWN_COLORS  # the schema knows no BGR
    text = (
        f"A square of {spec.size} x {spec.size} pixels around one face, {spec.color_order}. "
        f"Its side is {spec.margin:g} times the longer side of the detected face; "
        f"resampling and rounding: see {MANIFEST_FILE}."
    )
    return {
        0: tensor_name(tensor),
        1: text,
        2: _dimension_names(tensor),
        3: {0: _Byte(IMAGE), 1: {0: _Byte(color)}},
        4: [{0: _Byte(NORMALIZATION), 1: {0: _reals(mean), 1: _reals(std)}}],
        5: _stats(tensor, (0 - mean) / std, (255 - mean) / std),
    }


def _output_metadata(score: ScoreSpec, tensor: Any) -> _Table:
    return {
        0: tensor_name(tensor),
        1: _score_text(score),
        2: _dimension_names(tensor),
        3: {0: _Byte(FEATURE), 1: {}},
        5: _stats(tensor, np.array([score.low]), np.array([score.high])),
    }


def _score_text(score: ScoreSpec) -> str:
    text = f"{score.meaning[:1].upper()}{score.meaning[1:]}; from {score.low:g} to {score.high:g}."
    if score.threshold is None:
        return text
    return f"{text} A picture is accepted from {score.threshold:g} on."


def _version(manifest: Manifest) -> str | None:
    """Of the tool and of the weights, as far as they are known."""
    parts = []
    if "fiqa-edge" in manifest.tools:
        parts.append(f"fiqa-edge {manifest.tools['fiqa-edge']}")
    if manifest.parent_sha256:
        parts.append(f"checkpoint {manifest.parent_sha256[:12]}")
    return ", ".join(parts) or None


def _dimension_names(tensor: Any) -> list[str] | None:
    names = DIMENSIONS.get(len(tensor.shape))
    return None if names is None else list(names)


def _stats(tensor: Any, low: Any, high: Any) -> _Table:
    """Smallest and largest values the tensor holds when it stands for `low` to `high`."""
    if type_name(tensor) in ("uint8", "int8"):
        limits = np.iinfo(type_name(tensor))
        scale, zero = _scale_and_zero(tensor)
        low, high = (
            np.clip(np.round(value / scale + zero), limits.min, limits.max) for value in (low, high)
        )
    return {0: _reals(high), 1: _reals(low)}


def _scale_and_zero(tensor: Any) -> tuple[float, int]:
    """Of the whole tensor; (1, 0) where none is given."""
    quantization = tensor.quantization
    scales, zeros = (
        np.ravel([] if values is None else values)
        for values in (
            getattr(quantization, "scale", None),
            getattr(quantization, "zeroPoint", None),
        )
    )
    scale = float(scales[0]) if scales.size else 1.0
    return scale or 1.0, int(zeros[0]) if zeros.size else 0


def _reals(values: Any) -> Any:
    """One number where all channels share it, as the schema allows."""
    values = np.asarray(values, np.float32)
    return values[:1] if np.all(values == values[0]) else values


def _pack(root: _Table) -> bytes:
    builder = import_module("flatbuffers").Builder(1024)
    builder.Finish(_add(builder, root), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _add(builder: Any, value: Any) -> int:
    """Write a string, vector or table, its parts first; gives its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        offsets = [_add(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    fields = {number: field for number, field in value.items() if field is not None}
    offsets_of = {
        number: _add(builder, field)
        for number, field in fields.items()
        if not isinstance(field, _Byte)
    }
    builder.StartObject(max(fields, default=-1) + 1)
    for number, field in fields.items():
        if isinstance(field, _Byte):
            builder.PrependInt8Slot(number, field.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, offsets_of[number], 0)
    return int(builder.EndObject())

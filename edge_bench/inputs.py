"""What goes to the device: models looked into, pictures as bytes, and one table for each model.

The table holds what the model's input tensor is for each byte of each channel, computed by the
contract's own code: the runner applies it without knowing any mean, scale or zero point.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_bench.result import Arithmetic, HostScores, ModelRecord, Pictures
from fiqa.contract import Bytes, PreprocessSpec, load_picture
from fiqa.errors import ArtifactError, InputError
from fiqa.files import sha256_bytes
from fiqa.labels import LabelSet, Row, evenly
from fiqa.manifest import TensorSpec, artifact_kind, manifest_in, read_artifact, split_artifact
from fiqa.progress import track
from fiqa.runtime import Scorer, from_tensor, open_model, to_tensor
from fiqa.vectors import Floats
from quantize.graph import GraphFacts, tflite_facts
from train.evaluation import judged_splits

ALL_BYTES = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(256, 1, 1, 3)
KINDS = ("float32", "int8", "uint8")


@dataclass(frozen=True)
class Model:
    """An artifact, ready to travel."""

    path: Path
    record: ModelRecord
    table: bytes  # 3 x 256 elements of the input's type

    @property
    def remote(self) -> str:
        return f"model-{self.record.sha256[:16]}.tflite"


@dataclass(frozen=True)
class Chosen:
    """The pictures to score, of one or more splits of a set."""

    labels: LabelSet
    rows: tuple[Row, ...]
    splits: tuple[str, ...]

    def record(self) -> Pictures:
        scores = tuple(row.score for row in self.rows)
        known = all(row.identity for row in self.rows)
        codes: dict[str, int] = {}
        return Pictures(
            self.labels.record("benchmark"),
            self.splits,
            None if np.isnan(scores).any() else scores,
            tuple(codes.setdefault(row.identity, len(codes)) for row in self.rows)
            if known
            else None,
        )


def read_models(paths: Sequence[Path], contract: PreprocessSpec | None) -> list[Model]:
    """All artifacts; names are the files', told apart where two are alike."""
    models: list[Model] = []
    for path in paths:
        taken = {model.record.name for model in models}
        names = itertools.chain([path.stem], (f"{path.stem}_{n}" for n in itertools.count(2)))
        models.append(
            _read_model(path, next(name for name in names if name not in taken), contract)
        )
    return models


def _read_model(path: Path, name: str, contract: PreprocessSpec | None) -> Model:
    data = read_artifact(path)
    if artifact_kind(data, path.name) != "tflite":
        raise ArtifactError(
            f"{path} is no .tflite file",
            expected="what the runner on a device can open",
            fix="python -m export.tflite makes one of the same checkpoint",
        )
    body, text = split_artifact(data, path.name)
    manifest = manifest_in(data, path) if contract is None or text is not None else None
    spec = contract or (manifest.preprocess if manifest else PreprocessSpec())
    engine = open_model(path, data, manifest, spec.size, "auto", 1)
    _check_tensors(path, engine.input, engine.output, spec)
    facts = tflite_facts(body)
    return Model(
        path,
        ModelRecord(
            name=name,
            file=path.name,
            sha256=sha256_bytes(data),
            size_bytes=len(data),
            body_sha256=sha256_bytes(body),
            parent_sha256=manifest.parent_sha256 if manifest else None,
            model=manifest.model if manifest else "foreign",
            recipe=manifest.recipe if manifest else {},
            trained_on=manifest.datasets if manifest else (),
            preprocess=spec,
            input=engine.input,
            output=engine.output,
            arithmetic=_arithmetic(facts),
            float_ops=facts.float_ops,
            integer_ops=facts.integer_ops,
            conversion_ops=facts.conversion_ops,
            partitions=facts.partitions,
            outside=tuple(f"{one.count} {one.op}: {one.why}" for one in facts.outside),
            unchecked=facts.unchecked.get("partitions", ""),
        ),
        _table(spec, engine.input),
    )


def _check_tensors(
    path: Path, source: TensorSpec, output: TensorSpec, spec: PreprocessSpec
) -> None:
    picture = (1, 3, spec.size, spec.size) if source.layout == "NCHW" else (
        1, spec.size, spec.size, 3
    )  # fmt: skip
    fits = len(source.shape) == 4 and all(
        size in (-1, want) for size, want in zip(source.shape, picture, strict=True)
    )
    if not fits or source.dtype not in KINDS:
        raise ArtifactError(
            f"{path} takes {source.dtype} {list(source.shape)}",
            expected=f"one picture of {spec.size} x {spec.size}: {', '.join(KINDS)}",
            fix="export it with --batch 1, or name its contract: --preprocess FILE.json",
        )
    elements = int(np.prod([max(1, size) for size in output.shape]))
    if elements != 1 or output.dtype not in KINDS:
        raise ArtifactError(
            f"{path} gives {output.dtype} {list(output.shape)}",
            expected=f"one score: {', '.join(KINDS)}",
        )


def _arithmetic(facts: GraphFacts) -> Arithmetic:
    if facts.float_ops == 0 and facts.integer_ops:
        return "integer"
    return "mixed" if facts.integer_ops else "float"


def _table(spec: PreprocessSpec, tensor: TensorSpec) -> bytes:
    values = to_tensor(ALL_BYTES, spec, dataclasses.replace(tensor, layout="NHWC"))
    return np.ascontiguousarray(values.reshape(256, 3).T).tobytes()


def choose_pictures(labels: LabelSet, splits: Sequence[str] | None, limit: int | None) -> Chosen:
    """All pictures of the splits, or `limit` of them spread evenly over their order."""
    parts = judged_splits(labels, splits)
    pairs = [(row, name) for name, part in parts.items() for row in part.rows]
    if limit is not None:
        if limit < 1:
            raise InputError(f"--limit {limit}", expected="1 picture or more")
        pairs = [pairs[index] for index in evenly(len(pairs), limit)]
    rows, names = zip(*pairs, strict=True)
    return Chosen(labels, tuple(rows), tuple(names))


def geometry(spec: PreprocessSpec) -> PreprocessSpec:
    """What of the contract the bytes depend on; mean and std are in the table."""
    plain = PreprocessSpec()
    return dataclasses.replace(spec, mean=plain.mean, std=plain.std)


def picture_bytes(chosen: Chosen, spec: PreprocessSpec) -> Bytes:
    """(N, size, size, 3): what models of this contract read."""

    def prepare(row: Row) -> Bytes:
        return spec.to_bytes(load_picture(chosen.labels.root / row.image), row.box, row.crop)

    data = np.empty((len(chosen.rows), spec.size, spec.size, 3), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        prepared = pool.map(prepare, chosen.rows)
        label = f"reading pictures at {spec.size}"
        for index, picture in enumerate(track(prepared, label, len(chosen.rows))):
            data[index] = picture
    return data


def host_scores(number: int, model: Model, canary: Bytes) -> HostScores:
    """What this machine gives for the same bytes."""
    scorer = Scorer(model.path, preprocess=model.record.preprocess)
    scores = scorer.score_bytes(canary)
    return HostScores(number, scorer.runtime, scorer.kernels, tuple(map(float, scores)))


def scores_of(raw: Sequence[float], tensor: TensorSpec) -> Floats:
    """Raw outputs of the runner as scores, by the code that reads them everywhere else."""
    return from_tensor(np.array(raw, np.dtype(tensor.dtype)).reshape(-1, 1), tensor)

"""Export: what is written scores as its checkpoint, and what does not is not written."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

import onnx as onnx_package  # noqa: E402
from ai_edge_litert.tools import flatbuffer_utils  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from export import coreml, exporter, onnx, tflite  # noqa: E402
from export.format import Judge  # noqa: E402
from export.parity import extremes, parity_pictures, reference_scores  # noqa: E402
from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.errors import MissingDependencyError  # noqa: E402
from fiqa.labels import read_labels  # noqa: E402
from fiqa.manifest import read_manifest, update_manifest  # noqa: E402
from fiqa.runtime import Scorer  # noqa: E402
from quantize.coremltools_loader import load_coremltools  # noqa: E402
from quantize.deployable import make_deployable  # noqa: E402
from quantize.flatbuffer import has_outside_buffers, to_bytes  # noqa: E402
from quantize.mil_executor import MilProgram  # noqa: E402
from tests.doubles.tiny_sets import make_set  # noqa: E402
from train.checkpoint import load_checkpoint  # noqa: E402

SIZE = 64
SPEC = PreprocessSpec(size=SIZE)


def run(command: Any, checkpoint: Path, out: Path, *more: str) -> int:
    found: int = command.main(
        ["--checkpoint", str(checkpoint), "--out", str(out), "--quiet", *more]
    )
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("command", [tflite, onnx], ids=["tflite", "onnx"])
def test_file_scores_as_its_checkpoint_and_says_where_it_comes_from(
    command: Any, precision: str, checkpoint: Path, tmp_path: Path, ready: None
) -> None:
    out = tmp_path / f"student.{command.__name__.split('.')[-1]}"
    assert run(command, checkpoint, out, "--precision", precision) == 0
    network, source = load_checkpoint(checkpoint)
    pictures = parity_pictures(None, SPEC)
    wanted = reference_scores(network, SPEC, pictures)
    assert wanted.std() > 0.01  # a constant would agree with anything
    difference = np.abs(Scorer(out).score_bytes(pictures) - wanted)
    assert difference.max() <= 1e-5 if precision == "fp32" else difference.mean() <= 2e-3
    manifest = read_manifest(out)
    assert manifest.parent_sha256 == source.sha256
    assert manifest.preprocess == PreprocessSpec(size=SIZE, mean=(128,) * 3, std=(1.0,) * 3)
    assert (manifest.inputs[0].shape, manifest.inputs[0].layout) == ((1, SIZE, SIZE, 3), "NHWC")
    assert {check.status for check in manifest.checks} == {"passed"}
    assert manifest.recipe["graph"]["size_bytes"] == pytest.approx(out.stat().st_size, rel=0.2)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_fp16_files_are_half_the_size(checkpoint: Path, tmp_path: Path, ready: None) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        out = tmp_path / f"{precision}.tflite"
        assert run(tflite, checkpoint, out, "--precision", precision) == 0
        assert not has_outside_buffers(out.read_bytes())
        sizes[precision] = read_manifest(out).recipe["graph"]["size_bytes"]
    assert sizes["fp16"] < 0.75 * sizes["fp32"]  # names and structure stay


def test_mobilenets_have_no_transpose_and_one_partition(
    checkpoint: Path, tmp_path: Path, ready: None
) -> None:
    assert run(tflite, checkpoint, tmp_path / "student.tflite") == 0
    graph = read_manifest(tmp_path / "student.tflite").recipe["graph"]
    assert (graph["transposes"], graph["partitions"]) == (0, 1)
    assert Scorer(tmp_path / "student.tflite").kernels == "XNNPACK"
    assert graph["ops"].keys() >= {"CONV_2D", "FULLY_CONNECTED"}


def test_package_is_proved_by_the_executor_and_core_ml_stays_unchecked_elsewhere(
    checkpoint: Path, tmp_path: Path, ready: None
) -> None:
    out, foreign = tmp_path / "student.mlpackage", tmp_path / "foreign"
    shutil.copytree(checkpoint, foreign)
    manifest = dataclasses.replace(read_manifest(foreign), licence="not stated")
    update_manifest(foreign, manifest)
    assert run(coreml, foreign, out) == 0
    models = load_coremltools("coremltools.models")
    assert models.MLModel(str(out), skip_model_load=True).license == "not stated"
    network, source = load_checkpoint(foreign)
    pictures = parity_pictures(None, SPEC)
    difference = MilProgram.load(out).run(pictures) - reference_scores(network, SPEC, pictures)
    assert np.abs(difference).max() <= 1e-5
    manifest = read_manifest(out)
    assert manifest.parent_sha256 == source.sha256
    by_name = {check.name: check for check in manifest.checks}
    assert by_name["parity in the MIL executor"].status == "passed"
    here = by_name["parity in Core ML"]
    assert here.status == ("passed" if sys.platform == "darwin" else "unchecked")
    assert here.reason


def other_tflite(data: bytes, value: float) -> bytes:
    """The same model with its largest weight changed, and so the two below."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    weights = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    values = np.frombuffer(bytes(weights.data), np.float32).copy()
    values[np.abs(values).argmax()] = value
    weights.data = np.frombuffer(values.tobytes(), np.uint8)
    return to_bytes(model)


def other_onnx(data: bytes, value: float) -> bytes:
    model = onnx_package.load_from_string(data)
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] = value
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


def other_package(package: Path, value: float) -> Path:
    (blob,) = package.rglob("weight.bin")
    data = bytearray(blob.read_bytes())
    middle = len(data) // 8 * 4
    data[middle : middle + 4] = np.float32(value).tobytes()
    blob.write_bytes(bytes(data))
    return package


CHANGES = {tflite: other_tflite, onnx: other_onnx, coreml: other_package}


@pytest.mark.parametrize("value", [30.0, np.nan], ids=["another", "nan"])
@pytest.mark.parametrize("command", CHANGES, ids=["tflite", "onnx", "coreml"])
def test_one_other_weight_fails_the_proof_and_nothing_is_written(
    command: Any,
    value: float,
    checkpoint: Path,
    tmp_path: Path,
    ready: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = command.__name__.split(".")[-1].upper()
    form = getattr(command, name)
    build, change = form.builders["fp32"], CHANGES[command]
    monkeypatch.setitem(form.builders, "fp32", lambda *args: change(build(*args), value))
    out = tmp_path / f"student{form.suffix}"
    assert run(command, checkpoint, out, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["artifact"]) == ("no", None)
    failed = [check["name"] for check in document["checks"] if check["status"] == "failed"]
    assert failed[0] == f"parity in {form.judges[0].name}"
    assert list(tmp_path.iterdir()) == []


def test_without_its_runtime_the_proof_is_unchecked_and_never_passed(
    checkpoint: Path, tmp_path: Path, ready: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(path: Path) -> Any:
        raise MissingDependencyError("no runtime is installed")

    form = dataclasses.replace(tflite.TFLITE, judges=(Judge("the runtime", absent),))
    monkeypatch.setattr(tflite, "TFLITE", form)
    assert run(tflite, checkpoint, tmp_path / "student.tflite") == 0
    check = read_manifest(tmp_path / "student.tflite").checks[-1]
    assert (check.name, check.status) == ("parity in the runtime", "unchecked")
    assert check.reason == "no runtime is installed"


def test_size_and_batch_are_those_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.onnx"
    assert run(onnx, checkpoint, out, "--size", "48", "--batch", "2") == 0
    manifest = read_manifest(out)
    assert manifest.inputs[0].shape == (2, 48, 48, 3)
    assert manifest.preprocess.size == 48
    assert Scorer(out).score_bytes(extremes(48)[:3]).shape == (3,)


def test_proof_uses_the_users_own_pictures(checkpoint: Path, tmp_path: Path) -> None:
    labels = read_labels(make_set(tmp_path / "data", 3))
    pictures = parity_pictures(labels, SPEC)
    own = {picture.tobytes() for picture in pictures}
    for path in labels.paths:
        from fiqa.contract import load_picture

        assert SPEC.to_bytes(load_picture(path)).tobytes() in own
    assert len(pictures) == 64 + len(extremes(SIZE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "{}/student.onnx"], "a name that ends in .tflite"),
        (["--out", "{}/taken.tflite"], "exists"),
        (["--out", "{}/taken.tflite/under.tflite"], "taken.tflite"),
        (["--checkpoint", "{}/taken.tflite"], "train.import_weights"),
        (["--checkpoint", "{}/none"], "none"),
        (["--checkpoint", "{}/foreign"], "manifest.json"),
        (["--batch", "0"], "1 or more"),
        (["--data", "{}/none.csv"], "none.csv"),
    ],
)
def test_what_cannot_run_says_so_and_leaves_everything_as_it_was(
    arguments: list[str],
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken.tflite").write_text("kept")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.pth").write_text("?")
    before = sorted(tmp_path.rglob("*"))
    given = {"--checkpoint": str(checkpoint), "--out": str(tmp_path / "student.tflite")}
    given |= dict(
        zip(arguments[::2], (one.format(tmp_path) for one in arguments[1::2]), strict=True)
    )
    assert tflite.main([word for pair in given.items() for word in pair]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.tflite").read_text() == "kept"


def test_what_the_converter_does_not_know_is_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    class Odd(torch.nn.Module):
        def forward(self, r: Any) -> Any:
            return torch.linalg.eigvalsh(r[0, :4, :4, 0] + 1)[None, :1]

    def odd(*args: Any) -> Any:
        found = make_deployable(*args)
        return dataclasses.replace(found, module=Odd())

    monkeypatch.setattr(exporter, "make_deployable", odd)
    assert run(tflite, checkpoint, tmp_path / "student.tflite") == 2
    assert "litert-torch does not convert this network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""Every reader of users' files, with valid files to harm; those that need torch stand apart.

`make` writes valid files and gives those that may be harmed, `change` changes one field of one
of them, `read` reads it as the commands do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from edge_bench.plan import Setup
from edge_bench.report import WRITERS, _read
from edge_bench.runner.apk import find_apk, library_in
from edge_bench.runner.build import elf_abi
from edge_bench.runner.native import failure, read_answer
from edge_bench.runner.request import Answer, RawTensor, Request
from edge_bench.targets.base import Done
from edge_bench.targets.facts import cpus_of, parse_facts, parse_moment
from fiqa import Scorer
from fiqa.contract import Box, PreprocessSpec, check_picture, load_picture
from fiqa.files import write_json
from fiqa.labels import read_labels
from fiqa.manifest import Manifest, read_manifest, write_artifact
from fiqa.records import to_plain
from fiqa.score import read_spec
from fiqa.sources import read_sources
from tests.doubles import bench_results, tiny_models
from tests.hard_inputs import damage

Change = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Reader:
    make: Callable[[Path], Sequence[Path]]
    change: Change
    read: Callable[[Path], object]
    patience_s: float = 20.0  # for one input, on a busy machine


def rewrite(change: Callable[[bytes, Random], bytes]) -> Change:
    return lambda path, rng: _write(path, change(path.read_bytes(), rng))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


# ---------------------------------------------------------------- pictures

PICTURES = {
    "jpg": {}, "png": {}, "webp": {}, "bmp": {}, "gif": {}, "tiff": {"compression": "tiff_lzw"},
    "ppm": {}, "jp2": {}, "avif": {}, "tif": {"compression": "jpeg"},
}  # fmt: skip


def make_pictures(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = []
    for ending, options in PICTURES.items():
        paths.append(folder / f"a.{ending}")
        extra = {"exif": exif} if ending in ("jpg", "webp", "png") else {}
        Image.fromarray(pixels).save(paths[-1], **options, **extra)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        paths.append(folder / f"{mode.replace(';', '')}.png")
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
        (picture if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save(paths[-1])
    Image.fromarray(pixels).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(pixels).save(folder / "progressive.jpg", progressive=True)
    frames = [Image.fromarray(pixels // n) for n in (2, 3)]
    Image.fromarray(pixels).save(folder / "moving.gif", save_all=True, append_images=frames)
    return [*paths, folder / "cmyk.jpg", folder / "progressive.jpg", folder / "moving.gif"]


def read_picture(path: Path) -> object:
    check_picture(path.read_bytes(), path.name)
    return PreprocessSpec(size=16).to_bytes(load_picture(path), Box(8, 8, 9, 9)).sum()


# ---------------------------------------------------------------- label sets


def _faces(folder: Path, names: Sequence[str]) -> None:
    rng = np.random.default_rng(1)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name)


NAMES = [f"{number}.png" for number in range(6)]
HEADER = "image,score,identity,split,box,weight,steps\n"
ROW = "{0}.png,0.{0},p{0},train,2 2 10 10,1.5,jpeg:0.4 noise:0.2\n"


def make_label_files(folder: Path) -> list[Path]:
    """With a header, without, GFIQA-20k, and a folder with a dataset.json of ours."""
    _faces(folder, [*NAMES, *(f"g/image/{n}" for n in NAMES), *(f"d/{n}" for n in NAMES)])
    rows = "".join(map(ROW.format, range(6)))
    files = {
        "full.csv": HEADER + rows,
        "short.csv": HEADER.replace("image", "bioguide") + rows.replace("2 2 10 10", ""),
        "columns.csv": "path;mos;x;y;w;h\n" + "".join(f"{n};{n}0;1;1;9;9\n" for n in range(6)),
        "bare.csv": "".join(f"{n},{50 + n}\n" for n in range(6)),
        "g/mos_val_rating.csv": "img_name,mos\n" + "".join(f"{n}.png,0.{n}\n" for n in range(6)),
        "d/labels.csv": HEADER + rows,
        "d/dataset.json": json.dumps({"schema": 1, "root": "", "people": {"a": [1]}}),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def change_label_file(path: Path, rng: Random) -> None:
    change = damage.json_changed if path.suffix == ".json" else damage.csv_changed
    _write(path, change(path.read_bytes(), rng))


def read_label_file(path: Path) -> object:
    from train.recorded_steps import read_kinds

    source = path.parent if path.parent.name in ("g", "d") else path
    found = [one.path for one in read_sources(source, None)]
    for scored in (True, False):
        labels = read_labels(source, scored=scored, skip_bad=True)
        labels.record("train")
        labels.with_splits({"train": 0.5, "val": 0.5})
    return found, read_kinds(source)


def make_parquet(folder: Path) -> list[Path]:
    import pyarrow
    from pyarrow import parquet

    _faces(folder, [*NAMES, *(f"shards/{name}" for name in NAMES)])
    table = pyarrow.table(
        {
            "image": NAMES, "score": [0.1 * n for n in range(6)], "identity": list("abcdef"),
            "split": ["train"] * 6, "box": ["2 2 10 10"] * 6, "weight": [1.0] * 6,
            "steps": ["jpeg:0.5"] * 6,
        }
    )  # fmt: skip
    parquet.write_table(table, folder / "a.parquet")
    (folder / "shards").mkdir(exist_ok=True)
    parquet.write_table(table, folder / "shards" / "b.parquet", compression="zstd")
    return [folder / "a.parquet", folder / "shards" / "b.parquet"]


def change_parquet(path: Path, rng: Random) -> None:
    """One column of another name or type, or one cell of it."""
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path)
    place = rng.randrange(table.num_columns)
    name, values = table.column_names[place], table.column(place).to_pylist()
    way = rng.randrange(4)
    if way == 0:
        names = [*table.column_names]
        names[place] = rng.choice(("", "image", "Score", "x" * 9000, "\0", "path"))
        table = table.rename_columns(names)
    elif way == 1:
        table = table.remove_column(place)
    else:
        hostile = rng.choice(
            (None, b"\xff\xfe", [1, 2], {"a": 1}, 2**62, -1.0, float("nan"), True, "x" * 100_000,
             "../a.png", "\0", "é" * 200, "1 2 3 4 5", "1e400 0 1 1")
        )  # fmt: skip
        changed = [hostile] * len(values) if way == 2 else [*values[:-1], hostile]
        try:
            column = pyarrow.array(changed)
        except pyarrow.ArrowException:
            column = pyarrow.array([hostile] * len(values))
        table = table.set_column(place, name, column)
    parquet.write_table(table, path)


def read_parquet(path: Path) -> object:
    return read_label_file(path if path.parent.name != "shards" else path.parent)


# ---------------------------------------------------------------- manifests and artifacts


def make_manifest(folder: Path) -> list[Path]:
    """A checkpoint folder whose weights nobody looks into here."""
    from safetensors.numpy import save

    from fiqa.files import sha256_bytes
    from fiqa.manifest import SIDECAR, WEIGHTS

    data = save({"head.weight": np.ones((1, 4), np.float32)})
    (folder / WEIGHTS).write_bytes(data)
    full = json.loads(_full_manifest().to_json()) | {"sha256": sha256_bytes(data)}
    write_json(folder / SIDECAR, full)
    return [folder / SIDECAR]


def _full_manifest() -> Manifest:
    from fiqa.manifest import Check, DataRecord, Measurement, ScoreScale, TensorSpec

    tensor = TensorSpec("picture", (1, 16, 16, 3), "float32", "NHWC")
    return tiny_models.manifest(
        "checkpoint", inputs=(tensor,), outputs=(tensor,), recipe={"a": [1, {"b": None}]},
        datasets=(DataRecord("d", "1" * 64, "train", 9, 3, {"train": 9}, 1,
                             ScoreScale(0, 1, True)),),
        metrics=(Measurement("srcc", 0.5, "d", "val", 9, 0.4, 0.6),),
        checks=(Check("c", "passed", "", 0.1, 0.2),), tools={"python": "3.11"},
    )  # fmt: skip


def read_manifest_text(path: Path) -> object:
    manifest = read_manifest(path.parent)
    return Manifest.from_json(manifest.to_json(), "again") == manifest


PICTURE = np.full((20, 20, 3), 100, np.uint8)


def make_ours(folder: Path) -> list[Path]:
    return [
        tiny_models.write_tflite(folder / "float.tflite"),
        tiny_models.write_tflite(folder / "uint8.tflite", "uint8"),
        tiny_models.write_onnx(folder / "a.onnx"),
    ]


def change_ours(path: Path, rng: Random) -> None:
    """The embedded manifest, or the model under the old manifest: its hash is then wrong."""
    from fiqa.manifest import ONNX_METADATA_FIELD, _zip_of, split_artifact
    from fiqa.mlpackage import ENTRY
    from fiqa.protobuf import entry, field

    body, text = split_artifact(path.read_bytes(), path.name)
    assert text is not None
    if rng.random() < 0.7:
        text = damage.json_changed(text, rng)
    else:
        change = damage.tflite_changed if path.suffix == ".tflite" else damage.protobuf_changed
        body = change(body, rng)
    if path.suffix == ".tflite":
        _write(path, body + _zip_of(f"{ENTRY}.json", text))
    else:
        _write(path, body + field(ONNX_METADATA_FIELD, entry(ENTRY, text)))


def read_ours(path: Path) -> object:
    return Scorer(path).score([PICTURE]).tolist()


def make_foreign_tflite(folder: Path) -> list[Path]:
    from tests.doubles.twin_models import twin

    bodies = {"float": tiny_models.tflite_body(), "uint8": tiny_models.tflite_body("uint8"),
              "batch": tiny_models.tflite_body(batch=4), "int8": twin("int8")}  # fmt: skip
    for name, body in bodies.items():
        (folder / f"{name}.tflite").write_bytes(body)
    return [folder / f"{name}.tflite" for name in bodies]


def read_foreign(path: Path) -> object:
    size = 32 if path.stem == "int8" else tiny_models.SIZE
    spec = PreprocessSpec(size=size, std=(1.0, 1.0, 1.0))
    return Scorer(path, preprocess=spec).score([PICTURE]).tolist()


def read_tflite_graph(path: Path) -> object:
    from export.tflite_metadata import with_metadata
    from quantize.flatbuffer import has_outside_buffers, input_and_output, read_model, to_bytes
    from quantize.graph import _facts, describe
    from quantize.graph_readers import read_tflite

    data = path.read_bytes()
    graph = read_tflite(data)
    describe(_facts(data, graph, None, (), "not here"))
    has_outside_buffers(data)
    model = read_model(data)
    input_and_output(model)
    return len(with_metadata(to_bytes(model), tiny_models.manifest("tflite")))


def make_foreign_onnx(folder: Path) -> list[Path]:
    (folder / "a.onnx").write_bytes(tiny_models.onnx_body())
    return [folder / "a.onnx"]


def read_onnx_graph(path: Path) -> object:
    from quantize.graph import describe, onnx_facts

    return describe(onnx_facts(path.read_bytes()))


def make_package(folder: Path) -> list[Path]:
    from tests.fiqa.test_mlpackage import make_package

    source, package = folder / "converted.mlpackage", folder / "m.mlpackage"
    write_artifact(package, make_package(source), tiny_models.manifest("coreml"))
    shutil.rmtree(source)
    inner = package / "Data" / "com.apple.CoreML"
    return [package / "Manifest.json", inner / "model.mlmodel", inner / "weights" / "weight.bin"]


def change_package(path: Path, rng: Random) -> None:
    if path.suffix == ".json":
        _write(path, damage.json_changed(path.read_bytes(), rng))
    else:
        change = damage.protobuf_changed if path.suffix == ".mlmodel" else damage.damaged
        _write(path, change(path.read_bytes(), rng))


def read_package(path: Path) -> object:
    package = next(parent for parent in path.parents if parent.suffix == ".mlpackage")
    return read_manifest(package).model


# ---------------------------------------------------------------- results and records


def make_results(folder: Path) -> list[Path]:
    small = bench_results.result(pictures=40, medians_us=((4000.0,) * 3, (2000.0,) * 3),
                                 instructions=((10**6,) * 2, (9 * 10**5,) * 2))  # fmt: skip
    write_json(folder / "bench.json", to_plain(small))
    write_json(folder / "other.json", to_plain(small))
    return [folder / "bench.json"]


def read_bench(path: Path) -> object:
    from edge_bench.compare import Tolerance, compare
    from edge_bench.result import read_result

    benches = [_read(path)]
    written = [writer(benches).encode() for writer in WRITERS.values()]
    result, other = benches[0].result, read_result(path.with_name("other.json"))
    compared = [compare(a, b, Tolerance(0.005, 0.05, 0.005)) for a, b in
                ((result, other), (other, result))]  # fmt: skip
    json.dumps(to_plain(compared), allow_nan=False)
    return len(written)


def make_records(folder: Path) -> list[Path]:
    from train.figures import Estimate  # noqa: F401 - torch-free, as evaluation is

    answer = Answer(
        1, "r1", "time", "litert", "aarch64", "", "boot", "xnnpack", True, 1,
        RawTensor("uint8", 768, 1.0, 128), RawTensor("float32", 1, 1.0, 0), 1.0, 2.0, 3.0,
        (0.5,), (4.0, 5.0), 20.0, 20.0, 0, 1000, 900, total_us=50.0,
    )  # fmt: skip
    write_json(folder / "spec.json", to_plain(PreprocessSpec()))
    write_json(folder / "answer.json", to_plain(answer))
    return [folder / "spec.json", folder / "answer.json"]


def read_record(path: Path) -> object:
    if path.name == "spec.json":
        return read_spec(path).normalise(np.zeros((2, 3), np.uint8)).shape
    request = Request("time", "m", "p", "t", "NHWC", Setup(), runs=2)
    return read_answer(path, "r1", request)


def make_device_words(folder: Path) -> list[Path]:
    """What a device says: its facts, and a runner's last words."""
    from tests.edge_bench.test_facts import PIXEL

    (folder / "facts.txt").write_text(PIXEL)
    (folder / "words.txt").write_text('{"stage": "library", "message": "cannot \\"open\\""}')
    return [folder / "facts.txt", folder / "words.txt"]


def read_device_words(path: Path) -> object:
    text = path.read_bytes().decode(errors="replace")
    if path.name == "facts.txt":
        parse_moment(text)
        facts = parse_facts(text, 1000.0, 1002.0)
        return [cpus_of(cores, facts) for cores in ("big", "little", "all", "any")]
    request = Request("time", "m", "p", "t", "NHWC", Setup(), runs=2)
    return [str(failure(Done(status, "", text), request, "here")) for status in range(150)]


def make_apk(folder: Path) -> list[Path]:
    import zipfile

    elf = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(40)
    with zipfile.ZipFile(folder / "a.apk", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("classes.dex", b"dex\n035\0" + b"Lfiqa/bench/Main;" * 9)
        content.writestr("lib/arm64-v8a/libtensorflowlite_jni.so", elf)
    (folder / "lib.so").write_bytes(elf)
    return [folder / "a.apk", folder / "lib.so"]


def read_apk(path: Path) -> object:
    if path.suffix == ".so":
        return elf_abi(path)
    return library_in(find_apk(path), "arm64-v8a", path.parent / "out")


READERS: dict[str, Reader] = {
    "pictures": Reader(make_pictures, rewrite(damage.picture_changed), read_picture),
    "labels": Reader(make_label_files, change_label_file, read_label_file),
    "parquet": Reader(make_parquet, change_parquet, read_parquet),
    "manifest": Reader(make_manifest, rewrite(damage.json_changed), read_manifest_text),
    "ours": Reader(make_ours, change_ours, read_ours),
    "tflite": Reader(make_foreign_tflite, rewrite(damage.tflite_changed), read_foreign, 60),
    "onnx": Reader(make_foreign_onnx, rewrite(damage.protobuf_changed), read_foreign, 60),
    "tflite_graph": Reader(make_foreign_tflite, rewrite(damage.tflite_changed), read_tflite_graph),
    "onnx_graph": Reader(make_foreign_onnx, rewrite(damage.protobuf_changed), read_onnx_graph),
    "mlpackage": Reader(make_package, change_package, read_package),
    "bench": Reader(make_results, rewrite(damage.json_changed), read_bench),
    "records": Reader(make_records, rewrite(damage.json_changed), read_record),
    "device": Reader(make_device_words, rewrite(damage.words_changed), read_device_words),
    "apk": Reader(make_apk, rewrite(damage._set_number), read_apk),
}

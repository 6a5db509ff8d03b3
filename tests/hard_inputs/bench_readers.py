"""Results of benchmarks, contracts, and what devices say and carry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edge_bench.plan import Setup
from edge_bench.report import WRITERS, _read
from edge_bench.runner.apk import find_apk, library_in
from edge_bench.runner.build import elf_abi
from edge_bench.runner.native import failure, read_answer
from edge_bench.runner.request import Answer, RawTensor, Request
from edge_bench.targets.base import Done
from edge_bench.targets.facts import cpus_of, parse_facts, parse_moment
from fiqa.contract import PreprocessSpec
from fiqa.files import write_json
from fiqa.records import to_plain
from fiqa.score import read_spec
from tests.doubles import bench_results
from tests.hard_inputs import damage
from tests.hard_inputs.reader import Reader, rewrite


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


READERS = {
    "bench": Reader(make_results, rewrite(damage.json_changed), read_bench),
    "records": Reader(make_records, rewrite(damage.json_changed), read_record),
    "device": Reader(make_device_words, rewrite(damage.words_changed), read_device_words),
    "apk": Reader(make_apk, rewrite(damage.set_number), read_apk),
}

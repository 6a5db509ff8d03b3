"""What the packages never do: run code out of a file, or reach for the network unasked."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fiqa.files import write_json
from fiqa.records import to_plain
from tests.doubles import bench_results, tiny_models
from tests.doubles.picture_sets import write_set

ROOT = Path(__file__).parents[1]
PACKAGES = ("fiqa", "train", "quantize", "export", "edge_bench", "android_demo")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# They unpickle, or run what they read.
RUNS_FILES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "pandas",
    "code",
    "runpy",
    "imp",
}
SAFE_LOADS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "yaml.load",
    "np.fromregex",
}
REACHES_OUT = {
    "urllib",
    "http",
    "requests",
    "httpx",
    "aiohttp",
    "socket",
    "ftplib",
    "smtplib",
    "ssl",
    "huggingface_hub",
    "websockets",
}
ASKED_FOR = {  # who may, and what the user said to ask for it
    "train/start_weights.py": {"urllib", "ssl", "huggingface_hub"},  # --init timm, else not
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_neither_unpickles_nor_reaches_for_the_network(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = set(_imported(tree))
    assert not imported & RUNS_FILES
    allowed = ASKED_FOR.get(path.relative_to(ROOT).as_posix(), set())
    assert imported & REACHES_OUT <= allowed
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name not in UNSAFE_CALLS, f"line {call.lineno}"
        if name in SAFE_LOADS:
            keyword, wanted = SAFE_LOADS[name]
            given = {one.arg: getattr(one.value, "value", None) for one in call.keywords}
            assert given.get(keyword) is wanted, f"line {call.lineno}: {keyword}={wanted}"


def _imported(tree: ast.AST) -> Iterator[str]:
    """First names of what is imported, by statement or by name at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                str(one.value).split(".")[0] for one in node.args if isinstance(one, ast.Constant)
            )


def test_the_loads_that_this_looks_for_are_there() -> None:
    text = "".join(path.read_text() for path in MODULES)
    assert text.count("torch.load(") >= 1
    assert text.count("np.load(") >= 1


# Every Python process, children included, tells of each address it asks for, and gets none.
OFFLINE = """
import os, sys

def _watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname") or (
        event == "socket.connect" and arguments[0].family.name != "AF_UNIX"
    ):
        with open(os.environ["REACHED"], "a") as handle:
            handle.write(f"{event} {arguments}\\n")
        raise OSError("there is no network here")

sys.addaudithook(_watch)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few files that commands work on, and a Python without network."""
    folder = tmp_path_factory.mktemp("world")
    tiny_models.write_tflite(folder / "a.tflite")
    tiny_models.write_onnx(folder / "a.onnx")
    (folder / "foreign.onnx").write_bytes(tiny_models.onnx_body())
    write_json(folder / "spec.json", to_plain(tiny_models.SPEC))
    write_json(folder / "bench.json", to_plain(bench_results.result(pictures=60)))
    write_set(folder / "faces")
    (folder / "offline").mkdir()
    (folder / "offline" / "sitecustomize.py").write_text(OFFLINE)
    return folder


COMMANDS = {
    "fiqa.score": "a.tflite faces --detect",
    "fiqa.detect": "faces --out boxes.csv",
    "quantize.verify": "a.tflite foreign.onnx --quantised-preprocess spec.json --data faces",
    "train.evaluate": "a.onnx --data faces --out evaluated --baseline a.tflite",
    "edge_bench.report": "bench.json --out report.html",
    "edge_bench.compare": "bench.json bench.json",
    "edge_bench.run": "--artifact a.tflite --data faces --target local --runs 0 --out b.json",
    "train.synth": "--out drawn --identities 3 --per-identity 2 --size 96 --workers 1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_asks_for_no_address(command: str, world: Path) -> None:
    reached = world / f"{command}.reached"
    done = _run(world, reached, "-m", command, *COMMANDS[command].split(), "--json")
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["status"] in ("done", "no"), done.stdout
    assert not reached.exists(), reached.read_text()


def test_an_address_that_is_asked_for_would_be_noticed(world: Path) -> None:
    reached = world / "self.reached"
    code = "import urllib.request as r\ntry: r.urlopen('http://example.com')\nexcept OSError: pass"
    _run(world, reached, "-c", code)
    assert "example.com" in reached.read_text()


def _run(world: Path, reached: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(world / "offline"), str(ROOT)))
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, *arguments], cwd=world, capture_output=True, text=True, timeout=120,
        env=environment | {"PYTHONPATH": paths, "REACHED": str(reached)}, check=False,
    )  # fmt: skip

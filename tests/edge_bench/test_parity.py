"""A network of full size, quantised by our recipe: the same scores on every kind of processor."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("litert_torch", reason="needs the extra `export`")

from edge_bench import run  # noqa: E402
from edge_bench.result import BenchResult, read_result  # noqa: E402
from edge_bench.summary import Canary, summarise_result  # noqa: E402
from edge_bench.targets.emulated import CORES  # noqa: E402
from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.manifest import Manifest, write_artifact  # noqa: E402
from quantize.convert import to_tflite  # noqa: E402
from quantize.deployable import BYTE_CENTRE, Deployable, make_deployable  # noqa: E402
from quantize.recipes import faithful, quantise  # noqa: E402
from quantize.tflite import tensors_of, to_integer_tflite  # noqa: E402
from tests.doubles import arm_root  # noqa: E402
from tests.doubles.lively_networks import make_lively, pictures  # noqa: E402
from train.network import QualityNet  # noqa: E402

pytestmark = pytest.mark.slow
SIZE, INTEGER_PICTURES, FLOAT_PICTURES, CALIBRATING = 224, 256, 16, 16


@pytest.fixture(scope="module")
def deployable() -> Deployable:
    arm_root.require_emulator()
    torch.manual_seed(0)
    network = make_lively(QualityNet("mobilenetv3_small_100", SIZE), SIZE).eval()
    return make_deployable(network, PreprocessSpec(size=SIZE))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures alone: nothing here asks how good they are."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, one in enumerate(pictures(INTEGER_PICTURES, SIZE)):
        Image.fromarray(one).save(folder / f"{number:03}.png")
    return folder


def write(path: Path, body: bytes, deployable: Deployable) -> Path:
    picture, score = tensors_of(body)
    manifest = Manifest(
        kind="tflite", model="lively", sha256="", preprocess=deployable.spec,
        inputs=(picture,), outputs=(score,),
    )  # fmt: skip
    write_artifact(path, body, manifest)
    return path


def on_all_cores(model: Path, data: Path, count: int) -> tuple[BenchResult, tuple[Canary, ...]]:
    """Scores on this machine against those on each core."""
    out = model.with_suffix(".json")
    command = f"--artifact {model} --data {data} --target emulated --limit {count} --runs 0"
    assert run.main([*command.split(), "--blocks", "0", "--quiet", "--out", str(out)]) in (0, 1)
    result = read_result(out)
    canaries = summarise_result(result).canaries
    assert [result.plan.setups[one.setup].cores for one in canaries] == list(CORES)
    assert [one.count for one in canaries] == [count] * len(CORES)
    return result, canaries


def test_integer_scores_are_equal_bit_for_bit(
    deployable: Deployable, data: Path, tmp_path: Path
) -> None:
    shown = torch.from_numpy(pictures(CALIBRATING, SIZE).astype("int16")) - BYTE_CENTRE
    quantised = quantise(deployable.module, deployable.example, shown, faithful())
    body = to_integer_tflite(deployable, quantised, shown, "uint8")
    model = write(tmp_path / "int8.tflite", body, deployable)
    result, canaries = on_all_cores(model, data, INTEGER_PICTURES)
    assert [one.differing for one in canaries] == [0] * len(CORES)
    assert len(set(result.passes[0].scores)) > 16  # of 256 steps: a dead network has one or two


def test_float_scores_agree_to_a_hundred_thousandth(
    deployable: Deployable, data: Path, tmp_path: Path
) -> None:
    model = write(tmp_path / "float.tflite", to_tflite(deployable), deployable)
    result, canaries = on_all_cores(model, data, FLOAT_PICTURES)
    assert max(one.largest for one in canaries) <= 1e-5
    assert len(set(result.passes[0].scores)) == FLOAT_PICTURES

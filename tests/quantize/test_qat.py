"""Learned integers as a run and on disk: what was learned is what is exported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from export.attempts import LEARNED, attempts  # noqa: E402
from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.engines import open_engine  # noqa: E402
from fiqa.errors import InputError, ManifestError  # noqa: E402
from fiqa.files import sha256_file  # noqa: E402
from fiqa.manifest import SIDECAR, read_manifest  # noqa: E402
from fiqa.metrics import srcc  # noqa: E402
from quantize import qat  # noqa: E402
from quantize.calibration import read_calibration  # noqa: E402
from quantize.deployable import Deployable, make_deployable  # noqa: E402
from quantize.learned_file import INTEGERS, NOTE, load_integers  # noqa: E402
from quantize.simulation import scores_of  # noqa: E402
from tests.doubles.checkpoints import save_network  # noqa: E402
from tests.doubles.lively_networks import make_lively  # noqa: E402
from tests.doubles.tiny_sets import make_set  # noqa: E402
from train.checkpoint import load_checkpoint  # noqa: E402
from train.loop import LoopResult  # noqa: E402
from train.network import QualityNet  # noqa: E402
from train.training_run import RUN  # noqa: E402

SIZE = 48
NAME = "mobilenetv3_small_050"  # gates, squeeze-excite


def noise(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, S, S) pictures whose quality is their contrast, and it."""
    rng = torch.Generator().manual_seed(seed)
    quality = torch.rand(count, generator=rng)
    pixels = torch.randn(count, 3, SIZE, SIZE, generator=rng) * quality[:, None, None, None]
    return torch.clip(pixels * 100 / 128, -1, 1), quality


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned something: random weights magnify single steps."""
    torch.manual_seed(0)
    network = make_lively(QualityNet(NAME, SIZE), SIZE, 0.05)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
    optimizer = torch.optim.Adam(network.train().parameters(), 3e-3)
    for step in range(60):
        pictures, quality = noise(16, step)
        loss = ((network(pictures).ravel() - quality) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("runs") / "student"
    return save_network(folder, network, PreprocessSpec(size=SIZE))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("data") / "faces", 18)


def run(checkpoint: Path, faces: Path, out: Path, *more: str) -> int:
    flags = ("--epochs", "1", "--quiet", "--json", "--recipe", "fastest", *more)
    return qat.main(
        ["--checkpoint", str(checkpoint), "--data", str(faces), "--out", str(out), *flags]
    )


@pytest.fixture(scope="module")
def learned(checkpoint: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "student"
    assert run(checkpoint, faces, out) == 0
    return out


def opened(folder: Path) -> tuple[Deployable, object]:
    network, manifest = load_checkpoint(folder)
    deployable = make_deployable(network, manifest.preprocess)
    return deployable, load_integers(folder, manifest, deployable)


def test_it_stays_a_checkpoint_whose_float_scores_are_untouched(
    checkpoint: Path, learned: Path
) -> None:
    before, after = load_checkpoint(checkpoint)[0], load_checkpoint(learned)[0]
    assert all(torch.equal(v, after.state_dict()[n]) for n, v in before.state_dict().items())
    assert read_manifest(learned).sha256 == read_manifest(checkpoint).sha256


def test_what_is_read_back_agrees_with_the_float_scores_as_the_run_said(
    learned: Path, faces: Path
) -> None:
    deployable, quantised = opened(learned)
    seen = read_calibration(faces, deployable.spec).pictures
    found = scores_of(quantised.module, seen, quantised.walk)  # type: ignore[attr-defined]
    moved = float((found - scores_of(deployable.module, seen)).abs().mean())
    told = read_manifest(learned).recipe["learned_integers"]["agreement"]["val_shift"]
    assert 0 < moved < 3 * told < 0.1


def test_the_file_scores_as_what_was_learned(learned: Path, faces: Path) -> None:
    pytest.importorskip("litert_torch", reason="needs the extra `export`")
    from quantize.tflite import tensors_of, to_integer_tflite

    deployable, quantised = opened(learned)
    seen = read_calibration(faces, deployable.spec).pictures
    body = to_integer_tflite(deployable, quantised, seen, "int8")  # type: ignore[arg-type]
    engine, score = open_engine(body, "tflite", "auto", 1, "test"), tensors_of(body)[1]
    shown = torch.round(noise(64, 999)[0].permute(0, 2, 3, 1) * 128).clip(-128, 127)
    raw = np.array([engine.run(one[None]).ravel()[0] for one in shown.numpy().astype("int8")])
    real = score.scale * (raw.astype(float) - score.zero_point)
    simulated = scores_of(quantised.module, shown, quantised.walk).numpy()  # type: ignore[attr-defined]
    assert real.std() > 0.1
    assert srcc(simulated.astype(float), real) >= 0.995


def test_a_checkpoint_without_integers_has_none(checkpoint: Path) -> None:
    assert opened(checkpoint)[1] is None


def test_a_finished_run_is_not_repeated_and_another_is_refused(
    checkpoint: Path, faces: Path, learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (learned / INTEGERS).stat().st_mtime_ns
    assert run(checkpoint, faces, learned) == 0
    assert (learned / INTEGERS).stat().st_mtime_ns == before
    assert run(checkpoint, faces, learned, "--seed", "1") == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.parametrize("part", [".", "net"])
def test_a_run_that_would_replace_its_own_checkpoint_is_refused(
    part: str, checkpoint: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(checkpoint, out / part)
    (out / RUN).write_text("{}")  # a folder that --overwrite may replace
    kept = sorted(out.rglob("*"))
    assert run(out / part, faces, out, "--overwrite") == 2
    assert f"{out / part}, which this run reads" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == kept


def test_only_the_first_of_several_processes_writes(
    checkpoint: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(learner: torch.nn.Module, *_: object) -> LoopResult:
        return LoopResult(learner.state_dict(), {}, is_first=False)

    monkeypatch.setattr(qat, "fit", fit)
    assert run(checkpoint, faces, tmp_path / "run") == 0
    assert [one.name for one in (tmp_path / "run").iterdir()] == [RUN]


def test_labels_are_not_read(checkpoint: Path, faces: Path, learned: Path, tmp_path: Path) -> None:
    """The same pictures with other scores teach the same integers."""
    other = tmp_path / "faces"
    other.mkdir()
    for picture in faces.glob("*.png"):
        (other / picture.name).write_bytes(picture.read_bytes())
    head, *rows = (faces / "labels.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    flipped = [",".join([c[0], str(1 - float(c[1])), *c[2:]]) for c in cells]
    (other / "labels.csv").write_text("\n".join([head, *flipped]) + "\n")
    assert run(checkpoint, other, tmp_path / "out") == 0
    assert (tmp_path / "out" / INTEGERS).read_bytes() == (learned / INTEGERS).read_bytes()


def change_record(folder: Path, harm: str) -> None:
    """What is said of the integers, under a hash that is right."""
    document = json.loads((folder / SIDECAR).read_text())
    note = document["recipe"][NOTE]
    if harm == "no size":
        del note["size"]
    else:
        with safe_open(folder / INTEGERS, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["quantised"]) | {"gates_at": [999]}
        save_file(tensors, folder / INTEGERS, {"quantised": json.dumps(facts)})
        note["sha256"] = sha256_file(folder / INTEGERS)
    (folder / SIDECAR).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("cut", "is damaged"),
        ("gone", "is missing"),
        ("other size", "learned at 48"),
        ("no size", "tells no size"),
        ("far gate", r"gates at \[999\]"),
    ],
)
def test_integers_that_do_not_fit_are_refused(
    learned: Path, tmp_path: Path, harm: str, says: str
) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    for part in learned.iterdir():
        if part.is_file():
            (folder / part.name).write_bytes(part.read_bytes())
    network, manifest = load_checkpoint(folder)
    spec = manifest.preprocess
    if harm == "cut":
        (folder / INTEGERS).write_bytes((learned / INTEGERS).read_bytes()[:-9])
    elif harm == "gone":
        (folder / INTEGERS).unlink()
    elif harm == "other size":
        spec = dataclasses.replace(spec, size=SIZE + 16)
    else:
        change_record(folder, harm)
    with pytest.raises((ManifestError, InputError), match=says):
        load_integers(folder, read_manifest(folder), make_deployable(network, spec))


def test_an_export_of_learned_integers_does_not_calibrate_anew(
    learned: Path, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployable, quantised = opened(learned)
    args = Namespace(checkpoint=learned, recipe=None, recover=True)
    seen = read_calibration(faces, deployable.spec)
    (only,) = attempts(args, read_manifest(learned), deployable, seen, None)
    assert only.name == LEARNED
    assert only.prepare().ranges == quantised.ranges  # type: ignore[attr-defined, union-attr]
    json.dumps(only.prepare().facts)  # type: ignore[union-attr]
    args.recipe = "fastest"
    with pytest.raises(InputError, match="--recipe fastest .* learned integers"):
        attempts(args, read_manifest(learned), deployable, seen, None)

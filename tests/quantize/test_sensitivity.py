"""Sensitivity: the costliest place is found, and every remedy gets its verdict."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from fiqa.contract import PreprocessSpec  # noqa: E402
from fiqa.records import from_plain  # noqa: E402
from quantize.integer_places import PICTURE, Range  # noqa: E402
from quantize.recipes import naive, quantise  # noqa: E402
from quantize.sensitivity import (  # noqa: E402
    Sensitivity,
    main,
    places_of,
    table_of,
    variants,
)
from tests.doubles.checkpoints import save_network  # noqa: E402
from tests.doubles.lively_networks import make_lively  # noqa: E402
from tests.doubles.planted import calm, pictures  # noqa: E402
from tests.doubles.tiny_sets import TINY, make_set  # noqa: E402
from train.network import QualityNet  # noqa: E402


def test_a_tensor_with_far_too_wide_a_range_comes_first() -> None:
    network = calm(TINY)
    found = quantise(network.module, network.example, pictures(), naive())
    ranges = copy.copy(found.ranges)
    wide = next(n for n, r in list(ranges.items())[3:] if (r.low, r.high) != PICTURE)
    ranges[wide] = Range(ranges[wide].low * 100, ranges[wide].high * 100)
    object.__setattr__(found, "ranges", ranges)
    first = places_of(found, pictures())[0]
    assert (first.name, first.kind) == (wide, "activation")


def test_the_command_writes_remedies_places_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = make_lively(QualityNet(TINY, 64), 64, 0.1)
    checkpoint = save_network(tmp_path / "run", network, PreprocessSpec(size=64))
    faces = make_set(tmp_path / "faces", 24)
    command = ["--checkpoint", str(checkpoint), "--calibration", str(faces), "--data", str(faces)]
    out = tmp_path / "out"
    assert main([*command, "--most", "0", "--out", str(out), "--quiet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["sensitivity"]
    assert [one["name"] for one in document["remedies"]] == list(variants())
    assert all(set(one["verdicts"]) == {"val"} for one in document["remedies"])
    assert document["remedies"][0]["verdicts"]["val"]["count"] == 32  # 0: all of them
    shifts = [one["shift"] for one in document["places"]]
    assert shifts == sorted(shifts, reverse=True)
    assert {one["kind"] for one in document["places"]} == {"activation", "weights"}
    assert json.loads((out / "sensitivity.json").read_text()) == document
    assert "without equalisation" in (out / "sensitivity.md").read_text()
    assert (out / "sensitivity.png").stat().st_size > 5000
    assert main([*command, "--out", str(out), "--quiet"]) == 2  # it exists


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("foreign folder", "holds no sensitivity.json"),
        ("below zero", "--most -1"),
        ("under a file", "lies under a file"),
        ("no plots", "fiqa-edge[train,export]"),
    ],
)
def test_what_cannot_end_well_is_told_before_the_work(
    harm: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "photos"
    out.mkdir()
    (out / "dear.jpg").write_text("x")
    if harm == "no plots":
        monkeypatch.delitem(sys.modules, "train.plots", raising=False)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    where = {"foreign folder": out, "under a file": out / "dear.jpg" / "new"}
    most = "-1" if harm == "below zero" else "0"
    command = ["--checkpoint", "none", "--calibration", "none", "--data", "none", "--most", most]
    command += ["--out", str(where.get(harm, tmp_path / "new")), "--overwrite"]
    assert main(command) == 2
    assert says in capsys.readouterr().err
    assert [one.name for one in tmp_path.rglob("*")] == ["photos", "dear.jpg"]


def test_the_table_of_the_docs_is_that_of_the_result_file() -> None:
    root = Path(__file__).parents[2]
    document = json.loads((root / "results" / "sensitivity.json").read_text())
    kept = from_plain(Sensitivity, document, "sensitivity.json")
    assert table_of(kept).strip() in (root / "docs" / "quantization.md").read_text()

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bench.charts import nice_ticks
from edge_bench.describe import lines
from edge_bench.plan import Setup
from edge_bench.report import main
from edge_bench.result import read_result, write_result
from edge_bench.tables import bench_of, overview
from fiqa.records import to_plain
from tests.doubles.bench_results import device, model, result

COUNTED = ((28_000_000,) * 5, (14_000_000,) * 5)
SHARED_CORE = (("cortex-a53", "xnnpack"), ("i8mm", "xnnpack"), ("i8mm", "none"))
VOID = {"meta"}


class Balanced(HTMLParser):
    """Every element that opens closes in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def write(folder: Path, ending: str = ".html", **changes: object) -> str:
    write_result(folder / "bench.json", result(**changes))  # type: ignore[arg-type]
    out = folder / f"report{ending}"
    assert main([str(folder / "bench.json"), "--out", str(out), "--overwrite"]) == 0
    return out.read_text()


def test_the_page_is_whole_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    page = write(tmp_path, instructions=COUNTED)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)\s*=|url\(|@import|<script|https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "default-src 'none'" in page


def test_the_verdict_comes_first(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert page.index("keeps its accuracy") < page.index("<h3>Accuracy")
    assert page.index("<h3>Accuracy") < page.index("<h3>Latency") < page.index("<h3>Provenance")


def test_one_model_alone_is_said_of_one_model_only(tmp_path: Path) -> None:
    assert "No verdict on accuracy" in write(tmp_path, ".md", passes=())
    alone = {"models": (model("float"),), "passes": (), "blocks": (), "host_scores": ()}
    assert "One model alone" in write(tmp_path, ".md", **alone)


def test_names_from_files_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = write(tmp_path, models=(model("float"), model(evil, integer=True)),
                 device=device(model=evil, system=evil))  # fmt: skip
    assert evil not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("ending", [".html", ".md", ".json"])
def test_emulated_time_is_not_shown_as_latency(tmp_path: Path, ending: str) -> None:
    text = write(tmp_path, ending, source="emulated", instructions=COUNTED)
    assert "Latency" not in text
    if ending != ".json":
        assert "p50" not in text
        assert "14.000" in text


def test_provenance_leads_from_labels_to_the_file_by_hash(tmp_path: Path) -> None:
    text = write(tmp_path, ".md")
    for digits in ("6" * 16, "3" * 16, "2" * 16, "4" * 16, "5" * 16):  # labels ... library
        assert digits in text


def test_doubts_and_warnings_stand_in_the_report(tmp_path: Path) -> None:
    noisy = ((4000.0, 5000, 6000, 7000, 8000, 9000), (2000.0,) * 6)
    text = write(tmp_path, ".md", medians_us=noisy, device=device(battery_saver=True))
    assert "unstable" in text
    assert "throttled" in text
    assert "battery saver is on" in text


def test_several_devices_share_a_table(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    write_result(paths[0], result())
    write_result(paths[1], result(device=device(model="Second Phone")))
    out = tmp_path / "both.html"
    assert main([*map(str, paths), "--out", str(out)]) == 0
    page = out.read_text()
    assert "All devices" in page
    assert page.count("<h2>") == 2
    assert "Second Phone" in page


def test_the_shared_table_tells_the_worst_verdict_of_the_first_setup(tmp_path: Path) -> None:
    made = result()
    pictures = dataclasses.replace(made.pictures, splits=("val",) * 600 + ("val_ood",) * 600)
    rng = np.random.default_rng(1)
    scores = np.array(made.passes[1].scores)
    scores[:600] += rng.normal(0, 0.5, 600)  # worse on val alone
    worse = dataclasses.replace(made.passes[1], scores=tuple(map(float, scores)))
    elsewhere = [dataclasses.replace(one, setup=1) for one in made.passes]
    plan = dataclasses.replace(made.plan, setups=(*made.plan.setups, Setup(cores="little")))
    passes = (made.passes[0], worse, *elsewhere)
    bench = bench_of(
        dataclasses.replace(made, pictures=pictures, plan=plan, passes=passes), "b.json", ""
    )
    assert [one.verdict.status for one in bench.summary.judged] == ["fail", "pass", "pass", "pass"]
    drop = bench.summary.judged[0].verdict.drop
    assert drop is not None
    for row in (row for row in overview([bench, bench]).rows if row[2] == "int8"):
        assert row[6:8] == (f"{drop.value:+.4f}", "fail")


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_emulated_benchmarks_have_no_shared_table(tmp_path: Path, ending: str) -> None:
    write_result(tmp_path / "a.json", result(source="emulated", instructions=COUNTED))
    paths = [str(tmp_path / "a.json")] * 2
    out = tmp_path / f"both{ending}"
    assert main([*paths, "--out", str(out)]) == 0
    assert "All devices" not in out.read_text()


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_setups_on_one_core_are_told_apart(tmp_path: Path, ending: str) -> None:
    setups = tuple(Setup(cores=core, delegate=delegate) for core, delegate in SHARED_CORE)
    made = result(source="emulated", instructions=COUNTED)
    counts = tuple(
        dataclasses.replace(one, setup=setup) for setup in range(3) for one in made.counts
    )
    plan = dataclasses.replace(made.plan, setups=setups)
    text = write(tmp_path, ending, source="emulated", plan=plan, counts=counts)
    for name in ("1 thread, i8mm cores, xnnpack", "1 thread, i8mm cores, none"):
        assert name in text
        assert sum(name in line for line in lines(read_result(tmp_path / "bench.json"))) >= 2
    assert "cortex-a53 cores" not in text.split("Instructions")[1].split("Canary")[0]


def test_json_holds_the_verdict_and_the_numbers(tmp_path: Path) -> None:
    document = json.loads(write(tmp_path, ".json"))
    assert document["verdict"] == "pass"
    timing = document["benchmarks"][0]["summary"]["timings"][1]
    assert timing["latency"]["p50_ms"] == 2.0


def test_other_endings_and_existing_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path / "bench.json", result())
    bench, out = str(tmp_path / "bench.json"), tmp_path / "report.pdf"
    assert main([bench, "--out", str(out)]) == 2
    assert ".html, .md, .json" in capsys.readouterr().err
    assert main([bench, "--out", bench]) == 2


@pytest.mark.parametrize("limits", [(0.0, 1.0), (0.003, 0.0041), (-2.0, 17.0), (5.0, 5.0)])
def test_ticks_reach_around_the_values(limits: tuple[float, float]) -> None:
    ticks = nice_ticks(*limits)
    assert ticks[0] <= limits[0]
    assert limits[1] <= ticks[-1]
    assert len(ticks) <= 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "no models"),
        ({"canary": [60]}, "a canary outside its 60 pictures"),
        ({"canary": [0]}, "not those of the canary"),
        ({"passes": [{"scores": [0.5]}]}, "1 scores of 60 pictures"),
        ({"passes": [{"scores": [1e300] * 60}]}, "a score that cannot be"),
        ({"passes": [{"model": 2}]}, "setup 0 or model 2 does not exist"),
        ({"blocks": [{"setup": -1}]}, "setup -1 or model 0 does not exist"),
        ({"blocks": [{"runs": 0}]}, "without runs"),
        ({"blocks": [{"samples_us": [0.0]}]}, "a time that cannot be"),
        ({"blocks": [{"mean_us": 1e308}]}, "a time that cannot be"),
        ({"counts": [{"instructions": []}]}, "instructions that cannot be"),
        ({"pictures": {"labels": [0.5]}}, "1 labels or people of 60 pictures"),
    ],
)
def test_a_benchmark_that_contradicts_itself_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = to_plain(result(pictures=60, instructions=((9, 9), (8, 8))))
    for name, changed in change.items():
        if isinstance(changed, dict):
            document[name] |= changed
        elif changed and isinstance(changed[0], dict):
            document[name][0] |= changed[0]
        else:
            document[name] = changed
    (tmp_path / "bench.json").write_text(json.dumps(document))
    assert main([str(tmp_path / "bench.json"), "--out", str(tmp_path / "report.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()

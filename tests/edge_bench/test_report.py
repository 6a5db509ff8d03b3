from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edge_bench.charts import nice_ticks
from edge_bench.report import main
from edge_bench.result import write_result
from fiqa.records import to_plain
from tests.doubles.bench_results import device, model, result

COUNTED = ((28_000_000,) * 5, (14_000_000,) * 5)
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

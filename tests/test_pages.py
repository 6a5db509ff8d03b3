"""What the pages say is so: commands exist and run, examples give what they show, links lead on."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import doctest
import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import fiqa
from fiqa import cli
from fiqa.label_files import ALIASES
from tests.doubles.page_commands import (
    PAGES,
    REPOSITORY,
    Command,
    all_commands,
    blocks,
    links_of,
    text_of,
)
from tests.doubles.page_world import make_world

COMMANDS = all_commands()
RUN_HERE = (
    "edge_bench.compare", "edge_bench.report", "fiqa.detect", "fiqa.score", "quantize.verify",
    "train.evaluate",
)  # fmt: skip
# Where the other commands of ours are run; each file has to name its command.
ELSEWHERE = {
    "android_demo.build": "tests/android_demo/test_app.py, where Java, Maven and aapt are",
    "edge_bench.devices": "tests/edge_bench/test_device_runs.py, with a pretended phone and board",
    "edge_bench.run": "tests/edge_bench/test_run.py, on this machine",
    "export.coreml": "tests/export/test_exporter.py",
    "export.detector": "tests/export/test_detector.py",
    "export.onnx": "tests/export/test_exporter.py",
    "export.tflite": "tests/export/test_exporter.py",
    "quantize.qat": "tests/quantize/test_qat.py",
    "quantize.sensitivity": "tests/quantize/test_sensitivity.py",
    "train.ablation": "tests/train/test_ablation.py",
    "train.fit_student": "tests/train/test_fit.py",
    "train.fit_teacher": "tests/train/test_fit.py",
    "train.import_weights": "tests/train/test_import_weights.py",
    "train.portrait_sets": "tests/train/test_portrait_sets.py",
    "train.pseudo_label": "tests/train/test_pseudo_label.py",
    "train.self_train": "tests/train/test_self_train.py",
    "train.severity_set": "tests/train/test_severity_set.py",
    "train.synth": "tests/train/test_synth.py",
}
UNCHECKED = {
    ".ci/run": "it runs these tests",
    "adb": "needs a phone",
    "apt": "changes the machine; .ci/run installs what tests need",
    "apt-get": "changes the machine; .ci/run installs what tests need",
    "make": "it sets up .venv anew; .ci/run calls check, test and test-slow",
    "mkdocs": "another test here builds the site",
    "pip": "needs the network; tests/test_install.py installs the extra litert",
    "pytest": "a test within a test",
    "ray": "needs a cluster",
    "torchrun": "needs several processes; tests/train/test_loop.py starts two",
}
RECORDED = "results/README.md"  # hours of training on pictures that are not in the repository
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


class Parsed(Exception):
    """The command line is a good one; nothing of the command has run."""


# ---------------------------------------------------------------- command lines


@pytest.fixture
def stop_after_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_args(self: cli.Parser, args: Any = None, namespace: Any = None) -> Any:
        argparse.ArgumentParser.parse_args(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(cli.Parser, "parse_args", parse_args)


@pytest.fixture
def nothing_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """For command lines that leave something out, or say N for a number."""
    add = cli.Parser._add_action

    def add_action(self: cli.Parser, action: argparse.Action) -> argparse.Action:
        action.required, action.type = False, None
        return add(self, action)

    monkeypatch.setattr(cli.Parser, "_add_action", add_action)


def is_ours(command: Command) -> bool:
    return bool(command.module) and (command.module in RUN_HERE or command.module in ELSEWHERE)


def test_the_pages_hold_commands_of_every_kind() -> None:
    """Were the pages read wrongly, the other tests here would have nothing to say."""
    assert len(COMMANDS) > 80
    assert {command.module for command in COMMANDS} >= {*RUN_HERE, *ELSEWHERE}


@pytest.mark.parametrize("command", [one for one in COMMANDS if is_ours(one)], ids=str)
def test_a_command_line_is_one_that_its_command_takes(
    command: Command, stop_after_parsing: None, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if not command.whole or "..." in command.words:
        request.getfixturevalue("nothing_required")
    main = importlib.import_module(command.module).main
    try:
        code = main([word for word in command.arguments if word != "..."])
    except Parsed:
        return
    except SystemExit as stopped:  # --help
        code = stopped.code
    assert code == 0, f"{command.page}: {command}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("command", [one for one in COMMANDS if not is_ours(one)], ids=str)
def test_what_other_programs_are_told_is_here(command: Command) -> None:
    """Make's targets, the extras, files and folders that are named."""
    program, *words = command.words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), re.MULTILINE)
        assert words[0] in targets
    elif program == "pip":
        assert set(_extras(words)) <= set(PROJECT["project"]["optional-dependencies"])
    elif program == "pytest" or command.module == "pytest":
        assert [word for word in words if word.startswith("tests/")]
    else:
        assert program in UNCHECKED or command.module == "zipfile"
    for word in words:
        if word.startswith("tests/") or word.endswith(".txt"):
            assert (REPOSITORY / word).exists(), word


def _extras(words: list[str]) -> Iterator[str]:
    for word in words:
        if found := re.fullmatch(r"(?:\.|fiqa-edge)\[([\w,]+)\]", word):
            yield from found[1].split(",")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "world"
    make_world(folder)
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world to work in."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    return folder


def why_not_run(command: Command) -> str:
    """Empty for what runs here."""
    if command.page == RECORDED:
        return f"hours of training; what it gave lies beside {RECORDED}"
    if "--help" in command.words or "..." in command.words or "N" in command.words:
        return "not a whole command line; its flags are held against the parser"
    if command.module in RUN_HERE:
        return ""
    if command.module in ELSEWHERE:
        return f"run by {ELSEWHERE[command.module]}"
    if command.module in ("pytest", "zipfile"):
        return "a program that is not ours"
    return UNCHECKED[command.words[0]]


def with_reasons() -> Iterator[Any]:
    for command in COMMANDS:
        reason = why_not_run(command)
        marks = [pytest.mark.skip(f"unchecked: {reason}")] if reason else []
        yield pytest.param(command, id=str(command), marks=marks)


@pytest.mark.parametrize("command", list(with_reasons()))
def test_a_command_line_runs_as_it_stands(
    command: Command, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = [here / command.words[at + 1] for at in _places(command, "--out", "--draw")]
    code = importlib.import_module(command.module).main(command.arguments)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out
    assert [path for path in written if not path.exists()] == []


def _places(command: Command, *flags: str) -> list[int]:
    return [place for place, word in enumerate(command.words) if word in flags]


@pytest.mark.parametrize(("module", "reason"), ELSEWHERE.items())
def test_the_test_that_is_said_to_run_a_command_does(module: str, reason: str) -> None:
    test = text_of(reason.split(",")[0].strip())
    package, name = module.split(".")
    assert re.search(rf"\b{package}\b", test)
    assert re.search(rf"\b{name}\b", test)
    assert "main(" in test or "main," in test


# ---------------------------------------------------------------- examples, messages, links


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_examples_give_what_they_show(page: str, here: Path) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    for number, example in enumerate(blocks(page, "python")):
        if ">>>" not in example:
            exec(compile(example, f"{page}, example {number}", "exec"), names)
            continue
        parsed = doctest.DocTestParser().get_doctest(example, names, page, page, number)
        told: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(parsed, out=told.append, clear_globs=False)
        assert not runner.failures, "".join(told)
        names |= parsed.globs


def test_every_public_name_stands_in_the_page_about_python() -> None:
    told = set(re.findall(r"`fiqa\.(\w+)`", text_of("docs/python.md")))
    assert told == {*fiqa.__all__, "bootstrap"}
    assert all(hasattr(fiqa, name) for name in told)
    assert set(fiqa.__all__) <= set(dir(fiqa))


def messages() -> list[tuple[str, str]]:
    """The first cells of tables whose head begins with "message"."""
    found = []
    for page in PAGES:
        for table in re.findall(r"^\| message \|.*\n\|.*\n((?:\|.*\n)+)", text_of(page), re.M):
            found += [(page, re.match(r"\| (.*?) \|", row)[1]) for row in table.splitlines()]  # type: ignore[index]
    return found


@cache
def first_lines_in_code() -> set[tuple[str, ...]]:
    """The first line of every text that the code can give: what stands between its values."""
    lines = set()
    for package in ("fiqa", "train", "quantize", "export", "edge_bench"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                whole = "".join("\0" if part is None else part for part in _parts(node))
                line = whole.split("\n")[0]
                if sum(map(str.isalpha, line)) >= 5:
                    lines.add(tuple(line.split("\0")))
    return lines


def _parts(node: ast.AST) -> Iterator[str | None]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from (part for value in node.values for part in _parts(value))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (*_parts(node.left), *_parts(node.right))
    else:
        yield None


def can_give(text: str) -> bool:
    return any(
        re.fullmatch(".+".join(map(re.escape, line)), text)
        for line in first_lines_in_code()
        if all(part in text for part in line)
    )


@pytest.mark.parametrize(("page", "cell"), messages())
def test_a_message_is_one_that_the_code_can_give(page: str, cell: str) -> None:
    texts = re.findall(r"`(.+?)`", cell)
    assert [text for text in texts if not can_give(text)] == [], page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_here(page: str) -> None:
    folder = (REPOSITORY / page).parent
    assert [link for link in links_of(page) if not (folder / link).exists()] == []


def figures() -> list[tuple[str, str, str]]:
    """(page, figure, result file) of links such as [0.957 [0.949, 0.964]](results/x.json)."""
    link = r"\[([+-]?\d[^]]*(?:\\\][^]]*)?)\]\(((?:\.\./)?results/\w+\.json)\)"
    return [(page, *found) for page in PAGES for found in re.findall(link, text_of(page))]


def test_figures_are_found() -> None:
    assert len(figures()) >= 10


@pytest.mark.parametrize(("page", "figure", "file"), figures())
def test_a_figure_is_that_of_the_file_it_links_to(page: str, figure: str, file: str) -> None:
    """Value and interval stand in one place of the file; M and MB are millions."""
    shown = re.findall(r"[+-]?\d+(?:\.\d+)?", figure)
    held = json.loads(((REPOSITORY / page).parent / file).read_text())
    scale = 1e6 if figure.endswith(("M", "MB")) else 1.0
    wanted = tuple(map(float, shown))
    places = [len(text.partition(".")[2]) for text in shown]
    for values in _estimates(held) if len(shown) == 3 else _numbers(held):
        rounded = (round(v / scale, n) for v, n in zip(values, places, strict=True))
        if tuple(rounded) == wanted:
            return
    pytest.fail(f"{page}: {figure} does not stand in {file}")


def _dicts(document: Any) -> Iterator[dict[str, Any]]:
    inner = document.values() if isinstance(document, dict) else document
    if isinstance(document, dict):
        yield document
    if isinstance(document, dict | list):
        yield from (found for part in inner for found in _dicts(part))


def _estimates(document: Any) -> Iterator[tuple[float, ...]]:
    for one in _dicts(document):
        values = tuple(one.get(name) for name in ("value", "low", "high"))
        if None not in values:
            yield values


def _numbers(document: Any) -> Iterator[tuple[float]]:
    for one in _dicts(document):
        for value in one.values():
            many = value if isinstance(value, list) else [value]
            yield from ((float(v),) for v in many if isinstance(v, int | float))


def test_the_picture_of_the_pipeline_is_what_its_script_draws() -> None:
    from docs.pipeline import draw

    assert (REPOSITORY / "docs" / "pipeline.svg").read_text() == draw()


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs mkdocs: pip install '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(REPOSITORY / "mkdocs.yml"), strict=True, site_dir=str(tmp_path))
    build(config)
    assert (tmp_path / "index.html").is_file()
    listed = str(config.nav)
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert repr(page.name) in listed, f"{page.name} stands in no menu of mkdocs.yml"


def tables_of_fields() -> list[tuple[str, str, set[str]]]:
    """(page, class, the fields in the first column) where a table's head names a class."""
    found = []
    for page in PAGES:
        table = r"^\| `((?:fiqa|train|quantize|edge_bench)\.[\w.]+)` \|.*\n\|-.*\n((?:\|.*\n)+)"
        for name, rows in re.findall(table, text_of(page), re.MULTILINE):
            cells = [row.split("|")[1] for row in rows.splitlines()]
            found.append((page, name, set(re.findall(r"`(\w+)`", " ".join(cells)))))
    return found


def test_tables_of_fields_are_found() -> None:
    assert len(tables_of_fields()) >= 5


@pytest.mark.parametrize(("page", "name", "fields"), tables_of_fields())
def test_a_table_of_fields_has_those_of_its_class(page: str, name: str, fields: set[str]) -> None:
    module, _, kind = name.rpartition(".")
    known = {one.name for one in dataclasses.fields(getattr(importlib.import_module(module), kind))}
    assert fields == known, page


def test_the_columns_of_label_sets_are_those_that_are_read() -> None:
    (table,) = re.findall(r"^\| column \|.*\n(?:\|.*\n)+", text_of("docs/formats.md"), re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    told = {name: {name, *re.findall(r"`(\w+)`", others)} for name, others in rows}
    for name, aliases in ALIASES.items():
        assert told[name] == set(aliases)

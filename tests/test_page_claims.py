"""What the pages claim is so: examples, messages, figures, fields, links, and the site."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import fiqa
from fiqa.label_files import ALIASES
from tests.doubles.page_commands import PAGES, REPOSITORY, blocks, links_of, text_of
from tests.doubles.page_world import here, world

__all__ = ["here", "world"]  # fixtures


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
    """Value and interval stand in one place of the file; M and MB are millions, % hundredths."""
    shown = re.findall(r"[+-]?\d+(?:\.\d+)?", figure)
    held = json.loads(((REPOSITORY / page).parent / file).read_text())
    scale = 1e6 if figure.endswith(("M", "MB")) else 0.01 if figure.endswith("%") else 1.0
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

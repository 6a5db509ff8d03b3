"""Command lines of the pages: each is one that its program takes, and the cheap ones run."""

from __future__ import annotations

import argparse
import importlib
import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fiqa import cli
from tests.doubles.page_commands import REPOSITORY, Command, all_commands, text_of
from tests.doubles.page_world import here, world

__all__ = ["here", "world"]  # fixtures

COMMANDS = all_commands()
RUN_HERE = (
    "edge_bench.compare", "edge_bench.report", "fiqa.detect", "fiqa.score", "quantize.verify",
    "train.evaluate",
)  # fmt: skip
# Where the other commands of ours are run; each file has to name its command.
ELSEWHERE = {
    "android_demo.build": "tests/android_demo/test_app.py, where Java, Maven and aapt are",
    "edge_bench.devices": "tests/edge_bench/test_device_runs.py, with a pretended phone and board",
    "edge_bench.pareto": "tests/edge_bench/test_pareto.py, with commands that only write",
    "edge_bench.run": "tests/edge_bench/test_run.py, on this machine",
    "export.coreml": "tests/export/test_exporter.py",
    "export.detector": "tests/export/test_detector.py",
    "export.detector_int8": "tests/export/test_detector_int8.py",
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
        assert find_spec(command.module) if command.module else program in UNCHECKED
    for word in words:
        if word.startswith("tests/") or word.endswith(".txt"):
            assert (REPOSITORY / word).exists(), word


def _extras(words: list[str]) -> Iterator[str]:
    for word in words:
        if found := re.fullmatch(r"(?:\.|fiqa-edge)\[([\w,]+)\]", word):
            yield from found[1].split(",")


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

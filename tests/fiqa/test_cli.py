"""Shared command behaviour, atomic files and import weight."""

from __future__ import annotations

import errno
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fiqa import cli, files
from fiqa.errors import InputError, OutputError, ToolkitError
from fiqa.progress import track


def command(work: Any, *arguments: str) -> int:
    return cli.run(cli.Parser("does a thing"), work, list(arguments))


def test_exit_codes_are_0_1_2() -> None:
    assert command(lambda args: cli.Outcome("yes", {})) == 0
    assert command(lambda args: cli.Outcome("no", {}, ok=False)) == 1

    def fails(args: Any) -> cli.Outcome:
        raise InputError("found", expected="wanted", fix="type this")

    assert command(fails) == 2


def test_json_is_one_document_in_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(args: Any) -> cli.Outcome:
        raise InputError("found this", expected="wanted", fix="type this")

    for work, status in (
        (lambda args: cli.Outcome("t", {"a": 1}), "done"),
        (lambda args: cli.Outcome("t", {"a": 1}, ok=False), "no"),
        (fails, "error"),
    ):
        command(work, "--json")
        assert json.loads(capsys.readouterr().out)["status"] == status
    command(lambda args: cli.Outcome("t", {}), "--json", "--nonsense")
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "InputError"


@pytest.mark.parametrize("command", ["fiqa.score {0} a.png", "edge_bench.report {0} --out r.html"])
def test_a_name_that_no_file_can_have_is_an_error_and_no_traceback(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *arguments = command.format("x" * 300).split()
    assert importlib.import_module(module).main([*arguments, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["error"]
    assert found["type"] == "InputError"
    assert "File name too long" in found["found"]


def test_an_error_of_the_system_that_is_our_own_mistake_stays_loud() -> None:
    def fails(args: Any) -> cli.Outcome:
        raise FileNotFoundError(errno.ENOENT, "No such file", "forgotten")

    with pytest.raises(FileNotFoundError):
        command(fails)


def test_a_package_that_is_missing_is_named_with_its_extra_and_our_own_stays_loud(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(lambda args: importlib.import_module("no_such_package.inside")) == 2
    said = capsys.readouterr().err
    assert "no_such_package cannot be imported" in said
    assert "pip install 'fiqa-edge[train,export]'" in said
    with pytest.raises(ModuleNotFoundError):
        command(lambda args: importlib.import_module("fiqa.no_such_module"))


def test_error_says_found_expected_and_what_to_type() -> None:
    text = str(ToolkitError("found", expected="wanted", fix="type this"))
    assert text == "found\n  expected: wanted\n  try: type this"


def test_error_of_a_worker_process_arrives_whole() -> None:
    error = pickle.loads(pickle.dumps(InputError("found", expected="wanted", fix="type this")))
    assert isinstance(error, InputError)
    assert str(error) == "found\n  expected: wanted\n  try: type this"


def test_closed_pipe_is_no_error() -> None:
    code = "from fiqa import cli; raise SystemExit(cli.run(cli.Parser(''), " \
        "lambda a: cli.Outcome('x' * 10**6, {}), []))"  # fmt: skip
    result = subprocess.run(
        f'{sys.executable} -c "{code}" | head -c 1', shell=True, capture_output=True, check=False
    )
    assert result.stdout == b"x"
    assert result.stderr == b""


def test_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "out.json"

    def stop_half_way() -> None:
        with files.writing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_half_way()
    assert list(tmp_path.iterdir()) == []
    files.write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_folder_is_replaced_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for content in ("old", "new"):
        with files.writing_folder(path) as temporary:
            (temporary / "a").write_text(content)
    with pytest.raises(RuntimeError), files.writing_folder(path) as temporary:
        raise RuntimeError
    assert (path / "a").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), files.writing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_output_under_a_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="lies under a file"):
        files.write_bytes(tmp_path / "file" / "out", b"")


def test_progress_ends_with_a_line_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda args: cli.Outcome("", {"n": sum(track(range(5), "counting", 5))}))
    assert "counting: 5 pictures in" in capsys.readouterr().err
    command(lambda args: cli.Outcome("", {"n": sum(track(range(5), "counting", 5))}), "--quiet")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("module", ["fiqa", "fiqa.score", "fiqa.labels", "edge_bench"])
def test_import_leaves_heavy_packages_unloaded(module: str) -> None:
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {{'torch', 'tensorflow', " \
        "'ai_edge_litert', 'onnxruntime', 'coremltools', 'pyarrow', 'scipy', 'cv2'}))"  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_folder_takes_the_place_of_a_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("a file")
    with files.writing_folder(path) as temporary:
        (temporary / "x").write_text("1")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    assert (path / "x").read_text() == "1"


def test_only_a_folder_that_holds_the_mark_is_given_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files.refuse_foreign(out, False, "mark.json")
    out.mkdir()
    files.refuse_foreign(out, True, "mark.json")
    (out / "holiday.png").write_text("mine")
    with pytest.raises(OutputError, match="holds no mark"):
        files.refuse_foreign(out, True, "mark.json")
    (out / "mark.json").write_text("{}")
    files.refuse_foreign(out, True, "mark.json")
    with pytest.raises(OutputError, match="exists already"):
        files.refuse_foreign(out, False, "mark.json")


@pytest.mark.parametrize(("value", "limits"), [(-1, (0,)), (7, (0, 6)), (float("nan"), (0,))])
def test_numbers_out_of_range_are_refused(value: float, limits: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=f"--n is {value}"):
        cli.within("--n", value, *limits)
    cli.within("--n", None, *limits)
    cli.within("--n", 3, *limits)

"""The chain: every step with the arguments it needs, finished steps kept, errors told."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from fiqa import cli
from train import self_train
from train.self_train import Step, StepError, chain, run_step


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return chain(
        Namespace(
            data=tmp_path / "data", unlabelled=[tmp_path / "a", tmp_path / "b"],
            out=tmp_path / "chain", teacher_recipe="small", teacher_init="pypi",
            student="lcnet_050", student_init="random", recipe="mspt_fast", size=160, seed=3,
            device="cpu", root=tmp_path / "pictures", scale=(0.0, 10.0), skip_bad=True,
        )
    )  # fmt: skip


def value(step: Step, flag: str, count: int = 1) -> list[str]:
    at = step.arguments.index(flag) + 1
    return [Path(word).name for word in step.arguments[at : at + count]]


def test_chain_is_the_papers_loop(steps: list[Step]) -> None:
    teacher, u1, plus, u2, student = steps
    assert "--pseudo" not in teacher.arguments
    assert (value(u1, "--teacher"), value(u1, "--data")) == (["teacher"], ["a"])
    assert value(plus, "--pseudo") == ["u1"]
    assert (value(u2, "--teacher"), value(u2, "--data")) == (["teacher_plus"], ["b"])
    assert value(student, "--pseudo", 2) == ["u1", "u2"]
    assert value(student, "--teacher") == ["teacher_plus"]
    assert value(student, "--size") == ["160"]
    for step in steps:
        assert value(step, "--scale", 2) == ["0.0", "10.0"]
        assert "--skip-bad" in step.arguments
        named = {"--root", "--fit-root"} & set(step.arguments)
        assert named == {"--fit-root" if "--fit" in step.arguments else "--root"}
    assert student.command.startswith("python -m train.fit_student --data ")


def test_every_command_of_the_chain_takes_its_arguments(steps: list[Step]) -> None:
    """Each parser is reached; what is missing then is the data, not a flag."""
    for step in steps:
        with pytest.raises(StepError):
            run_step(step, quiet=True)


def test_failing_step_stops_the_chain_and_says_how_to_go_on(tmp_path: Path) -> None:
    ran = []

    def main(argv: Any) -> int:
        ran.append(argv)
        return cli.COULD_NOT_RUN

    with pytest.raises(StepError, match="finished steps are kept"):
        run_step(Step("teacher", main, ("--x",), tmp_path))
    assert ran == [["--x", "--json"]]


def test_a_step_that_was_interrupted_interrupts_the_chain(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_step(Step("teacher", lambda argv: 130, (), tmp_path))


def test_numbers_of_the_last_step_are_checked_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", "d", "--unlabelled", "a", "b", "--out", str(tmp_path),
                 "--teacher-init", "random", "--student-init", "random"]  # fmt: skip
    for flag, wrong in (("--size", "4"), ("--seed", "-1")):
        assert self_train.main([*arguments, flag, wrong]) == 2
        assert f"{flag} is {wrong}" in capsys.readouterr().err


def test_chain_gives_one_document_with_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: Any) -> int:
        print(json.dumps({"status": "done", "n": len(argv)}))
        return 0

    two = [Step("one", main, (), tmp_path), Step("two", main, ("--a",), tmp_path)]
    monkeypatch.setattr(self_train, "chain", lambda args: two)
    arguments = ["--data", "d", "--unlabelled", "a", "b", "--out", str(tmp_path),
                 "--teacher-init", "random", "--student-init", "random", "--json"]  # fmt: skip
    assert self_train.main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"]["two"] == {"status": "done", "n": 2}

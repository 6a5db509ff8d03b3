"""Every command as users start it: --help helps, and what cannot run says so in one document."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("fiqa", "train", "quantize", "export", "edge_bench")
    for path in (ROOT / package).rglob("*.py")
    if "raise SystemExit(main())" in path.read_text()
)
# Complete command lines about files that are not there.
MISSING = {
    "edge_bench.compare": ["none.json", "none.json"],
    "edge_bench.devices": ["--target", "nowhere"],
    "edge_bench.pareto": [
        "--data", "none", "--pseudo", "none", "--teacher", "none", "--init", "random", "--out", "p",
    ],
    "edge_bench.report": ["none.json", "--out", "report.html"],
    "edge_bench.run": [
        "--artifact", "none.tflite", "--data", "none.csv", "--target", "local", "--out", "b.json",
    ],
    "export.coreml": ["--checkpoint", "none", "--out", "student.mlpackage"],
    "export.onnx": ["--checkpoint", "none", "--out", "student.onnx"],
    "export.tflite": ["--checkpoint", "none", "--out", "student.tflite"],
    "export.detector": ["none.onnx", "--out", "detector.tflite"],
    "export.detector_int8": ["--pictures", "none", "--out", "found.json"],
    "fiqa.detect": ["none.jpg", "--out", "boxes.csv"],
    "fiqa.score": ["none.tflite", "none.jpg"],
    "quantize.qat": ["--checkpoint", "none", "--data", "none", "--out", "run"],
    "quantize.sensitivity": [
        "--checkpoint", "none", "--calibration", "none", "--data", "none", "--out", "s",
    ],
    "quantize.verify": ["none.tflite", "none.tflite", "--data", "none.csv"],
    "train.ablation": [
        "--data", "none", "--pseudo", "none", "--teacher", "none", "--init", "random", "--out", "a",
    ],
    "train.demo": ["--out", "none/file/under/file.txt", "--nonsense"],
    "train.evaluate": ["none.tflite", "--data", "none.csv"],
    "train.fit_student": ["--data", "none.csv", "--out", "run", "--init", "random"],
    "train.fit_teacher": ["--data", "none.csv", "--out", "run", "--init", "random"],
    "train.import_weights": ["none.pth", "--out", "run"],
    "train.portrait_sets": ["--faces", "none", "--boxes", "none.csv", "--out", "sets"],
    "train.pseudo_label": [
        "--teacher", "none", "--data", "none", "--fit", "none.csv", "--out", "u1",
    ],
    "train.self_train": [
        "--data", "none", "--unlabelled", "none", "none", "--out", "chain",
        "--teacher-init", "random", "--student-init", "random",
    ],
    "train.severity_set": ["--faces", "none", "--boxes", "none.csv", "--out", "data"],
    "train.synth": ["--out", "data", "--faces", "none"],
}  # fmt: skip


def test_every_command_is_listed_here() -> None:
    assert sorted(MISSING) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_how_to_call_the_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(command).main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m {command}" in text
    assert "--json" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_run_exits_2_with_one_document_and_writes_nothing(
    command: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", command, *MISSING[command], "--json"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "error"
    assert document["error"]["found"]
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []

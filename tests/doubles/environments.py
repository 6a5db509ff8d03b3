"""Python environments of their own, for packages that do not go together with ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(*command: object, cwd: Path = REPOSITORY, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def uv(*arguments: object, **environment: str) -> str:
    return run(sys.executable, "-m", "uv", "--quiet", *arguments, **environment)


def make_environment(python: str, folder: Path) -> Path:
    """The interpreter of a new environment; skips where this Python is not installed."""
    if sys.version_info[:2] == tuple(int(part) for part in python.split(".")):
        found = Path(sys.executable)
    else:
        found = find_python(python) or pytest.skip(f"found no Python {python} on this machine")
    uv("venv", "--no-python-downloads", "--python", found, folder)
    return folder / "bin" / "python"


def find_python(python: str) -> Path | None:
    """On the PATH, or among those pyenv keeps: its stand-ins on the PATH may lead nowhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{python}"), *pyenv.glob(f"versions/{python}.*/bin/python")]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return Path(candidate)
    return None


def install(interpreter: Path, requirement: str, constraints: Path, *others: str) -> None:
    uv("pip", "install", "--python", interpreter, "-c", constraints, requirement, *others)

"""The programs that the build calls, and what to install where one is missing."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from fiqa.errors import MissingDependencyError, ToolkitError
from fiqa.files import sha256_file

PACKAGES = {
    "java": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
}
STEP_S = 600.0


class BuildError(ToolkitError):
    """A step of the Android build that failed."""


def require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = sorted({PACKAGES.get(program, program) for program in missing})
        raise MissingDependencyError(
            f"{', '.join(missing)} cannot be found",
            expected="a JDK of version 17 or later, Maven and Android's packing tools",
            fix=f"apt-get install {' '.join(packages)}",
        )


def sdk_tool(name: str) -> str:
    """A packing tool: of the Android SDK that ANDROID_HOME names, its newest, or that of PATH."""
    if not (home := os.environ.get("ANDROID_HOME")):
        require(name)
        return name
    found = Path(home, "build-tools").glob(f"*/{name}")
    newest = max(found, key=lambda path: _version(path.parent.name), default=None)
    if newest is None:
        raise _incomplete(home, f"{name} in build-tools")
    return str(newest)


def sdk_platform(api: str) -> Path | None:
    """android.jar of the SDK that ANDROID_HOME names; None where nothing is named."""
    if not (home := os.environ.get("ANDROID_HOME")):
        return None
    path = Path(home, "platforms", f"android-{api}", "android.jar")
    if not path.is_file():
        raise _incomplete(home, f"platforms/android-{api}")
    return path


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", name))


def _incomplete(home: str, what: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"ANDROID_HOME is {home}, which holds no {what}",
        expected="an Android SDK with build-tools and the platform of targetSdk",
        fix="sdkmanager 'build-tools;34.0.0' 'platforms;android-34'; or unset ANDROID_HOME",
    )


def call(
    command: Sequence[object], what: str, *, cwd: Path | None = None, timeout_s: float = STEP_S
) -> str:
    """The program's output; BuildError with its last lines where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False,
            errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{what}: {error}", expected=f"{words[0]} to run") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-30:]
        raise BuildError(f"{what} failed:\n" + "\n".join(lines), expected="a step that ends well")
    return done.stdout


def stamp_of(files: Iterable[Path], *words: object) -> str:
    """Changes when a file's content or a word does."""
    digest = hashlib.sha256("\n".join(map(str, words)).encode())
    for path in sorted(files):
        digest.update(f"{path} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def is_current(out: Path, stamp: str) -> bool:
    """Whether `out` was made from what the stamp stands for."""
    record = out.with_name(out.name + ".stamp")
    return out.exists() and record.is_file() and record.read_text() == stamp


def keep_stamp(out: Path, stamp: str) -> None:
    out.with_name(out.name + ".stamp").write_text(stamp)

"""The Android app as a file of this machine: where it is, and what a phone gets out of it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edge_bench.errors import RunnerError, WrongAbi
from fiqa.errors import MissingDependencyError
from fiqa.files import require_file, write_bytes

HERE = Path(__file__).parent
PACKAGED = HERE / "fiqa.apk"  # in a built wheel
BUILT = HERE.parents[1] / "build" / "fiqa.apk"  # in a checkout, by `make apk`
MAX_ENTRY_BYTES = 1 << 30
LIBRARY = "libtensorflowlite_jni.so"


def app_at_hand() -> Path | None:
    """The one just built; else the one that came with the wheel."""
    return next((path for path in (BUILT, PACKAGED) if path.is_file()), None)


def find_apk(asked: Path | None) -> Path:
    """The one asked for, or the one at hand; an error that helps where it is none."""
    path = require_file(asked, "an APK that `make apk` built") if asked else app_at_hand()
    if path is None:
        raise MissingDependencyError(
            "this installation carries no Android app",
            expected="the APK that is also the runner on phones",
            fix="make apk; or name one: --apk FILE; or install a wheel made by make dist",
        )
    _check(path)
    return path


def library_in(apk: Path, abi: str, folder: Path) -> Path:
    """The inference library for phones of this ABI, such as arm64-v8a, as a file in `folder`."""
    with zipfile.ZipFile(apk) as content:
        offered = sorted(_abis(content))
        if abi not in offered:
            raise WrongAbi(
                f"{apk.name} carries no {LIBRARY} for {abi}",
                expected=f"a phone of {', '.join(offered) or 'no kind at all'}",
                fix="build one for it, or name a library: --lib PATH",
            )
        path = folder / LIBRARY
        write_bytes(path, content.read(f"lib/{abi}/{LIBRARY}"))
    return path


def _abis(content: zipfile.ZipFile) -> list[str]:
    return [name.split("/")[1] for name in content.namelist() if name.endswith(f"/{LIBRARY}")]


def _check(path: Path) -> None:
    """A file that is cut short, or another app's, is told before it travels."""
    try:
        with zipfile.ZipFile(path) as content:
            if any(one.file_size > MAX_ENTRY_BYTES for one in content.infolist()):
                raise zipfile.BadZipFile("a file of more than 1 GB is in it")
            damaged = content.testzip()
            is_ours = b"Lfiqa/bench/Main;" in content.read("classes.dex")
    except Exception as error:  # zipfile and zlib raise many kinds on damaged files
        raise RunnerError(
            f"{path} is no APK: {error}", expected="a whole APK", fix="build it: make apk"
        ) from error
    if damaged or not is_ours:
        raise RunnerError(
            f"{path}: {damaged} is damaged" if damaged else f"{path} has no runner inside",
            expected="an APK of fiqa-edge",
            fix="build it: make apk",
        )

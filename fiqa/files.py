"""Files that are either whole or absent: hashing, temporary names, existing outputs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiqa.errors import InputError, OutputError

BYTES_OF_NAMES = "surrogateescape"  # how Python holds what in a file's name is no text


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require_file(path: Path, what: str, fix: str = "") -> Path:
    """The path itself, or an InputError that says which kind of file was expected."""
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {state}", expected=what, fix=fix)
    return path


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}",
            expected="a readable file",
            fix="check the path and its rights",
        ) from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Outputs are replaced only when the user says so, and before any work starts."""
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already",
            expected="a path that is free",
            fix="add --overwrite, or choose another --out",
        )


def refuse_foreign(folder: Path, overwrite: bool, mark: str) -> None:
    """The same for a folder that is replaced whole: only one that holds `mark` is our result."""
    refuse_existing(folder, overwrite)
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not (folder / mark).is_file():
        raise OutputError(
            f"{folder} holds no {mark}",
            expected="an earlier result of this command to replace, or a free path",
            fix="choose another --out",
        )


def require_writable(path: Path) -> None:
    """Fail before the work, not after it, where `path` could not be written."""
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name only when the block ends well."""
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder. An old folder goes only after the new one is complete."""
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            old = temporary.with_name(temporary.name + ".old")
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, document: Any) -> None:
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            found, fix = f"no space left while writing {path}", "free some space and run it again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            found, fix = f"{path} may not be written", "choose another --out, or mend the rights"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            found, fix = f"{path} lies under a file, or is a folder", "choose another --out"
        else:
            raise
        raise OutputError(found, expected="a writable place with room", fix=fix) from error

"""Decode every picture of a label set once, and hash it, before any work starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from fiqa.contract import Box, Square, check_box, check_picture, read_picture_file
from fiqa.errors import PictureError
from fiqa.files import sha256_bytes
from fiqa.progress import track


class _Row(Protocol):
    @property
    def line(self) -> int: ...
    @property
    def image(self) -> str: ...
    @property
    def box(self) -> Box | None: ...
    @property
    def crop(self) -> Square | None: ...


def check_pictures(root: Path, rows: Sequence[_Row], bad: dict[int, str]) -> dict[int, str]:
    """sha256 of each row's picture by line; what is wrong with the others goes into `bad`."""
    waiting = [row for row in rows if row.line not in bad]
    digests: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda row: _check(root, row), waiting)
        for row, (digest, problem) in track(
            zip(waiting, results, strict=True), "checking pictures", len(waiting)
        ):
            if problem:
                bad[row.line] = problem
            else:
                digests[row.line] = digest
    return digests


def _check(root: Path, row: _Row) -> tuple[str, str]:
    """(digest, "") or ("", problem)."""
    try:
        width, height, digest = _facts(root / row.image, row.image)
        if row.crop is not None:
            check_box(Box(*row.crop, row.crop.side), width, height)
        if row.box is not None:
            check_box(row.box, width, height)
    except PictureError as error:
        return "", error.found
    return digest, ""


def _facts(path: Path, name: str) -> tuple[int, int, str]:
    """Upright size and sha256; a file that has not changed since is not decoded again."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        stat = None  # reading it says what is wrong
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) if stat else None
    if key not in _known:
        data = read_picture_file(path)
        _known[key] = (*check_picture(data, name), sha256_bytes(data))
    return _known[key]


# One process often reads a label set several times: a chain of training steps, a demo.
_known: dict[tuple[str, int, int, int] | None, tuple[int, int, str]] = {}

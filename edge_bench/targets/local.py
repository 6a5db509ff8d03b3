"""This machine as a target: for a first look and for tests; its latency is a desktop's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edge_bench.errors import DeviceError, DeviceOffline, TransferError
from edge_bench.targets.base import NO_SPACE, Raw, Target, call, no_space


class LocalTarget(Target):
    kind = "local"
    name = "local"

    def __init__(self, run_id: str) -> None:
        self.folder = str(Path(tempfile.gettempdir()) / f"fiqa-bench-{run_id}")

    def _shell(self, command: str, timeout_s: float) -> Raw:
        return call(["sh", "-c", command], timeout_s)

    def _push(self, source: Path, remote: str, timeout_s: float) -> None:
        self._copy(source, Path(remote))

    def _pull(self, remote: str, path: Path, timeout_s: float) -> None:
        self._copy(Path(remote), path)

    def lost(self, raw: Raw) -> DeviceError:
        return DeviceOffline(
            f"the shell of this machine ended early: {raw.err.strip()[-200:] or raw.status}",
            expected="a command that runs to its end",
        )

    def _copy(self, source: Path, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            if NO_SPACE in str(error):
                raise no_space(f"{target.parent} is full") from error
            raise TransferError(
                f"{source} cannot be copied to {target.parent}: {error.strerror}",
                expected="a temporary folder that may be written",
                fix="set TMPDIR to another folder",
            ) from error

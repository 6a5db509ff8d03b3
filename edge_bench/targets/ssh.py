"""A board over ssh. Files travel through the shell as well: small systems have no sftp server."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

from edge_bench.errors import (
    DeviceError,
    DeviceNotFound,
    DeviceOffline,
    DeviceUnauthorized,
    TransferError,
)
from edge_bench.targets.base import NO_SPACE, Raw, Target, call, no_space
from fiqa.errors import InputError

OPTIONS = (
    *("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"),
    *("ControlMaster=auto", "ControlPersist=60"),  # one login for all commands
)
UNREACHABLE = ("Could not resolve", "Connection refused", "No route", "timed out", "unreachable")
REFUSED = ("Permission denied", "Host key verification failed", "Too many authentication")
SSH_FAILED = 255


class SshTarget(Target):
    """`host` is what one would type behind ssh; FIQA_SSH_COMMAND replaces the ssh before it."""

    kind = "ssh"

    def __init__(self, host: str, run_id: str) -> None:
        if not host or host.startswith("-"):
            raise InputError(
                f"ssh:{host}", expected="ssh:user@host, or ssh://user@host:port", fix="name a host"
            )
        self.host, self.name = host, f"ssh:{host}"
        self.folder = f".fiqa-bench/{run_id}"  # under the user's home
        self._sockets = tempfile.TemporaryDirectory(prefix="fiqa-")  # short: a socket lies in it
        options = (*OPTIONS, f"ControlPath={self._sockets.name}/%C")
        command = shlex.split(os.environ.get("FIQA_SSH_COMMAND", "ssh"))
        self._ssh = [*command, *(part for option in options for part in ("-o", option))]

    def open(self) -> None:
        try:
            super().open()
        except DeviceError:
            self._sockets.cleanup()
            raise
        self.folder = self.script(f"cd {shlex.quote(self.folder)} && pwd").out.strip()

    def clean_up(self) -> None:
        super().clean_up()
        call([*self._ssh, "-O", "exit", "--", self.host], timeout_s=20)
        self._sockets.cleanup()

    def _shell(self, command: str, timeout_s: float) -> Raw:
        return call(self._command(command), timeout_s, missing="install OpenSSH's client")

    def _push(self, source: Path, remote: str, timeout_s: float) -> None:
        with open(source, "rb") as handle:
            command = self._command(f"cat > {shlex.quote(remote)}")
            self._check(call(command, timeout_s, stdin=handle), f"{source} cannot be sent")

    def _pull(self, remote: str, path: Path, timeout_s: float) -> None:
        with open(path, "wb") as handle:
            command = self._command(f"cat < {shlex.quote(remote)}")
            self._check(call(command, timeout_s, stdout=handle), f"{remote} cannot be fetched")

    def lost(self, raw: Raw) -> DeviceError:
        said = (raw.err.strip().splitlines() or [f"ssh ended with {raw.status}"])[-1][:200]
        if any(text in raw.err for text in REFUSED):
            return DeviceUnauthorized(
                f"{self.host} does not let us in: {said}",
                expected="a login without questions: a key, and a host that is known",
                fix=f"ssh-copy-id {shlex.quote(self.host)}; then ssh there once by hand",
            )
        if any(text in raw.err for text in UNREACHABLE):
            return DeviceNotFound(
                f"{self.host} cannot be reached: {said}",
                expected="a board with an ssh server",
                fix=f"ssh {shlex.quote(self.host)} true",
            )
        return DeviceOffline(
            f"the connection to {self.host} broke: {said}",
            expected="a command that runs to its end",
            fix="look at the network, then run again with --resume",
        )

    def _command(self, command: str) -> list[str]:
        return [*self._ssh, "--", self.host, f"exec sh -c {shlex.quote(command)}"]

    def _check(self, raw: Raw, what: str) -> None:
        if raw.status == SSH_FAILED:
            raise self.lost(raw)
        if NO_SPACE in raw.err:
            raise no_space(f"{what}: the disk of {self.host} is full")
        if raw.status:
            raise TransferError(
                f"{what}: {raw.err.strip()[-200:]}",
                expected="a folder that may be written on the board",
            )

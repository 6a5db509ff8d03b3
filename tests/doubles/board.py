"""A board on loopback: a real sshd whose every session runs inside an ARM root."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.arm_root import board_script

START_S = 10


def find_sshd() -> str:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_board(root: Path, folder: Path) -> Iterator[str]:
    """The ssh command that reaches it under the name `board`."""
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True, timeout=30)
    enter = folder / "enter"
    enter.write_text(board_script(root))
    enter.chmod(0o755)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
        f"PidFile none\nForceCommand {enter}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host board\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\n"
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
        "StrictHostKeyChecking accept-new\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it when root starts it
    command = [find_sshd(), "-D", "-e", "-f", str(folder / "sshd_config")]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        _wait_for(port, server, folder / "log")
        yield f"ssh -F {folder / 'ssh_config'}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd does not start: {log.read_text()}")

"""A phone on loopback: the device side of the ADB protocol, for the real adb to talk to.

    python phone.py --root ROOT --state STATE.json      prints "PORT 12345"
    adb connect 127.0.0.1:12345

Shell commands run inside ROOT as real aarch64 programs (`arm_root`); push and pull move real
files. With Android's programs (`art`), an APK that arrives is made runnable, and apps are
installed and started (`android_system`). STATE.json is read at every event, so that a test changes
faults while things run:

    auth               "ok", "unauthorized" (nobody answers the question), "reject"
    offline_after_s    the phone vanishes this long after it was connected
    unplugged          the cable is off; hang_up_shell_only: what runs is not ended with the shell
    no_shell_v2        an Android before 7: no exit status, stderr in stdout
    push_drop, pull_drop, shell_drop      the cable comes off after so many bytes
    push_error         text that the phone answers a push with
    push_flip, pull_flip                  one bit of a file flips on its way
    pull_truncate      a pull ends well after so many bytes
    shell_delay_s, shell_no_exit, shell_garbage, shell_silent (nothing but an exit comes back)
    shell_match        regular expression: these four and shell_drop act on such commands only
    install_fails, app_killed_after_s     what pm says; how long an app lives
    rewrite            [[pattern, replacement], ...] applied to the command before it runs
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.doubles import art
from tests.doubles.android_system import System
from tests.doubles.arm_root import enter, environment

MOST = 256 * 1024
VERSION = 0x01000001
AUTH_TOKEN, AUTH_SIGNATURE = 1, 2
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
BANNER = "ro.product.name=double;ro.product.model=Phone_1;ro.product.device=double;"


class Phone:
    def __init__(self, root: Path, state: Path) -> None:
        self.root, self._state = root, state
        self.connections: set[Connection] = set()
        self.orphans: list[asyncio.subprocess.Process] = []
        self.is_android = (root / "system/bin/app_process").exists()

    def fault(self, name: str, otherwise: Any = None) -> Any:
        try:
            return json.loads(self._state.read_text()).get(name, otherwise)
        except (OSError, ValueError):
            return otherwise

    async def watch_the_cable(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self.fault("unplugged"):
                for connection in list(self.connections):
                    connection.drop()

    def path(self, name: str) -> Path:
        """A path of the phone as one of this machine, inside the root."""
        path = Path(os.path.normpath(f"{self.root}/{name}"))
        if self.root not in (path, *path.parents):
            raise PermissionError(13, "Permission denied")
        return path


class Connection:
    """One host: frames in and out."""

    def __init__(
        self, phone: Phone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.phone, self._reader, self._writer = phone, reader, writer
        self._streams: dict[int, Stream] = {}
        self._sending = asyncio.Lock()

    async def send(self, command: str, first: int, second: int, data: bytes = b"") -> None:
        name = command.encode()
        magic = struct.unpack("<I", name)[0] ^ 0xFFFFFFFF
        async with self._sending:
            head = struct.pack("<4s5I", name, first, second, len(data), 0, magic)
            self._writer.write(head + data)
            await self._writer.drain()

    def drop(self) -> None:
        """The cable comes off."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        self.phone.connections.add(self)
        try:
            while True:
                head = await self._reader.readexactly(24)
                name, first, second, size, _, _ = struct.unpack("<4s5I", head)
                data = await self._reader.readexactly(size)
                await self._handle(name.decode("latin1"), first, second, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.phone.connections.discard(self)
            for stream in list(self._streams.values()):
                stream.close()
            self._writer.close()

    async def _handle(self, name: str, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if name == "CNXN":
            await self._greet()
        elif name == "AUTH":
            await self._authorise(first)
        elif name == "OPEN":
            service = data.rstrip(b"\0").decode()
            local = max(self._streams, default=0) + 1
            self._streams[local] = Stream(self, local, first, service)
        elif name == "OKAY" and stream:
            stream.may_send.set()
        elif name == "WRTE" and stream:
            stream.received.put_nowait(data)
            await self.send("OKAY", second, first)
        elif name == "CLSE" and stream:
            stream.close()

    async def _greet(self) -> None:
        after = self.phone.fault("offline_after_s")
        if after is not None:
            asyncio.get_running_loop().call_later(after, self.drop)
        if self.phone.fault("auth", "ok") == "ok":
            await self._welcome()
        else:
            await self.send("AUTH", AUTH_TOKEN, 0, os.urandom(20))

    async def _authorise(self, kind: int) -> None:
        if kind == AUTH_SIGNATURE:
            await self.send("AUTH", AUTH_TOKEN, 0, os.urandom(20))
        elif self.phone.fault("auth") == "reject":
            self.drop()

    async def _welcome(self) -> None:
        features = "cmd,stat_v2,fixed_push_mkdir"
        if not self.phone.fault("no_shell_v2"):
            features += ",shell_v2"
        await self.send("CNXN", VERSION, MOST, f"device::{BANNER}features={features}".encode())

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.local, None)


class Stream:
    """One service that the host opened."""

    def __init__(self, connection: Connection, local: int, remote: int, service: str) -> None:
        self.connection, self.phone = connection, connection.phone
        self.local, self.remote = local, remote
        self.may_send = asyncio.Event()
        self.received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._rest = b""
        self._closed = False
        self._task = asyncio.create_task(self._serve(service))

    def close(self) -> None:
        self._closed = True
        self.may_send.set()
        self.received.put_nowait(None)

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST):
            await self.may_send.wait()
            if self._closed:
                raise ConnectionResetError
            self.may_send.clear()
            await self.connection.send("WRTE", self.local, self.remote, data[start : start + MOST])

    async def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            data = await self.received.get()
            if data is None:
                raise ConnectionResetError
            self._rest += data
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def _serve(self, service: str) -> None:
        kind, _, argument = service.partition(":")
        try:
            if kind.split(",")[0] in ("shell", "exec", "sync"):
                await self.connection.send("OKAY", self.local, self.remote)
                self.may_send.set()
                if kind == "sync":
                    await Sync(self).serve()
                else:
                    await Shell(self, argument, "v2" in kind.split(",")).serve()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connection.forget(self)
            with contextlib.suppress(ConnectionError):
                await self.connection.send("CLSE", 0 if self._closed else self.local, self.remote)


class Shell:
    def __init__(self, stream: Stream, command: str, v2: bool) -> None:
        self._stream, self._command, self._v2 = stream, command, v2
        self._sent = 0

    def _fault(self, name: str) -> Any:
        wanted = self._stream.phone.fault("shell_match", "")
        return self._stream.phone.fault(name) if re.search(wanted, self._command) else None

    async def serve(self) -> None:
        await asyncio.sleep(self._fault("shell_delay_s") or 0)
        await self._tell(STDOUT, (self._fault("shell_garbage") or "").encode())
        command = self._command
        for pattern, replacement in self._stream.phone.fault("rewrite", []):
            command = re.sub(pattern, replacement, command, flags=re.S)
        process = await asyncio.create_subprocess_exec(
            *enter(self._stream.phone.root, command), env=environment(), start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if self._v2 else asyncio.subprocess.STDOUT,
        )  # fmt: skip
        feeding = asyncio.create_task(self._feed(process))
        try:
            pumps = [self._pump(process.stdout, STDOUT)]
            if process.stderr:
                pumps.append(self._pump(process.stderr, STDERR))
            await asyncio.gather(*pumps)
            status = await process.wait()
        finally:
            feeding.cancel()
            self._kill(process)
        if self._v2 and not self._fault("shell_no_exit"):
            await self._tell(EXIT, bytes([status if status >= 0 else 128 - status]))

    async def _tell(self, channel: int, data: bytes) -> None:
        if data:
            head = struct.pack("<BI", channel, len(data)) if self._v2 else b""
            await self._stream.write(head + data)

    async def _pump(self, source: asyncio.StreamReader | None, channel: int) -> None:
        assert source is not None
        most = self._fault("shell_drop")
        while data := await source.read(32768):
            if self._fault("shell_silent"):
                continue
            if most is not None and self._sent + len(data) > most:
                await self._tell(channel, data[: max(0, most - self._sent)])
                self._stream.connection.drop()
                raise ConnectionResetError
            self._sent += len(data)
            await self._tell(channel, data)

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        """Input to the command; when the host goes away, adbd hangs up on the whole group."""
        assert process.stdin is not None
        try:
            while True:
                if not self._v2:
                    process.stdin.write(await self._stream.read(1))
                    continue
                channel, size = struct.unpack("<BI", await self._stream.read(5))
                data = await self._stream.read(size)
                if channel == STDIN:
                    process.stdin.write(data)
                elif channel == CLOSE_STDIN:
                    process.stdin.close()
        except ConnectionError:
            self._kill(process)

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None and self._stream.phone.fault("hang_up_shell_only"):
            hang_up(process)
            self._stream.phone.orphans.append(process)
        elif process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def hang_up(process: asyncio.subprocess.Process) -> None:
    """As adbd does: the shell, proot's first child, gets SIGHUP; nobody reads the rest's output."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children[:1]:
        os.kill(int(child), signal.SIGHUP)
    for number in (0, 1, 2):
        if pipe := process._transport.get_pipe_transport(number):  # type: ignore[attr-defined]
            pipe.close()


class Sync:
    """Files: STAT, LIST, RECV, SEND."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._phone = stream, stream.phone

    async def serve(self) -> None:
        while True:
            kind, size = struct.unpack("<4sI", await self._stream.read(8))
            argument = (await self._stream.read(size)).decode()
            if kind in (b"STAT", b"STA2", b"LST2"):
                await self._stream.write(self._stat(kind, argument))
            elif kind == b"LIST":
                await self._stream.write(b"DONE" + bytes(16))
            elif kind == b"RECV":
                await self._send_file(argument)
            elif kind == b"SEND":
                await self._take_file(argument)
            else:
                return

    def _stat(self, kind: bytes, name: str) -> bytes:
        try:
            found, error = self._phone.path(name).stat(), 0
        except OSError as problem:
            found, error = None, problem.errno or 2
        if kind == b"STAT":
            facts = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
            return kind + struct.pack("<3I", *facts)
        if found is None:
            return kind + struct.pack("<IQQIIIIQqqq", error, *[0] * 10)
        times = [int(found.st_atime), int(found.st_mtime), int(found.st_ctime)]
        return kind + struct.pack(
            "<IQQIIIIQqqq", 0, found.st_dev, found.st_ino, found.st_mode, found.st_nlink,
            2000, 2000, found.st_size, *times,
        )  # fmt: skip

    async def _fail(self, text: str) -> None:
        await self._stream.write(b"FAIL" + struct.pack("<I", len(text)) + text.encode())

    async def _send_file(self, name: str) -> None:
        try:
            data = self._phone.path(name).read_bytes()
        except OSError as error:
            await self._fail(f"open failed: {error.strerror}")
            return
        data = flipped(data, self._phone.fault("pull_flip"))
        drop, truncate = self._phone.fault("pull_drop"), self._phone.fault("pull_truncate")
        end = min(x for x in (drop, truncate, len(data)) if x is not None)
        for start in range(0, end, 65536):
            part = data[start : min(start + 65536, end)]
            await self._stream.write(b"DATA" + struct.pack("<I", len(part)) + part)
        if drop is not None and drop < len(data):
            self._stream.connection.drop()
            raise ConnectionResetError
        await self._stream.write(b"DONE" + bytes(4))

    async def _take_file(self, argument: str) -> None:
        name, _, mode = argument.rpartition(",")
        drop, refusal = self._phone.fault("push_drop"), self._phone.fault("push_error")
        data = bytearray()
        while True:
            kind, size = struct.unpack("<4sI", await self._stream.read(8))
            if kind == b"DONE":
                break
            data += await self._stream.read(size)
            if drop is not None and len(data) > drop:
                self._phone.path(name).write_bytes(data[:drop])  # as a phone leaves it
                self._stream.connection.drop()
                raise ConnectionResetError
        try:
            if refusal:
                raise OSError(0, refusal)
            path = self._phone.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(flipped(bytes(data), self._phone.fault("push_flip")))
            path.chmod(stat.S_IMODE(int(mode)))
            if self._phone.is_android and zipfile.is_zipfile(path):
                with contextlib.suppress(KeyError, ValueError):  # no dex, or none that is whole
                    await asyncio.to_thread(art.add_jar, self._phone.root, path)
            await self._stream.write(b"OKAY" + bytes(4))
        except OSError as error:
            await self._fail(f"couldn't write: {error.strerror}")


def flipped(data: bytes, place: int | None) -> bytes:
    if place is None or place >= len(data):
        return data
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


async def serve(phone: Phone, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if phone.fault("refuse") or phone.fault("unplugged"):
            writer.transport.abort()
        else:
            await Connection(phone, reader, writer).serve()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=2**22)
    # Ended by whoever started it, it takes what runs on it along.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    tasks = [System(phone.root, phone.fault).serve(), phone.watch_the_cable()]
    running = [asyncio.create_task(task) for task in tasks]
    print("PORT", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        try:
            await server.serve_forever()
        finally:
            for task in running:
                task.cancel()
            for process in phone.orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(serve(Phone(options.root, options.state), options.port))

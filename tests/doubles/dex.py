"""The dex of an APK turned back into a jar, so that a JVM runs the very classes that were packed.

Debian's enjarify does it. It writes classes of version 49; those of the dex may have static
methods in interfaces, so each is lifted to 52, and a method of an interface is named as such.
The JVM is to run without its verifier: there are no stack maps.
"""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
from pathlib import Path

VERSION = 52
UTF8, INTEGER, LONG, DOUBLE, CLASS, METHOD, INTERFACE_METHOD = 1, 3, 5, 6, 7, 10, 11
SIZES = {7: 3, 8: 3, 16: 3, 19: 3, 20: 3, 15: 4, LONG: 9, DOUBLE: 9}  # others 5; of UTF8: its own
IS_INTERFACE = 0x200


def jar_of_dex(apk: Path, jar: Path) -> Path:
    """An error, with the tool's words, where the APK has no dex that can be read."""
    plain = jar.with_suffix(".plain.jar")
    dex = jar.with_suffix(".dex")
    with zipfile.ZipFile(apk) as content:
        dex.write_bytes(content.read("classes.dex"))
    system = os.environ | {"PATH": "/usr/bin:/bin"}  # its modules belong to Debian's Python
    command = ["enjarify", "--force", str(dex), "-o", str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, env=system, check=False)
    if "0 classes had errors" not in done.stdout + done.stderr:
        raise ValueError(f"enjarify: {(done.stdout + done.stderr)[-500:]}")
    part = jar.with_suffix(".part")
    _lift(plain, part)
    for path in (plain, dex):
        path.unlink()
    return part.rename(jar)


def _lift(plain: Path, lifted: Path) -> None:
    with zipfile.ZipFile(plain) as source:
        classes = {name: bytearray(source.read(name)) for name in source.namelist()}
    pools = {name: _Pool(data) for name, data in classes.items() if name.endswith(".class")}
    interfaces = {name[:-6].encode() for name, pool in pools.items() if pool.is_interface}
    with zipfile.ZipFile(lifted, "w") as target:
        for name, data in classes.items():
            if name in pools:
                struct.pack_into(">HH", data, 4, 0, VERSION)
                pools[name].name_interface_methods(interfaces)
            target.writestr(name, bytes(data))


class _Pool:
    """The constants of a class file: where each begins."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self._places: dict[int, int] = {}
        (count,) = struct.unpack_from(">H", data, 8)
        at, number = 10, 1
        while number < count:
            self._places[number] = at
            tag = data[at]
            own = 3 + struct.unpack_from(">H", data, at + 1)[0] if tag == UTF8 else 0
            at += own or SIZES.get(tag, 5)
            number += 2 if tag in (LONG, DOUBLE) else 1
        self.is_interface = bool(struct.unpack_from(">H", data, at)[0] & IS_INTERFACE)

    def name_interface_methods(self, interfaces: set[bytes]) -> None:
        for at in self._places.values():
            if self._data[at] == METHOD and self._class_name(self._index(at)) in interfaces:
                self._data[at] = INTERFACE_METHOD

    def _class_name(self, number: int) -> bytes:
        at = self._places[self._index(self._places[number])]
        (length,) = struct.unpack_from(">H", self._data, at + 1)
        return bytes(self._data[at + 3 : at + 3 + length])

    def _index(self, at: int) -> int:
        """The first number of an entry."""
        (number,) = struct.unpack_from(">H", self._data, at + 1)
        return int(number)

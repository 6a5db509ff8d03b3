"""The runner for each processor, built on first use with zig and kept; libraries out of wheels.

ziglang comes from PyPI and brings compiler, linker and C libraries for all targets: no toolchain
is asked of the user, and the runner goes with any glibc from 2.17 on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path

from edge_bench.errors import ToolError, WrongAbi
from fiqa.errors import MissingDependencyError
from fiqa.files import writing, writing_folder

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
TRIPLES = {
    "aarch64": "aarch64-linux-gnu.2.17",
    "x86_64": "x86_64-linux-gnu.2.17",
    "armv7": "arm-linux-gnueabihf.2.17",  # built, never run: LiteRT has no wheel for it
}
FLAGS = ("-std=c++17", "-O2", "-s", "-ldl")
PLUGIN_FLAGS = ("-O2", "-s", "-shared", "-fPIC")
ELF_MACHINES = {0xB7: "aarch64", 0x3E: "x86_64", 0x28: "armv7"}
LIBRARY = "libLiteRt.so"
BUILD_S, DOWNLOAD_S = 600, 600


def cache_folder() -> Path:
    """Where builds and libraries are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "fiqa-edge" / "bench"


def build_runner(abi: str) -> Path:
    """The runner's executable for this kind of processor."""
    if abi not in TRIPLES:
        raise WrongAbi(
            f"no runner for processors of type {abi!r}",
            expected=", ".join(TRIPLES),
            fix="build edge_bench/runner with CMake and name it: --runner PATH",
        )
    return _built("c++", HERE / "fiqa_runner.cc", f"fiqa_runner-{abi}",
                  ("-target", TRIPLES[abi], *FLAGS))  # fmt: skip


def build_plugin() -> Path:
    """The instruction counter for this machine's QEMU."""
    return _built("cc", HERE / "instruction_count.c", "instruction_count.so", PLUGIN_FLAGS)


def litert_version() -> str:
    try:
        return metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError as error:
        raise _no_extra("ai-edge-litert is not installed") from error


def litert_library(abi: str) -> Path:
    """LiteRT's library of the installed version, out of its wheel for this processor."""
    version = litert_version()
    machine = platform.machine()
    if abi == {"arm64": "aarch64"}.get(machine, machine):
        spec = util.find_spec("ai_edge_litert")
        found = Path(spec.origin).parent / LIBRARY if spec and spec.origin else Path(LIBRARY)
        if not found.is_file():
            raise _no_library(f"ai-edge-litert {version} brings no {LIBRARY} here")
        return found
    if abi != "aarch64":
        raise _no_library(f"LiteRT has no wheel for {abi}")
    folder = cache_folder() / f"litert-{version}-{abi}"
    if not folder.is_dir():
        logger.info("fetching LiteRT %s for %s", version, abi)
        with writing_folder(folder) as part:
            _download(f"ai-edge-litert=={version}", part)
            shutil.copy2(part / "wheel" / "ai_edge_litert" / LIBRARY, part / LIBRARY)
            shutil.rmtree(part / "wheel")
    return folder / LIBRARY


def elf_abi(path: Path) -> str:
    """For which processor a binary is; empty text if it is no ELF file."""
    with open(path, "rb") as handle:
        head = handle.read(20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return ""
    (machine,) = struct.unpack("<H", head[18:20])
    return ELF_MACHINES.get(machine, f"ELF machine {machine}")


def _built(tool: str, source: Path, name: str, flags: Sequence[str]) -> Path:
    """Compiled once for each text of the source, set of flags and version of zig."""
    version = _zig_version()
    facts = repr((version, flags)).encode()
    key = hashlib.sha256(source.read_bytes() + facts).hexdigest()[:16]
    path = cache_folder() / key / name
    if path.is_file():
        return path
    logger.info("building %s with zig %s", name, version)
    with writing(path) as part:
        command = [sys.executable, "-m", "ziglang", tool, *flags, str(source), "-o", str(part)]
        _call(command, BUILD_S, f"{source.name} cannot be built", "pip install --upgrade ziglang")
    path.chmod(0o755)
    return path


def _zig_version() -> str:
    try:
        return metadata.version("ziglang")
    except metadata.PackageNotFoundError as error:
        raise _no_extra("ziglang is not installed: it builds what runs on the device") from error


def _download(requirement: str, folder: Path) -> None:
    """uv installs wheels of another platform without running anything of theirs."""
    command = [
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"),
        *("--only-binary", ":all:", "--python-platform", "aarch64-manylinux_2_35"),
        *("--python-version", "{}.{}".format(*sys.version_info[:2])),
        *("--target", str(folder / "wheel"), requirement),
    ]
    if util.find_spec("uv") is None:
        raise _no_extra("uv is not installed: it fetches the library for the device")
    _call(command, DOWNLOAD_S, f"{requirement} for aarch64 cannot be fetched",
          "name a library of your own: --lib PATH")  # fmt: skip


def _call(command: Sequence[str], limit_s: float, failed: str, fix: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{failed}: no end within {limit_s} s", fix=fix) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-6:]
        raise ToolError(
            f"{failed}: " + "\n  ".join(lines or [f"status {done.returncode}"]),
            expected="a tool that ends well",
            fix=fix,
        )


def _no_extra(found: str) -> MissingDependencyError:
    return MissingDependencyError(
        found, expected="what benchmarks need", fix="pip install 'fiqa-edge[bench]'"
    )


def _no_library(found: str) -> WrongAbi:
    return WrongAbi(
        found,
        expected=f"a {LIBRARY}, or a TFLite C library, for the device's processor",
        fix="name one: --lib PATH",
    )

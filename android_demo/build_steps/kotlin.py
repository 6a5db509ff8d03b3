"""Kotlin sources to jars, with the compiler that Maven has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from android_demo.build_steps.maven import OUT, fetch
from android_demo.build_steps.tools import call, is_current, keep_stamp, require, stamp_of

COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
JVM_TARGET = "17"


def class_path(jars: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, jars))


def compile_jar(name: str, sources: Sequence[Path], libraries: Sequence[Path]) -> Path:
    """A jar of the sources (files or folders); not made again where nothing changed."""
    require("java")
    files = [path for source in sources for path in _kotlin_files(source)]
    jar = OUT / "jars" / f"{name}.jar"
    compiler = fetch("kotlinc")
    stamp = stamp_of([*files, *libraries], JVM_TARGET, *compiler)
    if not is_current(jar, stamp):
        jar.parent.mkdir(parents=True, exist_ok=True)
        options = ["-no-stdlib", "-no-reflect", "-jvm-target", JVM_TARGET, "-Werror"]
        call(
            ["java", "-Xmx768m", "-cp", class_path(compiler), COMPILER, *options,
             "-cp", class_path(libraries), "-d", jar, *files],
            f"compiling {name}",
        )  # fmt: skip
        keep_stamp(jar, stamp)
    return jar


def _kotlin_files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(source.rglob("*.kt"))

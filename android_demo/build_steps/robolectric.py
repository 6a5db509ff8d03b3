"""The app's screens on the JVM: Robolectric with Android's real graphics and the real library."""

from __future__ import annotations

from pathlib import Path

from android_demo.build_steps.apk import APP, MAIN, Resources
from android_demo.build_steps.bionic import desktop_library
from android_demo.build_steps.kotlin import class_path, compile_jar
from android_demo.build_steps.maven import OUT, fetch
from fiqa.files import write_bytes

SDK_PROPERTIES = "com/android/tools/test_config.properties"
SMALL = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
OPENS = ("java.base/java.io=ALL-UNNAMED", "java.base/java.lang=ALL-UNNAMED")


def screens_command(
    resources: Resources, app: Path, scoring: Path, golden: Path, screens: Path
) -> list[str]:
    """A JVM that runs JUnit on the app's tests; the classes are to follow."""
    (platform,) = fetch("android")
    # Android's classes last: Robolectric brings its own, instrumented.
    libraries = [app, scoring, *fetch("scoring"), *fetch("robolectric"), *fetch("junit"), platform]
    tests = compile_jar("app-test", [APP / "src" / "test" / "kotlin"], libraries)
    properties = OUT / "robolectric" / SDK_PROPERTIES
    text = (
        f"android_merged_manifest={MAIN / 'AndroidManifest.xml'}\n"
        "android_custom_package=fiqa.app\n"
        f"android_resource_apk={resources.base}\n"
    )
    write_bytes(properties, text.encode())
    (sdk,) = fetch("robolectric-sdk")
    screens.mkdir(parents=True, exist_ok=True)
    settings = {
        "java.library.path": desktop_library(),
        "robolectric.offline": "true",
        "robolectric.dependency.dir": sdk.parent,
        "robolectric.createActivityContexts": "true",
        "fiqa.golden": golden,
        "fiqa.screens": screens,
    }
    return [
        "java", *SMALL, *(word for module in OPENS for word in ("--add-opens", module)),
        *(f"-D{name}={value}" for name, value in settings.items()),
        "-cp", class_path([OUT / "robolectric", tests, *libraries]),
        "org.junit.runner.JUnitCore",
    ]  # fmt: skip

"""Build and test the Android demo where Gradle or Google's repository is out of reach.

    python -m android_demo.build apk --model build/demo/student.tflite --out build/fiqa.apk
    python -m android_demo.build test
    python -m android_demo.build test --only FrameTest
    python -m android_demo.build screens --model build/demo/student.tflite
    python -m android_demo.build library
    python -m android_demo.build lint

`apk` compiles, packs, signs with a debug key and checks. Without --model it takes the released one
of models/, and an app without any asks for a file.
`test` compiles scoring/ and runs its JVM tests, with Android's own TensorFlow Lite library in a
copy that desktop Linux loads; `screens` draws every state of the app's screens into --screens.
`library` adapts the arm64 library for `edge_bench.run --target emulated --lib`.
`lint` runs ktlint (`--fix` also mends). Versions come from
gradle/libs.versions.toml, jars from Maven, results go to build/android. Where ANDROID_HOME names
an Android SDK, its platform and build-tools are taken. Exit 1: tests or lint fail.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from android_demo.build_steps.apk import (
    app_jar,
    collect_assets,
    inspect,
    link_resources,
    pack,
    released_model,
)
from android_demo.build_steps.bionic import arm_library, desktop_library
from android_demo.build_steps.kotlin import class_path, compile_jar
from android_demo.build_steps.maven import ANDROID, OUT, fetch
from android_demo.build_steps.robolectric import screens_command
from android_demo.build_steps.tools import require
from fiqa import cli
from fiqa.detector import packaged_model
from fiqa.errors import InputError
from fiqa.files import require_file
from fiqa.manifest import read_manifest, update_manifest

TESTS_S = 540.0
SCREENS_THRESHOLD = 0.5
SCORING = ANDROID / "scoring" / "src"
GOLDEN = ANDROID.parent / "tests" / "golden"


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("step", choices=tuple(STEPS))
    parser.add_argument("--model", type=Path, help="apk: the .tflite that the app starts with")
    parser.add_argument("--out", type=Path, default=OUT.parent / "fiqa.apk", help="apk: the file")
    parser.add_argument("--screens", type=Path, default=OUT / "screens", help="folder for PNGs")
    parser.add_argument("--only", help="test: the classes to run, apart by commas")
    parser.add_argument("--fix", action="store_true", help="lint: mend what can be mended")
    return cli.run(parser, lambda args: STEPS[args.step](args), argv)


def scoring_jar() -> Path:
    return compile_jar("scoring", [SCORING / "main" / "kotlin"], fetch("scoring"))


def _apk(args: Namespace) -> cli.Outcome:
    model = args.model or released_model()
    if model is not None:
        read_manifest(model)  # what the app would refuse is refused here
    resources = link_resources(collect_assets(model))
    scoring = scoring_jar()
    pack(resources, app_jar(resources, scoring), scoring, args.out)
    facts = inspect(args.out)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    return cli.Outcome("\n".join([*lines, f"wrote {args.out}"]), {"apk": str(args.out)} | facts)


def jvm_command(golden: Path = GOLDEN) -> list[str]:
    """A JVM with scoring/, its tests and Android's library; the main class is to follow."""
    require("java", "mvn")
    libraries = [scoring_jar(), *fetch("scoring"), *fetch("junit")]
    tests = compile_jar("scoring-test", [SCORING / "test" / "kotlin"], libraries)
    return [
        "java", "-Xmx512m", f"-Djava.library.path={desktop_library()}",
        f"-Dfiqa.golden={golden}", f"-Dfiqa.detector={packaged_model()}",
        "-cp", class_path([tests, *libraries]),
    ]  # fmt: skip


def _test(args: Namespace) -> cli.Outcome:
    found = sorted(path.stem for path in (SCORING / "test").rglob("*Test.kt"))
    names = args.only.split(",") if args.only else found
    classes = [f"fiqa.scoring.{name}" for name in names]
    ok = _shown([*jvm_command(), "org.junit.runner.JUnitCore", *classes])
    return cli.Outcome("", {"tests": names}, ok)


def _lint(args: Namespace) -> cli.Outcome:
    require("java", "mvn")
    (jar,) = fetch("ktlint")
    fix = ["--format"] if args.fix else []
    ok = _shown(["java", "-Xmx512m", "-jar", str(jar), *fix, "--relative", "**/*.kt"], ANDROID)
    return cli.Outcome("ktlint is content" if ok else "", {}, ok)


def _shown(command: Sequence[str], cwd: Path | None = None) -> bool:
    """Whether the program ended well; what it prints goes to stderr as it comes."""
    done = subprocess.run(
        command, cwd=cwd, stdout=sys.stderr, timeout=TESTS_S, check=False, env=os.environ
    )
    return done.returncode == 0


def _library(args: Namespace) -> cli.Outcome:
    path = arm_library()
    return cli.Outcome(str(path), {"library": str(path)})


def _screens(args: Namespace) -> cli.Outcome:
    if args.model is None:
        raise InputError("screens without --model", expected="a .tflite for the app to start with")
    model = OUT / "screens.tflite"  # verdicts are to be seen, whatever the model's own threshold
    require_file(args.model, "a .tflite for the app to start with")
    model.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(args.model, model)
    manifest = read_manifest(model)
    score = dataclasses.replace(manifest.score, threshold=SCREENS_THRESHOLD)
    update_manifest(model, dataclasses.replace(manifest, score=score))
    resources = link_resources(collect_assets(model))
    scoring = scoring_jar()
    app = app_jar(resources, scoring)
    command = screens_command(resources, app, scoring, GOLDEN, args.screens)
    ok = _shown([*command, "fiqa.app.ScreensTest"])
    return cli.Outcome(f"drawn into {args.screens}" if ok else "", {"drawn": str(args.screens)}, ok)


STEPS = {"apk": _apk, "screens": _screens, "test": _test, "library": _library, "lint": _lint}

if __name__ == "__main__":
    raise SystemExit(main())

"""Jars from Maven repositories, by the names of the version catalog."""

from __future__ import annotations

import tomllib
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from android_demo.build_steps.tools import call, is_current, keep_stamp, require, stamp_of

ANDROID = Path(__file__).parents[1]
OUT = ANDROID.parent / "build" / "android"


@dataclass(frozen=True)
class Wanted:
    """An entry of the catalog, as a dependency."""

    alias: str
    type: str = "jar"
    classifier: str = ""
    alone: bool = True  # without what it depends on


# What each part of the build needs.
SETS = {
    "scoring": (Wanted("kotlin-stdlib"), Wanted("tflite", "aar"), Wanted("tflite-api", "aar")),
    "junit": (Wanted("junit", alone=False),),
    "kotlinc": (Wanted("kotlin-compiler", alone=False),),
    "android": (Wanted("android-all"),),
    "r8": (Wanted("r8"),),
    "robolectric": (Wanted("robolectric", alone=False),),
    "robolectric-sdk": (Wanted("android-all-instrumented"),),
    "ktlint": (Wanted("ktlint", classifier="all"),),
}


@cache
def catalog() -> dict[str, dict[str, str]]:
    """Of each alias group, artifact and version; `versions` under its own name."""
    document = tomllib.loads((ANDROID / "gradle" / "libs.versions.toml").read_text())
    versions: dict[str, str] = document["versions"]
    found = {"versions": versions}
    for alias, entry in document["libraries"].items():
        group, artifact = entry["module"].split(":")
        version = versions[entry["version"]["ref"]]
        found[alias] = {"group": group, "artifact": artifact, "version": version}
    return found


def fetch(name: str) -> list[Path]:
    """The jars of one set; what is there already is not asked for again."""
    require("mvn")
    folder = OUT / "libs" / name
    pom = _pom(SETS[name])
    stamp = stamp_of((), pom)
    if not is_current(folder, stamp):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (OUT / f"{name}.pom.xml").write_text(pom)
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={folder}")
        call(["mvn", "-q", "-B", "-f", OUT / f"{name}.pom.xml", *goal], f"fetching {name}")
        for archive in folder.glob("*.aar"):
            with zipfile.ZipFile(archive) as content:
                archive.with_suffix(".jar").write_bytes(content.read("classes.jar"))
        keep_stamp(folder, stamp)
    return sorted(folder.glob("*.jar"))


def archive(alias: str) -> Path:
    """The .aar itself, with its native libraries."""
    fetch("scoring")
    entry = catalog()[alias]
    return OUT / "libs" / "scoring" / f"{entry['artifact']}-{entry['version']}.aar"


def _pom(wanted: tuple[Wanted, ...]) -> str:
    dependencies = "".join(map(_dependency, wanted))
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>fiqa</groupId><artifactId>fetch</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )


def _dependency(wanted: Wanted) -> str:
    entry = catalog()[wanted.alias]
    classifier = f"<classifier>{wanted.classifier}</classifier>" if wanted.classifier else ""
    alone = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
    exclusions = f"<exclusions>{alone}</exclusions>" if wanted.alone else ""
    return (
        f"<dependency><groupId>{entry['group']}</groupId>"
        f"<artifactId>{entry['artifact']}</artifactId><version>{entry['version']}</version>"
        f"<type>{wanted.type}</type>{classifier}{exclusions}</dependency>"
    )

"""The command lines, Python examples and links of the pages that users read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/*.md", "*/README.md")
    for path in REPOSITORY.glob(pattern)
    if path.name != "CHANGELOG.md" and not path.parent.name.startswith(("build", "."))
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SUBSTITUTED = re.compile(r"\$\(([^()]*)\)")
LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")
PROGRAMS = ("adb", "apt", "apt-get", "make", "mkdocs", "pip", "pytest", "python", "ray",
            "torchrun", r"\.venv/bin/python")  # fmt: skip
STARTS = re.compile(rf"^(?:[A-Z_]+=\S* )*(?:{'|'.join(PROGRAMS)}) ", re.MULTILINE)
# With nothing on its PATH the shell knows no program and hands each command to this handler: it
# reads comments, loops, quotes and continued lines as it does for users, and runs nothing.
TELL = r"""command_not_found_handle() { printf '%s\0' "$@"; printf '\n'; }
.ci/run() { command_not_found_handle .ci/run "$@"; }
.venv/bin/python() { command_not_found_handle python "$@"; }
"""


class Command(NamedTuple):
    """One command line of a page. `whole`: in a block of its own, so nothing may be missing."""

    page: str
    words: tuple[str, ...]
    whole: bool

    @property
    def module(self) -> str:
        """What follows -m; empty for other programs."""
        return self.words[self.words.index("-m") + 1] if "-m" in self.words else ""

    @property
    def arguments(self) -> list[str]:
        return list(self.words[self.words.index("-m") + 2 :])

    def __str__(self) -> str:
        return " ".join(self.words)


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for label, body in FENCED.findall(text_of(page)) if label == language]


def all_commands() -> list[Command]:
    """Every command line once, with the first page that has it."""
    found = {}
    for page in PAGES:
        for command in commands_of(page):
            found.setdefault((command.words, command.whole), command)
    return list(found.values())


def commands_of(page: str) -> Iterator[Command]:
    for body in [*blocks(page, ""), *blocks(page, "sh")]:
        if STARTS.search(body):
            yield from _told(page, body, True)
    for body in blocks(page, "console"):
        lines = re.findall(r"^\$ ((?:.*\\\n)*.*)$", body, re.MULTILINE)
        yield from _told(page, "\n".join(lines), True)
    for span in INLINE.findall(FENCED.sub("", text_of(page))):
        if STARTS.match(span) and "{" not in span:
            yield from _told(page, span, False)


def _told(page: str, script: str, whole: bool) -> Iterator[Command]:
    """What a command puts into another, as $(...), is a command line of its own."""
    script = "\n".join([SUBSTITUTED.sub("VALUE", script), *SUBSTITUTED.findall(script)])
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-c", TELL + script],
        env={"PATH": "/none"}, cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not done.stderr, f"{page}: {script}\n{done.stderr}"
    for line in done.stdout.splitlines():
        yield Command(page, tuple(line.split("\0")[:-1]), whole)


def links_of(page: str) -> list[str]:
    """Links to files, as they are written."""
    return [link for link in LINK.findall(FENCED.sub("", text_of(page))) if ":" not in link]

"""What all commands share: flags that mean one thing, progress, --json, exit codes.

Exit 0: done. Exit 1: it ran and the answer is no. Exit 2: it could not run.
With --json exactly one document goes to stdout, also when the command could not run;
everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fiqa.errors import InputError, MissingDependencyError, ToolkitError

logger = logging.getLogger(__name__)

OURS = ("fiqa", "train", "quantize", "export", "edge_bench", "android_demo")
DONE, ANSWER_IS_NO, COULD_NOT_RUN = 0, 1, 2
LARGEST_SEED = 2**63 - 1
UNOPENABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True)
class Outcome:
    """What a command found: text for people, a document for programs, and yes or no.

    Without both nothing is printed: of many processes of one run the first alone tells it.
    """

    text: str
    document: dict[str, Any]
    ok: bool = True


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ours, and whose help keeps our line breaks."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,
        )
        self.add_argument("--json", action="store_true", help="one JSON document on stdout")
        self.add_argument("--quiet", action="store_true", help="no progress, warnings only")

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise InputError(message, expected=usage, fix=f"{self.prog} --help")


def run(parser: Parser, work: Callable[[Any], Outcome], argv: Sequence[str] | None) -> int:
    """Parse, work, print, and give the exit code. The only place where errors become text."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        args = parser.parse_args(arguments)
        _start_logging(args.quiet)
        outcome = work(args)
    except ToolkitError as error:
        return _could_not_run(error, as_json)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", *OURS):
            raise
        needed = "what this command needs"
        missing = MissingDependencyError.of(package, error, needed, "train,export")
        return _could_not_run(missing, as_json)
    except OSError as error:
        if error.errno not in UNOPENABLE:
            raise
        return _could_not_run(_unopenable(error), as_json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # what shells give for SIGINT
    try:
        if as_json and outcome.document:
            _print_document({"status": "done" if outcome.ok else "no"} | outcome.document)
        elif outcome.text:
            print(_printable(outcome.text))
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE if outcome.ok else ANSWER_IS_NO


def within(flag: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Refuse a number out of its range; a flag that was left out is None."""
    if value is not None and not low <= value <= high:
        limits = f"{low} or more" if high == math.inf else f"{low} to {high}"
        raise InputError(f"{flag} is {value}", expected=limits)


def _could_not_run(error: ToolkitError, as_json: bool) -> int:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        _print_document({"status": "error", "error": error.document()})
    return COULD_NOT_RUN


def _unopenable(error: OSError) -> InputError:
    """What only the file system knows of a path, wherever it was first looked at."""
    return InputError(
        f"{str(error.filename)[:200]}: {error.strerror}",
        expected="a path that this system can open",
        fix="check the path, its length and its rights",
    )


def _printable(text: str) -> str:
    """Names of files may hold bytes that are no text, or signs that this terminal lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _print_document(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, allow_nan=False))


def _start_logging(quiet: bool) -> None:
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(message)s",
        stream=sys.stderr,
        force=True,
    )

"""From a built body to a file with its manifest, and to what the command says of it."""

from __future__ import annotations

import dataclasses
import logging
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.format import Body, Format
from fiqa import cli
from fiqa.errors import MissingDependencyError
from fiqa.manifest import Check, Manifest, tool_versions, write_artifact
from fiqa.records import to_plain
from quantize.deployable import Deployable
from quantize.muted import muted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An artifact under a temporary name, waiting for its checks."""

    path: Path
    body: Body
    manifest: Manifest
    lines: list[str]  # about its graph

    def with_checks(self, checks: Sequence[Check]) -> Candidate:
        manifest = dataclasses.replace(self.manifest, checks=(*self.manifest.checks, *checks))
        return dataclasses.replace(self, manifest=manifest)

    @property
    def ok(self) -> bool:
        return all(check.status != "failed" for check in self.manifest.checks)

    def write(self, out: Path) -> Manifest:
        return write_artifact(out, self.body, self.manifest)


def assemble(
    form: Format,
    args: Namespace,
    deployable: Deployable,
    source: Manifest,
    body: Body,
    folder: Path,
    recipe: Mapping[str, Any],
) -> Candidate:
    """Give the body its manifest and look into its graph."""
    picture, score = form.tensors(body, deployable)
    manifest = Manifest(
        kind=form.kind,
        model=source.model,
        sha256="",
        preprocess=deployable.spec,
        parent_sha256=source.sha256,
        inputs=(picture,),
        outputs=(score,),
        score=source.score,
        recipe={"precision": args.precision, "training": source.recipe, **recipe},
        datasets=source.datasets,
        checks=tuple(step.check for step in deployable.steps),
        tools=tool_versions(*form.packages),
        licence=source.licence,
    )
    body = form.finish(body, manifest)
    with timed("looking into the graph"):
        facts, lines, checks = form.inspect(body)
    manifest = dataclasses.replace(manifest, recipe=manifest.recipe | {"graph": facts})
    path = folder / f"artifact{form.suffix}"
    write_artifact(path, body, manifest)
    return Candidate(path, body, manifest, lines).with_checks(checks)


def open_judges(form: Format, path: Path) -> Iterator[tuple[str, Any | Check]]:
    """(name, scores of bytes) of each runtime, or the check that says why it cannot run here."""
    for judge in form.judges:
        try:
            with muted():  # the opening alone: scoring tells its progress
                score = judge.open(path)
        except MissingDependencyError as error:
            yield judge.name, Check(f"parity in {judge.name}", "unchecked", error.found)
        else:
            yield judge.name, score


def outcome(
    out: Path, manifest: Manifest, lines: list[str], written: bool, more: Mapping[str, Any]
) -> cli.Outcome:
    """What the command prints."""
    shown = [*lines, "", *map(_describe, manifest.checks), ""]
    shown.append(f"wrote {out}" if written else f"{out} was not written: a check failed")
    document = {
        "artifact": str(out) if written else None,
        "sha256": manifest.sha256 if written else None,
        "graph": manifest.recipe["graph"],
        "checks": [to_plain(check) for check in manifest.checks],
        **more,
    }
    return cli.Outcome("\n".join(shown), document, written)


def _describe(check: Check) -> str:
    value = "" if check.value is None else f"{check.value:.2g} (at most {check.bound:g})"
    return "  ".join(
        part for part in (f"{check.status:9} {check.name}", value, check.reason) if part
    )


@contextmanager
def timed(title: str) -> Iterator[None]:
    """Tell how long a step took."""
    started = time.perf_counter()
    yield
    logger.info("%-24s %5.1f s", title, time.perf_counter() - started)

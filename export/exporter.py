"""What the export commands share: from a checkpoint to an artifact that was proved against it.

The artifact is built under a temporary name, opened in its real runtime and compared with the
checkpoint. Only what keeps its bound gets the name that was asked for.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.parity import parity_check, parity_pictures, reference_scores
from fiqa import cli
from fiqa.contract import Bytes
from fiqa.errors import InputError, MissingDependencyError
from fiqa.files import refuse_existing, require_writable
from fiqa.labels import LabelSet, read_labels
from fiqa.manifest import (
    Check,
    Kind,
    Manifest,
    TensorSpec,
    tool_versions,
    write_artifact,
)
from fiqa.records import to_plain
from fiqa.runtime import Scorer
from fiqa.vectors import Floats
from quantize.deployable import INPUT, OUTPUT, Deployable, make_deployable
from quantize.muted import muted
from train.checkpoint import load_checkpoint
from train.network import QualityNet

logger = logging.getLogger(__name__)

Body = bytes | Path  # an artifact without manifest: a file's bytes, or a package
Score = Callable[[Bytes], Floats]


@dataclass(frozen=True)
class Judge:
    """A runtime that can score the artifact, or the reason why it cannot here."""

    name: str
    open: Callable[[Path], Score]


@dataclass(frozen=True)
class Format:
    """One kind of artifact: how it is built, looked at and run."""

    kind: Kind
    suffix: str
    builders: dict[str, Callable[[Deployable, Path], Body]]  # by precision; may use the folder
    finish: Callable[[Body, Manifest], Body]  # what else travels in the file
    inspect: Callable[[Body], tuple[dict[str, Any], list[str], list[Check]]]  # facts, lines, checks
    judges: tuple[Judge, ...]
    tensors: Callable[[Deployable], tuple[TensorSpec, TensorSpec]]
    packages: tuple[str, ...]  # whose versions are recorded


def run_export(form: Format, description: str, argv: Sequence[str] | None) -> int:
    """The whole command."""
    parser = cli.Parser(description)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of a trained or imported network")
    add("--out", type=Path, required=True, help="file to write")
    add("--precision", choices=tuple(form.builders), default="fp32")
    add("--size", type=int, help="side of the pictures in pixels (default: the checkpoint's)")
    add("--batch", type=int, default=1, help="pictures at once")
    add("--data", type=Path, help="label set for the proof (default: faces are drawn)")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, lambda args: export(form, args), argv)


def float_tensors(deployable: Deployable) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of a float artifact."""
    size, batch = deployable.spec.size, deployable.batch
    picture = TensorSpec(INPUT, (batch, size, size, 3), "float32", "NHWC")
    return picture, TensorSpec(OUTPUT, (batch, 1), "float32", "N1")


def export(form: Format, args: Namespace) -> cli.Outcome:
    """Build, look, prove, and write what was proved."""
    _check(form, args)
    labels = read_labels(args.data) if args.data else None
    with _step("reading the checkpoint"):
        network, source = open_network(args.checkpoint, args.size)
    with _step("rewriting its graph"):
        deployable = make_deployable(network, source.preprocess, args.batch)
    with tempfile.TemporaryDirectory() as folder:
        with _step(f"converting to {args.precision}"):
            body = form.builders[args.precision](deployable, Path(folder))
        manifest = _manifest(form, args, deployable, source)
        body = form.finish(body, manifest)
        with _step("looking into the graph"):
            facts, lines, checks = form.inspect(body)
        manifest = dataclasses.replace(manifest, recipe=manifest.recipe | {"graph": facts})
        artifact = Path(folder) / f"artifact{form.suffix}"
        write_artifact(artifact, body, manifest)
        with _step("comparing scores"):
            checks += _prove(form, artifact, network, source, labels, args.precision)
        manifest = dataclasses.replace(manifest, checks=(*manifest.checks, *checks))
        ok = all(check.status != "failed" for check in manifest.checks)
        if ok:
            manifest = write_artifact(args.out, body, manifest)
    return _outcome(args.out, manifest, lines, ok)


def open_network(checkpoint: Path, size: int | None) -> tuple[QualityNet, Manifest]:
    """The checkpoint's network, built for another size where one is asked for."""
    if checkpoint.is_file():
        raise InputError(
            f"{checkpoint} is a file", expected="a checkpoint folder of fiqa-edge",
            fix="for other projects' weights: python -m train.import_weights --help",
        )  # fmt: skip
    network, manifest = load_checkpoint(checkpoint)
    if size is None or size == manifest.preprocess.size:
        return network, manifest
    other = QualityNet(manifest.model, size)
    try:
        other.load_state_dict(network.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"{manifest.model} cannot be exported at {size}: its weights are bound to a size",
            expected=f"{manifest.preprocess.size}", fix="leave --size out",
        ) from error  # fmt: skip
    spec = dataclasses.replace(manifest.preprocess, size=size)
    return other.eval(), dataclasses.replace(manifest, preprocess=spec)


def open_scorer(path: Path) -> Score:
    """The artifact in its runtime, as users of the file will have it."""
    return Scorer(path).score_bytes


# ---------------------------------------------------------------- the steps


def _check(form: Format, args: Namespace) -> None:
    if args.out.suffix != form.suffix:
        raise InputError(f"--out {args.out}", expected=f"a name that ends in {form.suffix}")
    if args.batch < 1 or (args.size is not None and args.size < 1):
        raise InputError(
            f"--batch {args.batch}, --size {args.size}", expected="numbers of 1 or more"
        )
    refuse_existing(args.out, args.overwrite)
    require_writable(args.out)


def _manifest(form: Format, args: Namespace, deployable: Deployable, source: Manifest) -> Manifest:
    picture, score = form.tensors(deployable)
    return Manifest(
        kind=form.kind,
        model=source.model,
        sha256="",
        preprocess=deployable.spec,
        parent_sha256=source.sha256,
        inputs=(picture,),
        outputs=(score,),
        score=source.score,
        recipe={"precision": args.precision, "training": source.recipe},
        datasets=source.datasets,
        checks=tuple(step.check for step in deployable.steps),
        tools=tool_versions(*form.packages),
        licence=source.licence,
    )


def _prove(
    form: Format,
    artifact: Path,
    network: QualityNet,
    source: Manifest,
    labels: LabelSet | None,
    precision: str,
) -> list[Check]:
    pictures = parity_pictures(labels, source.preprocess)
    wanted = reference_scores(network, source.preprocess, pictures)
    found = []
    for judge in form.judges:
        try:
            with muted():
                score = judge.open(artifact)
        except MissingDependencyError as error:
            found.append(Check(f"parity in {judge.name}", "unchecked", error.found))
            continue
        found.append(parity_check(judge.name, score(pictures), wanted, precision))
    return found


def _outcome(out: Path, manifest: Manifest, lines: list[str], ok: bool) -> cli.Outcome:
    shown = [*lines, "", *map(_describe, manifest.checks), ""]
    shown.append(f"wrote {out}" if ok else f"{out} was not written: a check failed")
    document = {
        "artifact": str(out) if ok else None,
        "sha256": manifest.sha256 if ok else None,
        "graph": manifest.recipe["graph"],
        "checks": [to_plain(check) for check in manifest.checks],
    }
    return cli.Outcome("\n".join(shown), document, ok)


def _describe(check: Check) -> str:
    value = "" if check.value is None else f"{check.value:.2g} (at most {check.bound:g})"
    return "  ".join(
        part for part in (f"{check.status:9} {check.name}", value, check.reason) if part
    )


@contextmanager
def _step(title: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    logger.info("%-24s %5.1f s", title, time.perf_counter() - started)

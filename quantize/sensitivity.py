"""Where INT8 costs accuracy, and what each remedy wins back.

    python -m quantize.sensitivity --checkpoint runs/student --calibration faces.csv \\
        --data faces.csv --out build/sensitivity

First the whole graph, in simulation: quantised by the most faithful recipe, without each of its
remedies, and naively: what (SRCC + PLCC) / 2 loses on each split of --data, with its interval.
Then one thing at a time: how far scores move when one tensor alone, or one layer's weights
alone, are rounded. Writes sensitivity.json, sensitivity.md and sensitivity.png to --out.
"""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fiqa import cli
from fiqa.errors import InputError
from fiqa.files import refuse_foreign, require_writable, write_bytes, write_json, writing_folder
from fiqa.labels import LabelSet, read_labels
from fiqa.progress import track
from fiqa.records import to_plain
from quantize.aten import CONV, LINEAR, calls
from quantize.calibration import read_calibration, read_pictures, spread
from quantize.deployable import make_deployable, open_network
from quantize.guard import GuardPolicy, Verdict, decide
from quantize.integer_places import PICTURE
from quantize.recipes import Quantised, QuantRecipe, faithful, fastest, naive, quantise
from quantize.simulation import Walk, few, scores_of
from train.evaluation import judged_splits

REMEDIES: dict[str, dict[str, Any]] = {
    "gates": {"gates": 0},
    "centring": {"centre": False},
    "equalisation": {"equalise": False},
    "cut tails": {"cut_tails": False},
    "joint rounding": {"round_together": False},
    "corrections": {"correct": False},
}
SCHEMA, DOCUMENT = 1, "sensitivity.json"
LOOKS = 48  # pictures for what is rounded alone
SHOWN = 20  # rows of the table and the plot


@dataclass(frozen=True)
class Remedy:
    """A recipe and its verdict on every split."""

    name: str
    verdicts: dict[str, Verdict]


@dataclass(frozen=True)
class Place:
    """A tensor or a layer's weights, rounded alone."""

    name: str
    kind: str  # activation or weights
    shift: float  # mean absolute, of scores


@dataclass(frozen=True)
class Sensitivity:
    """What sensitivity.json holds."""

    schema: int
    checkpoint_sha256: str
    model: str
    size: int
    calibration: int  # pictures
    remedies: tuple[Remedy, ...]
    places: tuple[Place, ...]  # costliest first


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of a trained or imported network")
    add("--calibration", type=Path, required=True, help="pictures for the ranges, labels unread")
    add("--data", type=Path, required=True, help="labelled set for what is lost")
    add("--most", type=int, default=2000, help="pictures of a split, 0: all (%(default)s)")
    add("--size", type=int, help="side of the pictures in pixels (default: the checkpoint's)")
    add("--out", type=Path, required=True, help="folder to write")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, _run, argv)


def _run(args: Namespace) -> cli.Outcome:
    from train.plots import draw_bars  # first, for it may be missing

    if args.most < 0:
        raise InputError(f"--most {args.most}", expected="a number of pictures, or 0 for all")
    refuse_foreign(args.out, args.overwrite, DOCUMENT)
    require_writable(args.out)
    labels = read_labels(args.data)
    network, source = open_network(args.checkpoint, args.size)
    deployable = make_deployable(network, source.preprocess)
    pictures = read_calibration(args.calibration, deployable.spec).pictures
    shown = {
        name: (part := spread(whole, args.most or len(whole)), read_pictures(part, deployable.spec))
        for name, whole in judged_splits(labels).items()
    }
    before = {name: scores_of(deployable.module, seen) for name, (_, seen) in shown.items()}
    remedies, kept = [], None
    for name, recipe in track(variants().items(), "recipes", len(variants()), "recipes"):
        found = quantise(deployable.module, deployable.example, pictures, recipe)
        kept = kept or found
        remedies.append(Remedy(name, _verdicts(found, shown, before)))
    assert kept is not None  # the first is the most faithful
    sensitivity = Sensitivity(
        SCHEMA, source.sha256, source.model, deployable.spec.size, len(pictures), tuple(remedies),
        tuple(places_of(kept, pictures)),
    )  # fmt: skip
    return _write(args.out, sensitivity, draw_bars)


def variants() -> dict[str, QuantRecipe]:
    """The most faithful recipe, without each remedy, and the others."""
    whole = faithful()
    without = {
        f"without {name}": dataclasses.replace(whole, **change) for name, change in REMEDIES.items()
    }
    return {"faithful": whole, **without, "fastest": fastest(), "naive": naive()}


def places_of(quantised: Quantised, pictures: Tensor) -> list[Place]:
    """Everything that is rounded, alone, the costliest first."""
    graph = quantised.module
    some = few(pictures, LOOKS)
    wanted = scores_of(graph, some)

    def shift(walk: Walk) -> float:
        return float((scores_of(graph, some, walk) - wanted).abs().mean())

    layers = [node.name for node in calls(graph, CONV, LINEAR)]
    tensors = [n for n, one in quantised.ranges.items() if (one.low, one.high) != PICTURE]
    walks = [(name, "activation", Walk({name: quantised.ranges[name]})) for name in tensors]
    walks += [
        (name, "weights", Walk(rounds_weights=True, spared=frozenset(layers) - {name}))
        for name in layers
    ]
    shown = track(walks, "places", len(walks), "places")
    found = [Place(name, kind, shift(walk)) for name, kind, walk in shown]
    return sorted(found, key=lambda one: one.shift, reverse=True)


def table_of(found: Sensitivity) -> str:
    """The remedies as a Markdown table, the drop with its interval a split."""
    splits = list(found.remedies[0].verdicts)
    head = ["recipe", *(f"{split}: drop [95 %]" for split in splits)]
    head += [f"{split}: scores moved" for split in splits]
    rows = [[one.name, *_drops(one, splits), *_shifts(one, splits)] for one in found.remedies]
    return _markdown([head, ["---"] * len(head), *rows])


def places_table(found: Sensitivity) -> str:
    rows = [[one.name, one.kind, f"{one.shift:.4f}"] for one in found.places[:SHOWN]]
    return _markdown([["rounded alone", "what", "scores moved"], ["---"] * 3, *rows])


def _verdicts(
    found: Quantised,
    shown: dict[str, tuple[LabelSet, Tensor]],
    before: dict[str, Tensor],
) -> dict[str, Verdict]:
    return {
        name: decide(
            before[name].numpy().astype(float),
            scores_of(found.module, seen, found.walk).numpy().astype(float),
            part.scores, part.identities, GuardPolicy(),
        )
        for name, (part, seen) in shown.items()
    }  # fmt: skip


def _drops(one: Remedy, splits: list[str]) -> list[str]:
    drops = [one.verdicts[split].drop for split in splits]
    return [f"{d.value:.4f} [{d.low:.4f}, {d.high:.4f}]" if d else "none" for d in drops]


def _shifts(one: Remedy, splits: list[str]) -> list[str]:
    shifts = [one.verdicts[split].shift for split in splits]
    return [f"{s.mean_absolute:.4f}" if s else "none" for s in shifts]


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _write(out: Path, found: Sensitivity, draw_bars: Callable[..., None]) -> cli.Outcome:
    with writing_folder(out) as folder:
        write_json(folder / DOCUMENT, to_plain(found))
        text = f"{table_of(found)}\n{places_table(found)}"
        write_bytes(folder / "sensitivity.md", text.encode())
        bars = [(f"{one.name} ({one.kind})", one.shift) for one in found.places[:SHOWN]]
        draw_bars(folder / "sensitivity.png", bars, "mean shift of scores, rounded alone")
    return cli.Outcome(f"{text}\nwrote {out}", {"sensitivity": to_plain(found), "out": str(out)})


if __name__ == "__main__":
    raise SystemExit(main())

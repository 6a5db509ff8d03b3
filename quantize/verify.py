"""The verdict on any pair of models: may the quantised one take the float one's place?

    python -m quantize.verify float.tflite int8.tflite --data val.csv
    python -m quantize.verify runs/student foreign_int8.onnx --quantised-preprocess spec.json \\
        --data faces.csv --max-drop 0.01

Judges each split alone: val and val_ood where the set has them, else all but train. Pass needs
the whole 95 % interval of the drop of (SRCC + PLCC) / 2 within --max-drop. A set without scores
is judged by agreement with the float model. Exit 1 unless every split passes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fiqa import cli
from fiqa.engines import RUNTIMES
from fiqa.labels import LabelSet, read_labels
from fiqa.records import to_plain
from fiqa.score import read_spec
from fiqa.vectors import Floats
from quantize.guard import GuardPolicy, Verdict, decide
from train.any_model import AnyModel, open_model
from train.evaluation import judged_splits


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("float_model", type=Path, help="a checkpoint folder, a .tflite or a .onnx file")
    add("quantised_model", type=Path, help="the same, quantised")
    add("--data", type=Path, required=True, help="label set, or pictures without scores")
    add("--root", type=Path, help="the folder that picture names refer to")
    add("--split", nargs="+", help="splits to judge (default: val and val_ood, or all but train)")
    add("--max-drop", type=float, default=GuardPolicy().max_drop, help="budget (%(default)s)")
    add("--preprocess", type=Path, help="JSON of a foreign float model's contract")
    add("--quantised-preprocess", type=Path, help="the same for the quantised model")
    add("--runtime", choices=("auto", *RUNTIMES), default="auto", help="for artifacts")
    return cli.run(parser, _verify, argv)


def _verify(args: Namespace) -> cli.Outcome:
    before = _open(args.float_model, args.preprocess, args.runtime)
    after = _open(args.quantised_model, args.quantised_preprocess, args.runtime)
    labels = read_labels(args.data, root=args.root, scored=False)
    threshold = before.manifest.score.threshold if before.manifest else None
    verdicts = judge(
        before.score, after.score, labels, GuardPolicy(args.max_drop, threshold), args.split
    )
    document = {
        "float": to_plain(before.facts),
        "quantised": to_plain(after.facts),
        "data": to_plain(labels.record("verification")),
        "verdicts": {split: to_plain(one) for split, one in verdicts.items()},
    }
    ok = all(one.ok for one in verdicts.values())
    return cli.Outcome(describe(verdicts), document, ok)


def judge(
    before: Callable[[LabelSet], Floats],
    after: Callable[[LabelSet], Floats],
    labels: LabelSet,
    policy: GuardPolicy,
    splits: Sequence[str] | None = None,
) -> dict[str, Verdict]:
    """A verdict a split, by name, from what gives the scores of a set before and after."""
    return {
        name: decide(before(part), after(part), _scores(part), part.identities, policy)
        for name, part in judged_splits(labels, splits).items()
    }


def describe(verdicts: Mapping[str, Verdict]) -> str:
    """A few lines a split."""
    return "\n".join(line for split, one in verdicts.items() for line in _lines(split, one))


def _lines(split: str, one: Verdict) -> list[str]:
    units = f"{one.people} people" if one.people else "intervals over pictures"
    lines = [f"{split}: {one.status.upper()}, {one.reason} ({one.count} pictures, {units})"]
    if one.drop:
        name = "drop" if one.judged == "labels" else "disagreement"
        lines.append(
            f"  {name:14} {one.drop.value:+.4f} [{one.drop.low:+.4f}, {one.drop.high:+.4f}]"
        )
    if one.before and one.after:
        lines.append(
            f"  SRCC, PLCC     {one.before.srcc:.4f}, {one.before.plcc:.4f} -> "
            f"{one.after.srcc:.4f}, {one.after.plcc:.4f}"
        )
    if one.shift:
        moved = one.shift
        lines.append(
            f"  scores moved   {moved.mean_absolute:.4f} on average "
            f"({moved.mean_signed:+.4f} signed), {moved.largest:.4f} at most"
        )
        if moved.flip_share is not None:
            lines.append(
                f"  decisions      {100 * moved.flip_share:.1f} % flip at {moved.threshold:.3f}"
            )
    if one.pictures_needed:
        lines.append(f"  about {one.pictures_needed} pictures would decide")
    return lines


def _scores(labels: LabelSet) -> np.ndarray | None:
    return None if np.isnan(labels.scores).any() else labels.scores


def _open(path: Path, contract: Path | None, runtime: str) -> AnyModel:
    return open_model(path, runtime=runtime, preprocess=read_spec(contract) if contract else None)


if __name__ == "__main__":
    raise SystemExit(main())

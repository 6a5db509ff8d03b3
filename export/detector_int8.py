"""Would the face detector's boxes hold in INT8? The packaged detector beside 8-bit copies of it.

    python -m export.detector_int8 --pictures DIR --out results/detector_int8.json

Two copies are made, calibrated on some of the pictures: one with every tensor in 8 bits, one
whose heads, the last convolutions of each box and certainty, stay in float. On 200 other pictures
each box is held against the float detector's. Exit 1: with neither copy do 99 % of the boxes keep
an overlap (intersection / union) of 0.95; no model is written in any case.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiqa import cli
from fiqa.contract import Bytes, load_picture
from fiqa.detector import Detection, Detector, intersection_over_union, looks, packaged_model
from fiqa.engines import open_engine
from fiqa.errors import InputError
from fiqa.files import refuse_existing, write_json
from fiqa.label_files import PICTURE_ENDINGS
from fiqa.manifest import manifest_in, split_artifact, tool_versions, write_artifact
from fiqa.progress import Progress
from quantize.ai_edge import Recipe, all_in_integers, quantise_by_use
from quantize.flatbuffer import op_name, read_model, tensor_name

COMPARED, CALIBRATED = 200, 40
LEAST_OVERLAP, LEAST_SHARE = 0.95, 0.99
HEAD_CHANNELS = (1, 4)  # of the last convolutions: a certainty, a box
INTEGER_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("--pictures", type=Path, required=True, help="folder with a face a picture")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, _run, argv)


def _run(args: Namespace) -> cli.Outcome:
    refuse_existing(args.out, args.overwrite)
    compared, calibration = _choose(args.pictures)
    data = packaged_model().read_bytes()
    body, _ = split_artifact(data, packaged_model().name)
    found = {}
    reals = [one[None].astype(np.float32) for one in calibration]
    progress = Progress("comparing", 2 * len(compared))
    for name, recipe in {
        "all in INT8": all_in_integers(),
        "heads in float": _all_but_heads(body),
    }.items():
        copy = quantise_by_use(body, recipe, reals)
        found[name] = _compare(_open(copy, data), compared, progress) | {"size_bytes": len(copy)}
    progress.finish()
    ok = any(one["share"] >= LEAST_SHARE for one in found.values())
    document = {
        "pictures": len(compared), "least_overlap": LEAST_OVERLAP, "least_share": LEAST_SHARE,
        "copies": found, "holds": ok, "float_size_bytes": len(body),
        "tools": tool_versions("ai-edge-litert", "ai-edge-quantizer"),
    }  # fmt: skip
    write_json(args.out, document)
    lines = [
        f"{name}: {one['share']:.1%} of {one['boxes']} boxes overlap by {LEAST_OVERLAP:g} or more, "
        f"the least by {one['least']:.3f}"
        for name, one in found.items()
    ]
    return cli.Outcome("\n".join([*lines, f"wrote {args.out}"]), document, ok)


def _choose(folder: Path) -> tuple[list[Bytes], list[Bytes]]:
    """Padded pictures to compare, and others for the ranges; both spread evenly."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    if len(paths) < COMPARED + CALIBRATED:
        raise InputError(
            f"{folder} holds {len(paths)} pictures",
            expected=f"at least {COMPARED + CALIBRATED}",
            fix="name a folder with more portraits",
        )
    places = set(np.linspace(0, len(paths) - 1, COMPARED).astype(int).tolist())
    others = [path for number, path in enumerate(paths) if number not in places]
    step = len(others) // CALIBRATED
    compared = [_padded(paths[place]) for place in sorted(places)]
    return compared, [_padded(path) for path in others[::step][:CALIBRATED]]


def _padded(path: Path) -> Bytes:
    """As the detector is first shown a picture: whole, in the square, black beside it."""
    return next(looks(load_picture(path))).pixels


def _all_but_heads(body: bytes) -> Recipe:
    model = read_model(body)
    graph = model.subgraphs[0]
    recipe = [dict(all_in_integers()[0], operation=operation) for operation in INTEGER_OPS]
    for operator in graph.operators:
        output = graph.tensors[operator.outputs[0]]
        kind = op_name(model, operator)
        if "CONV" in kind and output.shape[-1] in HEAD_CHANNELS:
            only = {"regex": re.escape(tensor_name(output)), "operation": kind}
            recipe.append(only | {"algorithm_key": "no_quantize", "op_config": {}})
    return recipe


def _open(copy: bytes, original: bytes) -> Detector:
    engine = open_engine(copy, "tflite", "auto", 1, "the 8-bit copy")
    manifest = dataclasses.replace(
        manifest_in(original, packaged_model()), inputs=(engine.input,), outputs=(engine.output,)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.tflite"
        write_artifact(path, copy, manifest)
        return Detector(path)


def _compare(copy: Detector, pictures: list[Bytes], progress: Progress) -> dict[str, Any]:
    """Overlaps of the float detector's boxes with the copy's; 0 where the counts differ."""
    original = Detector()
    overlaps: list[float] = []
    for picture in pictures:
        overlaps += _overlaps(original.find(picture), copy.find(picture))
        progress.advance(1)
    if not overlaps:
        raise InputError(
            f"no face is found in any of {len(pictures)} pictures",
            expected="portraits, with a face a picture",
            fix="name another folder with --pictures",
        )
    found = np.array(overlaps)
    return {
        "boxes": len(found),
        "share": float(np.mean(found >= LEAST_OVERLAP)),
        "median": float(np.median(found)),
        "least": float(found.min()),
    }


def _overlaps(wanted: list[Detection], found: list[Detection]) -> list[float]:
    """One a wanted box, or 0 for a box too many: a picture without faces has none."""
    if len(wanted) != len(found):
        return [0.0] * max(len(wanted), 1)
    return [max(intersection_over_union(a.box, b.box) for b in found) for a in wanted]


if __name__ == "__main__":
    raise SystemExit(main())

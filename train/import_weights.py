"""Turn another project's trained weights into a checkpoint, to be exported and quantised here.

    python -m train.import_weights student.pt --preset efficient_fiqa_student --out runs/foreign
    python -m train.import_weights model.safetensors --backbone mobilenetv3_small_100 --size 224 \\
        --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --value-range 1 --filter bilinear \\
        --score-range 0 100 --out runs/foreign

How the weights want their pictures cannot be read from them, so it is asked for and not guessed.
--mean and --std are per channel, in --color-order, and apply to bytes divided by 255 with
--value-range 1 (torchvision's ToTensor), to bytes as they are with --value-range 255.
--score-range names the worst and the best score; both are folded into the head so that scores
become 0..1. `100 0` turns a scale round. Where a photo is not square its centre square is read,
then resized. A .pt or .pth is read with weights_only: nothing in it runs.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fiqa import cli
from fiqa.contract import FILTERS, PreprocessSpec
from fiqa.errors import InputError, OutputError
from fiqa.files import refuse_foreign, sha256_file, writing_folder
from fiqa.manifest import SIDECAR, WEIGHTS, Check, Manifest, tool_versions
from train.checkpoint import save_checkpoint
from train.foreign_weights import Found, fill
from train.network import Cost, QualityNet, cost_of
from train.weight_files import read_tensors

logger = logging.getLogger(__name__)

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
UNSEEN_OUTPUT = (
    "weights do not tell whether the original ends in a sigmoid or the like: "
    "compare a few scores with the original program's"
)


@dataclass(frozen=True)
class Foreign:
    """All that must be known of a foreign model besides its weights.

    `mean` and `std` apply to pictures whose white is `value_range`; `score_range` is
    (worst, best).
    """

    backbone: str
    size: int
    mean: Triple
    std: Triple
    value_range: int
    filter: str
    score_range: tuple[float, float]

    def __post_init__(self) -> None:
        worst, best = self.score_range
        if not all(map(math.isfinite, (*self.mean, *self.std, worst, best))) or worst == best:
            raise ValueError("--mean, --std and two different scores must be finite numbers")
        if self.value_range == 1 and max(self.mean) > 1:
            raise ValueError(f"--mean {self.mean} lies outside --value-range 1; is it 255?")
        if self.value_range == 255 and min(self.std) < 1:
            raise ValueError(f"--std {self.std} is below one byte in --value-range 255; is it 1?")

    def preprocess(self, color_order: str) -> PreprocessSpec:
        """The contract, whose mean and std are in bytes."""
        return PreprocessSpec(
            size=self.size,
            filter=self.filter,  # type: ignore[arg-type]  # argparse checked it
            color_order=color_order,  # type: ignore[arg-type]
            mean=self._in_bytes(self.mean),
            std=self._in_bytes(self.std),
        )

    def _in_bytes(self, values: Triple) -> Triple:
        first, second, third = (value * 255 / self.value_range for value in values)
        return first, second, third


# Efficient-FIQA reads its features before EdgeNeXt's own head, hence without its norm; the
# other values are those of its test program.
PRESETS = {
    "efficient_fiqa_student": Foreign(
        "edgenext_xx_small.no_head_norm", 352, IMAGENET_MEAN, IMAGENET_STD, 1, "bilinear", (0, 1)
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("weights", type=Path, help="a .safetensors, .pt or .pth file")
    parser.add_argument("--preset", choices=PRESETS, help="all that follows up to --score-range, "
                        "for a known model; flags beside it win")  # fmt: skip
    parser.add_argument("--backbone", help="timm name, or timm name.no_head_norm")
    parser.add_argument("--size", type=int, help="side of the square input, in pixels")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("C1", "C2", "C3"))
    parser.add_argument("--std", type=float, nargs=3, metavar=("C1", "C2", "C3"))
    parser.add_argument("--value-range", type=int, choices=(1, 255), help="white, in their units")
    parser.add_argument("--filter", choices=FILTERS, help="how pictures were resized")
    parser.add_argument("--score-range", type=float, nargs=2, metavar=("WORST", "BEST"))
    parser.add_argument("--color-order", choices=("RGB", "BGR"), default="RGB")
    parser.add_argument("--part", help="which state dict, where a .pt holds several, e.g. ema")
    parser.add_argument("--linear-head", action="store_true", help="between the layers of the "
                        "head stands dropout or nothing")  # fmt: skip
    parser.add_argument("--licence", default="not stated", help="licence of the weights")
    parser.add_argument("--out", type=Path, help="checkpoint folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing checkpoint")
    return cli.run(parser, _import, argv)


def _import(args: Namespace) -> cli.Outcome:
    foreign = _foreign(args)
    spec = _spec(foreign, args.color_order)
    _check_out(args.out, args.overwrite)
    tensors = read_tensors(args.weights, args.part)
    network = QualityNet(foreign.backbone, foreign.size).eval()
    found = fill(network, tensors, args.weights.name, foreign.score_range, args.linear_head)
    cost = cost_of(network, foreign.size)
    _check_scores(network, spec, args.weights)
    manifest = Manifest(
        kind="checkpoint",
        model=network.name,
        sha256="",
        preprocess=spec,
        recipe=_recipe(args, foreign, found),
        checks=(Check("foreign_output", "unchecked", UNSEEN_OUTPUT),),
        tools=tool_versions("torch", "timm"),
        licence=args.licence,
    )
    with writing_folder(args.out) as folder:
        manifest = save_checkpoint(folder, network.state_dict(), manifest)
    return _outcome(args.out, manifest, cost, found)


def _foreign(args: Namespace) -> Foreign:
    """The flags, or the preset where a flag is left out; what neither says is asked for."""
    preset = dataclasses.asdict(PRESETS[args.preset]) if args.preset else {}
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Foreign):
        given = getattr(args, field.name)
        values[field.name] = preset.get(field.name) if given is None else given
    missing = [name for name in (*values, "out") if values.get(name, args.out) is None]
    if missing:
        flags = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise InputError(
            f"not said, and not to be guessed: {flags}",
            expected="how the model was trained: its network, pictures and scores",
            fix="read its test program, or its authors' notes; --help says what each flag means",
        )
    for name in ("mean", "std", "score_range"):
        values[name] = tuple(values[name])
    try:
        return Foreign(**values)
    except ValueError as error:
        raise InputError(str(error), expected="values that agree", fix="see --help") from error


def _spec(foreign: Foreign, color_order: str) -> PreprocessSpec:
    try:
        return foreign.preprocess(color_order)
    except ValueError as error:
        raise InputError(str(error), expected="a valid PreprocessSpec") from error


def _check_out(folder: Path, overwrite: bool) -> None:
    """--overwrite replaces an imported checkpoint, never a training run or a folder of files."""
    refuse_foreign(folder, overwrite, SIDECAR)
    others = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name not in (WEIGHTS, SIDECAR)
    )
    if others:
        raise OutputError(
            f"{folder} holds more than a checkpoint: {', '.join(others[:3])}",
            expected="a folder with nothing else in it to replace",
            fix="choose another --out",
        )


def _check_scores(network: QualityNet, spec: PreprocessSpec, source: Path) -> None:
    """Black, grey and white must give finite scores; fp16 weights or a wrong std may not."""
    pixels = torch.tensor([0.0, 128.0, 255.0]).view(3, 1, 1, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    pictures = ((pixels - mean) / std).expand(3, 3, spec.size, spec.size)
    with torch.no_grad():
        scores = network(pictures)
    if not bool(torch.isfinite(scores).all()):
        raise InputError(
            f"{source} gives no finite scores", expected="weights that score", fix="check --std"
        )


def _recipe(args: Namespace, foreign: Foreign, found: Found) -> dict[str, Any]:
    return {
        "imported_from": args.weights.name,
        "source_sha256": sha256_file(args.weights),
        "preset": args.preset,
        "part": args.part,
        "backbone_prefix": found.prefix,
        "head_layers_folded": list(found.head),
        "score_range_folded": list(foreign.score_range),
        "linear_head_declared": args.linear_head,
    }


def _outcome(out: Path, manifest: Manifest, cost: Cost, found: Found) -> cli.Outcome:
    logger.info("note: %s", UNSEEN_OUTPUT)
    return cli.Outcome(
        f"{manifest.model}: {cost}\nhead: {' and '.join(found.head)}\nwrote {out}",
        {
            "checkpoint": str(out),
            "sha256": manifest.sha256,
            "model": manifest.model,
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "recipe": manifest.recipe,
        },
    )


if __name__ == "__main__":
    raise SystemExit(main())

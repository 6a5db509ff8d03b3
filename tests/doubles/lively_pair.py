"""A MobileNetV3-small with made-up weights in float and in INT8, to count instructions with.

python -m tests.doubles.lively_pair build/pair      float.tflite and int8.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from export.format import float_tensors
from fiqa.contract import PreprocessSpec
from fiqa.manifest import Manifest, write_artifact
from quantize.convert import to_tflite
from quantize.deployable import make_deployable
from tests.doubles.int8_models import write_int8
from tests.doubles.lively_networks import make_lively
from tests.doubles.photos import portrait
from train.network import QualityNet

SIZE, PICTURES = 224, 16


def write_pair(folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = make_lively(QualityNet("mobilenetv3_small_100", SIZE), SIZE).eval()
    deployable = make_deployable(network, PreprocessSpec(size=SIZE), 1)
    body = to_tflite(deployable)
    picture, score = float_tensors(body, deployable)
    manifest = Manifest("tflite", "m", "", deployable.spec, inputs=(picture,), outputs=(score,))
    write_artifact(folder / "float.tflite", body, manifest)
    faces = np.stack([portrait(number % 8, SIZE) for number in range(PICTURES)])
    source = folder / "float.tflite"
    return source, write_int8(folder / "int8.tflite", source, faces, keep_means=True)


if __name__ == "__main__":
    print(*write_pair(Path(sys.argv[1])))

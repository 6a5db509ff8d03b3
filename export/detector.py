"""The face detector: YuNet's ONNX file as the .tflite that host, board and phone share.

    python -m export.detector yunet_n_dynamic.onnx --out models/yunet.tflite --overwrite

The graph is rebuilt from the ONNX file's own nodes for pictures of a fixed size. It takes RGB
bytes as they are and gives one row a prior, which fiqa.detector decodes; landmarks are left out.
Before the file gets its name, its rows must be those of the ONNX file in onnxruntime. Exit 1:
they are not, and nothing is written.
"""

from __future__ import annotations

import dataclasses
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import GraphModule

from export.parity import parity_pictures
from fiqa import cli
from fiqa.contract import Bytes, PreprocessSpec
from fiqa.detector import PRIORS, SIZE, STRIDES, VALUES, Detector
from fiqa.errors import ArtifactError, MissingDependencyError
from fiqa.files import read_bytes, refuse_existing, require_file, require_writable, sha256_bytes
from fiqa.manifest import Check, Manifest, ScoreSpec, TensorSpec, tool_versions, write_artifact
from quantize.convert import to_tflite
from quantize.deployable import INPUT, Deployable
from quantize.flatbuffer import has_outside_buffers, read_model, rename_io, to_bytes
from quantize.onnx import load_onnxruntime

OUTPUT = "faces"
HEADS = ("cls", "obj", "bbox")  # the ONNX file's outputs: cls_8, cls_16, ... bbox_32
PARITY_BOUND = 1e-4  # in a row's own units; float32 sums in another order give 1e-6 to 1e-5
MODEL_FIX = "take yunet_n_dynamic.onnx of libfacedetection.train"
# Bytes as they are: the convolutions pad with zero, which then is black as in the original.
SPEC = PreprocessSpec(size=SIZE, margin=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("onnx", type=Path, help="yunet_n_dynamic.onnx")
    add("--out", type=Path, required=True, help=".tflite to write")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, _export, argv)


def _export(args: Namespace) -> cli.Outcome:
    require_file(args.onnx, "YuNet as an ONNX file", MODEL_FIX)
    refuse_existing(args.out, args.overwrite)
    require_writable(args.out)
    source = read_bytes(args.onnx)
    body = convert(_rebuild(_load(source, args.onnx)))
    manifest = _manifest(args.onnx.name, source)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "detector.tflite"
        write_artifact(draft, body, manifest)
        check = _prove(Detector(draft), source)
    value = "not a number" if check.value is None else f"{check.value:.2g}"
    line = f"{check.status}  {check.name}: {value} (at most {PARITY_BOUND:g})"
    if check.status == "failed":
        document: dict[str, Any] = {"artifact": None, "sha256": None, "difference": check.value}
        return cli.Outcome(f"{line}\n{args.out} was not written", document, ok=False)
    written = write_artifact(args.out, body, dataclasses.replace(manifest, checks=(check,)))
    document = {"artifact": str(args.out), "sha256": written.sha256, "difference": check.value}
    return cli.Outcome(f"{line}\nwrote {args.out}", document)


def _rebuild(graph: Any) -> GraphModule:
    try:
        return torch.fx.symbolic_trace(YuNet(graph).eval())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _not_yunet("YuNet's outputs, and other parts before them") from error


def convert(graph: GraphModule) -> bytes:
    """The network as a float .tflite, without manifest."""
    model = read_model(to_tflite(Deployable(graph, SPEC, 1, ())))
    rename_io(model, INPUT, OUTPUT)
    body = to_bytes(model)
    assert not has_outside_buffers(body)
    return body


class YuNet(nn.Module):
    """(1, SIZE, SIZE, 3) RGB bytes as float32 to (1, PRIORS, VALUES) rows.

    Replays the nodes of the ONNX graph up to the heads' last convolutions, and joins these.
    """

    def __init__(self, graph: Any) -> None:
        super().__init__()
        self._input = graph.input[0].name
        producers = {name: node for node in graph.node for name in node.output}
        self._heads = {
            name: _last_convolution(name, producers)
            for name in (f"{kind}_{stride}" for stride in STRIDES for kind in HEADS)
        }
        needed = _ancestors(self._heads.values(), producers)
        self._nodes = [node for node in graph.node if needed.intersection(node.output)]
        arrays = _arrays(graph)
        for node in self._nodes:
            for name in node.input[1:] if node.op_type == "Conv" else ():
                self.register_buffer(_plain(name), torch.tensor(arrays[name]))
        first = self.get_buffer(_plain(self._nodes[0].input[1]))
        first.copy_(first.flip(1))  # the original takes BGR

    def forward(self, picture: Tensor) -> Tensor:
        values = {self._input: picture.permute(0, 3, 1, 2)}
        for node in self._nodes:
            values[node.output[0]] = self._run(node, [values.get(name) for name in node.input])
        return torch.cat([self._rows(stride, values) for stride in STRIDES], 1)

    def _run(self, node: Any, inputs: list[Any]) -> Tensor:
        options = _attributes(node)
        match node.op_type:
            case "Conv":
                weight, bias = (self.get_buffer(_plain(name)) for name in node.input[1:])
                return functional.conv2d(
                    inputs[0], weight, bias, options["strides"], options["pads"][:2],
                    options["dilations"], options["group"],
                )  # fmt: skip
            case "Relu":
                return functional.relu(inputs[0])
            case "MaxPool":
                return functional.max_pool2d(inputs[0], options["kernel_shape"], options["strides"])
            case "Resize":  # twice the size, as the sum that follows it needs
                return functional.interpolate(inputs[0], scale_factor=2.0, mode="nearest")
            case "Add":
                return inputs[0] + inputs[1]
        raise _not_yunet(f"an operator {node.op_type}")

    def _rows(self, stride: int, values: dict[str, Tensor]) -> Tensor:
        """(1, priors of this stride, VALUES)."""
        maps = [values[self._heads[f"{kind}_{stride}"]] for kind in HEADS]
        certain = torch.sigmoid(torch.cat(maps[:2], 1))
        joined = torch.cat([certain, maps[2]], 1)
        return joined.permute(0, 2, 3, 1).reshape(1, -1, VALUES)


def _last_convolution(name: str, producers: dict[str, Any]) -> str:
    """The convolution's output that a head's output is only a new shape of."""
    while producers[name].op_type != "Conv":
        name = producers[name].input[0]
    return name


def _ancestors(names: Iterable[str], producers: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in producers and name not in found:
            found.add(name)
            node = producers[name]
            waiting += node.input[:1] if node.op_type == "Resize" else node.input
    return found


def _load(data: bytes, path: Path) -> Any:
    """The ONNX graph, after a look at whether it is YuNet."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError.of("onnx", error, "onnx, which reads .onnx files") from error
    try:
        graph = onnx.load_model_from_string(data).graph
    except Exception as error:  # protobuf raises classes of its own
        raise ArtifactError(
            f"{path} cannot be read: {error}", expected="a whole ONNX file", fix=MODEL_FIX
        ) from error
    wanted = {f"{kind}_{stride}" for kind in HEADS for stride in STRIDES}
    if missing := sorted(wanted - {output.name for output in graph.output}):
        raise _not_yunet(f"no output {missing[0]}")
    return graph


def _arrays(graph: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _plain(name: str) -> str:
    """A tensor's name as a buffer's: without dots, and never a number."""
    return "t_" + name.replace(".", "_")


def _prove(detector: Detector, source: bytes) -> Check:
    """The rows of the file in TFLite against those of its source in onnxruntime."""
    pictures = parity_pictures(None, SPEC)
    original = OnnxRows(source)
    worst = max(float(np.abs(detector.rows(one) - original(one)).max()) for one in pictures)
    return Check(
        "rows equal those of the ONNX file in onnxruntime",
        "passed" if worst <= PARITY_BOUND else "failed",  # NaN is above any bound
        f"largest difference over {len(pictures)} pictures",
        worst if np.isfinite(worst) else None,
        PARITY_BOUND,
    )


class OnnxRows:
    """What the ONNX file itself gives for (SIZE, SIZE, 3) RGB bytes, in the order of our rows."""

    def __init__(self, source: bytes) -> None:
        onnxruntime = load_onnxruntime()
        self._session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        self._names = [f"{kind}_{stride}" for stride in STRIDES for kind in HEADS]

    def __call__(self, picture: Bytes) -> NDArray[np.float64]:
        bgr = picture[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        inputs = {self._session.get_inputs()[0].name: bgr}
        found = iter(self._session.run(self._names, inputs))
        parts = [np.concatenate([next(found) for _ in HEADS], axis=2) for _ in STRIDES]
        return np.asarray(np.concatenate(parts, axis=1)[0], np.float64)


def _manifest(name: str, source: bytes) -> Manifest:
    return Manifest(
        kind="tflite",
        model="yunet",
        sha256="",
        preprocess=SPEC,
        parent_sha256=sha256_bytes(source),
        inputs=(TensorSpec(INPUT, (1, SIZE, SIZE, 3), "float32", "NHWC"),),
        outputs=(TensorSpec(OUTPUT, (1, PRIORS, VALUES), "float32", "N1"),),
        score=ScoreSpec(meaning="one row a prior: class, objectness, x, y, log width, log height"),
        recipe={"precision": "fp32", "source": name, "strides": list(STRIDES)},
        tools=tool_versions("torch", "litert-torch", "ai-edge-litert", "onnx", "onnxruntime"),
        licence="Apache-2.0",
    )


def _not_yunet(found: str) -> ArtifactError:
    return ArtifactError(
        f"the ONNX graph has {found}", expected="YuNet as published in 2023", fix=MODEL_FIX
    )


if __name__ == "__main__":
    raise SystemExit(main())

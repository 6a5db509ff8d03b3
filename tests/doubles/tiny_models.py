"""Tiny real artifacts for tests: sigmoid(a . mean colour + b), built by hand, not exported."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fiqa.contract import PreprocessSpec
from fiqa.manifest import Manifest, ScoreSpec, write_artifact

WEIGHTS = np.array([[0.02, 0.01, -0.005]], np.float32)
BIAS = np.array([0.25], np.float32)
SIZE = 16
SPEC = PreprocessSpec(size=SIZE, std=(1.0, 1.0, 1.0))  # the normalisation is folded


def expected_score(data: np.ndarray) -> np.ndarray:
    """What the tiny models compute, in float64: (N, S, S, 3) bytes to N scores."""
    mean = data.reshape(len(data), -1, 3).mean(axis=1) - 128.0
    return 1 / (1 + np.exp(-(mean @ WEIGHTS[0].astype(float) + float(BIAS[0]))))


def manifest(kind: Any, **changes: Any) -> Manifest:
    return dataclasses.replace(
        Manifest(kind=kind, model="tiny", sha256="", preprocess=SPEC, score=ScoreSpec()), **changes
    )


def write_tflite(
    path: Path, dtype: str = "float32", batch: int = 1, sign: int = 1, **changes: Any
) -> Path:
    write_artifact(path, tflite_body(dtype, batch, sign), manifest("tflite", **changes))
    return path


def write_onnx(path: Path, **changes: Any) -> Path:
    write_artifact(path, onnx_body(), manifest("onnx", **changes))
    return path


def tflite_body(dtype: str = "float32", batch: int = 1, sign: int = 1) -> bytes:
    """MEAN, FULLY_CONNECTED, LOGISTIC; integer inputs go through one DEQUANTIZE.

    `batch` -1: any number of pictures.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as fb

    model, graph = fb.ModelT(), fb.SubGraphT()
    model.version, model.description = 3, "tiny"
    model.buffers, model.operatorCodes = [fb.BufferT()], []
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: list[int], kind: int, data: np.ndarray | None = None) -> int:
        item = fb.TensorT()
        item.name, item.shape, item.type, item.buffer = name, list(map(abs, shape)), kind, 0
        if -1 in shape:
            item.shapeSignature = shape
        if data is not None:
            buffer = fb.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            item.buffer = len(model.buffers) - 1
        graph.tensors.append(item)
        return len(graph.tensors) - 1

    def operator(code: int, version: int, inputs: list[int], output: int, options: Any) -> None:
        kind = fb.OperatorCodeT()
        kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), version
        model.operatorCodes.append(kind)
        item = fb.OperatorT()
        item.opcodeIndex = len(model.operatorCodes) - 1
        item.inputs, item.outputs = inputs, [output]
        if options is not None:
            item.builtinOptionsType, item.builtinOptions = options
        graph.operators.append(item)

    real, op = fb.TensorType.FLOAT32, fb.BuiltinOperator
    kinds = {"float32": real, "uint8": fb.TensorType.UINT8, "int8": fb.TensorType.INT8}
    picture = [batch, SIZE, SIZE, 3]
    source = tensor("picture", picture, kinds[dtype])
    reals = source
    if dtype != "float32":
        quantisation = fb.QuantizationParametersT()
        quantisation.scale = [1.0]
        quantisation.zeroPoint = [128 if dtype == "uint8" else 0]
        graph.tensors[source].quantization = quantisation
        reals = tensor("reals", picture, real)
        operator(op.DEQUANTIZE, 2, [source], reals, None)
    axes = tensor("axes", [2], fb.TensorType.INT32, np.array([1, 2], np.int32))
    means = tensor("means", [batch, 3], real)
    operator(
        op.MEAN, 1, [reals, axes], means, (fb.BuiltinOptions.ReducerOptions, fb.ReducerOptionsT())
    )
    weights, bias = tensor("weights", [1, 3], real, sign * WEIGHTS), tensor("bias", [1], real, BIAS)
    logit, score = tensor("logit", [batch, 1], real), tensor("score", [batch, 1], real)
    dense = (fb.BuiltinOptions.FullyConnectedOptions, fb.FullyConnectedOptionsT())
    operator(op.FULLY_CONNECTED, 1, [means, weights, bias], logit, dense)
    operator(op.LOGISTIC, 1, [logit], score, None)
    graph.inputs, graph.outputs = [source], [score]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def onnx_body() -> bytes:
    """The same in ONNX: NHWC float32 of any batch."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["picture", "axes"], ["means"], keepdims=0),
            helper.make_node("Gemm", ["means", "weights", "bias"], ["logit"], transB=1),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(BIAS, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())

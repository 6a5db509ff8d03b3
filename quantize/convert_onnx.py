"""Deployable graph to float .onnx: the one module that knows torch's exporter and onnxsim."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fiqa.errors import MissingDependencyError
from quantize.convert import conversion_error
from quantize.deployable import INPUT, OUTPUT, Deployable
from quantize.muted import muted

OPSET = 18  # the first with every operation our students need; older runtimes read it too


def to_onnx(deployable: Deployable) -> bytes:
    """The graph as a float32 model, its input named image and its output score."""
    with muted():
        onnxsim = _load()
        try:
            program = torch.onnx.export(
                deployable.module, (deployable.example,), dynamo=True, opset_version=OPSET,
                input_names=[INPUT], output_names=[OUTPUT], verbose=False,
            )  # fmt: skip
            assert program is not None  # as no file was named
            model, is_same = onnxsim.simplify(program.model_proto)
        except Exception as error:  # the exporter raises whatever its parts raise
            raise conversion_error("torch.onnx", error) from error
    if not is_same:
        raise conversion_error("onnxsim", ValueError("the simplified model gives other scores"))
    del model.metadata_props[:]  # how and where it was traced
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return _bytes(model)


def store_as_fp16(data: bytes) -> bytes:
    """Weights stored as float16 and widened when the model is loaded, as in TFLite.

    Biases stay float32: they are small, and all of their error would reach the sum.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(data)
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return _bytes(model)


def _bytes(model: Any) -> bytes:
    import onnx

    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _load() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import onnxsim
    except ImportError as error:
        expected = "onnx, onnxscript and onnxsim"
        raise MissingDependencyError.of(error.name or "onnx", error, expected) from error
    return onnxsim

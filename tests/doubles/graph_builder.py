"""Build .tflite graphs op by op, for tests that need a certain operator, shape or type."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as fb

TYPES = {
    "float32": fb.TensorType.FLOAT32,
    "float16": fb.TensorType.FLOAT16,
    "int8": fb.TensorType.INT8,
    "uint8": fb.TensorType.UINT8,
    "int16": fb.TensorType.INT16,
    "int32": fb.TensorType.INT32,
}
SCALE, ZERO_POINT = 0.05, 3


class GraphBuilder:
    """Tensors and operators are named and numbered in the order they are added."""

    def __init__(self) -> None:
        self.model, self.graph = fb.ModelT(), fb.SubGraphT()
        self.model.version, self.model.buffers = 3, [fb.BufferT()]
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self, name: str, shape: list[int], dtype: str = "float32", scale: float | None = None
    ) -> int:
        """Integer activations get a scale; `scale` 0 leaves it off."""
        item = fb.TensorT()
        item.name, item.shape, item.type, item.buffer = name, shape, TYPES[dtype], 0
        if dtype in ("int8", "uint8", "int16") and scale != 0:
            item.quantization = fb.QuantizationParametersT()
            item.quantization.scale = [scale or SCALE]
            item.quantization.zeroPoint = [0 if dtype == "int16" or scale else ZERO_POINT]
        self.graph.tensors.append(item)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: np.ndarray, scale: float | None = None) -> int:
        index = self.tensor(name, list(values.shape), values.dtype.name, scale)
        buffer = fb.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.model.buffers) - 1
        if values.dtype == np.int32 and scale:
            self.graph.tensors[index].quantization = fb.QuantizationParametersT()
            self.graph.tensors[index].quantization.scale = [scale]
            self.graph.tensors[index].quantization.zeroPoint = [0]
        return index

    def op(
        self, name: str, inputs: list[int], output: int, version: int = 1, **options: Any
    ) -> None:
        """`options` are fields of the operator's options table; `table` names that table."""
        kind = fb.OperatorCodeT()
        kind.builtinCode = getattr(fb.BuiltinOperator, name)
        kind.deprecatedBuiltinCode, kind.version = min(kind.builtinCode, 127), version
        self.model.operatorCodes.append(kind)
        item = fb.OperatorT()
        item.opcodeIndex = len(self.model.operatorCodes) - 1
        item.inputs, item.outputs = inputs, [output]
        table = options.pop("table", None)
        if table is not None:
            item.builtinOptionsType = getattr(fb.BuiltinOptions, table)
            item.builtinOptions = getattr(fb, table + "T")()
            for field, value in options.items():
                setattr(item.builtinOptions, field, value)
        self.graph.operators.append(item)

    def signature(self, input_name: str, output_name: str) -> None:
        signature = fb.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = [fb.TensorMapT()], [fb.TensorMapT()]
        pairs = ((signature.inputs[0], input_name), (signature.outputs[0], output_name))
        for (entry, name), index in zip(
            pairs, (self.graph.inputs[0], self.graph.outputs[0]), strict=True
        ):
            entry.name, entry.tensorIndex = name, index
        self.model.signatureDefs = [signature]

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        return self.pack()

    def pack(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

"""Run a saved Core ML program on any machine, operation by operation in torch.

It proves graph, weights and attributes as they stand in the file. It does not prove the
hardware: weights stored as fp16 or integers are widened to float32, and every sum is float32,
while a Neural Engine adds up in fp16. What this differs from a Mac by is for a Mac to tell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiqa.contract import Bytes
from fiqa.errors import ArtifactError, InputError
from quantize.mil_arguments import Arguments, Result, Value
from quantize.mil_operations import OPERATIONS
from quantize.mil_program import Constant, Operation, Program, read_program


class MilProgram:
    """A program ready to run; constants are computed once.

    >>> MilProgram.load(Path("student.mlpackage")).run(faces)
    """

    def __init__(self, program: Program) -> None:
        self._name, self._picture, self._output = program.name, program.picture, program.output
        self.size = program.size
        self._constants: dict[str, Value] = {}
        self._steps: list[Operation] = []
        for item in program.operations:
            if item.kind == "const":
                (value,) = item.arguments["val"]
                assert isinstance(value, Constant)
                self._constants[item.outputs[0]] = value.value
            elif item.kind.startswith("constexpr_"):
                self._keep(item, self._constants)
            elif item.kind in OPERATIONS:
                self._steps.append(item)
            else:
                raise self._unknown(item)

    @staticmethod
    def load(path: Path) -> MilProgram:
        """Read a .mlpackage; an operation that is not known here is an ArtifactError."""
        return MilProgram(read_program(path))

    def run(self, pictures: Bytes) -> NDArray[np.float64]:
        """(B, S, S, 3) RGB bytes to B scores. Core ML's image input takes one at a time."""
        wanted = (self.size, self.size, 3)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != wanted:
            raise InputError(
                f"pictures of shape {pictures.shape} and type {pictures.dtype}",
                expected=f"uint8 of shape (count, {self.size}, {self.size}, 3)",
            )
        return np.array([self._score(one) for one in pictures], np.float64)

    def _score(self, picture: Bytes) -> float:
        # Core ML hands over 0..255, channels first; scale and bias of its image type are
        # operations of the program.
        source = torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32))
        values = self._constants | {self._picture: source}
        with torch.inference_mode():
            for step in self._steps:
                self._keep(step, values)
        score = values[self._output]
        if not isinstance(score, Tensor) or score.numel() != 1:
            raise ArtifactError(
                f"{self._name} does not give one number a picture", expected="one score"
            )
        return float(score)

    def _keep(self, item: Operation, values: dict[str, Value]) -> None:
        """Compute the operation's outputs and add them to `values`."""
        if item.kind not in OPERATIONS:
            raise self._unknown(item)
        arguments = {
            key: [one.value if isinstance(one, Constant) else values[one] for one in found]
            for key, found in item.arguments.items()
        }
        try:
            result: Result = OPERATIONS[item.kind](Arguments(arguments))
        except (NotImplementedError, KeyError, IndexError, RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{self._name}: operation {item.kind} ({item.outputs[0]}) cannot be run: {error}",
                expected="arguments that the executor knows",
                fix="see quantize/mil_operations.py, or run the package on a Mac",
            ) from error
        outputs = result if isinstance(result, tuple) else (result,)
        values.update(zip(item.outputs, outputs, strict=True))

    def _unknown(self, item: Operation) -> ArtifactError:
        return ArtifactError(
            f"{self._name}: operation {item.kind} ({', '.join(item.outputs)}) is unknown",
            expected="only operations of quantize/mil_operations.py",
            fix=f"add {item.kind} there, or run the package on a Mac",
        )

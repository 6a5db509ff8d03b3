"""Which operators of a .tflite XNNPACK takes, and which stay with the slow built-in kernels.

After allocation LiteRT lists the file's own operators and, behind them, one node for each part
of the graph that the delegate took. Such a node names the tensors it reads and writes, not the
operators it replaced. These are found by walking from what it writes back to what it reads.

LiteRT runs in a process of its own, this file as a script: on a damaged model it may crash, or
ask for all the memory there is.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MEMORY_BYTES = 8 * 1024**3  # of addresses: libraries take 1 to 2, our models much less
TIMEOUT_S = 120
NOT_TAKEN = "not taken by XNNPACK"
SIXTEEN_BIT = "XNNPACK has no 16-bit integer kernels"
# Tried one by one with LiteRT 2.3. No type at all:
NO_KERNEL = frozenset({"POW", "FLOOR_DIV", "FLOOR_MOD", "L2_NORMALIZATION", "RELU_0_TO_1", "SIGN"})
# Float only:
NO_INTEGER_KERNEL = frozenset(
    {
        *("ABS", "BATCH_MATMUL", "DIV", "EXP", "GELU", "HARD_SWISH", "LOG", "MAXIMUM", "MINIMUM"),
        *("NEG", "RSQRT", "SOFTMAX", "SQRT", "SQUARED_DIFFERENCE"),
    }
)


@dataclass(frozen=True)
class Step:
    """An operator in execution order: its type, the type of its values, and its tensors.

    `weights` is the type of its constant weights, where it has any.
    """

    op: str
    dtype: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: str = ""


@dataclass(frozen=True)
class OutsideOp:
    """`count` operators of one type that run outside the delegate, and why they do."""

    op: str
    count: int
    why: str


@dataclass(frozen=True)
class Delegation:
    """`partitions` is None where nobody could look; `unchecked` then says why."""

    partitions: int | None
    outside: tuple[OutsideOp, ...] = ()
    unchecked: str = ""


def delegation_of(data: bytes, steps: Sequence[Step], outputs: Sequence[int]) -> Delegation:
    """Open the model in LiteRT, one thread, and see what its XNNPACK delegate leaves out."""
    # -P: the folder of this file holds modules that are named like foreign packages
    command = [sys.executable, "-P", __file__, str(len(steps))]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Delegation(None, unchecked=f"LiteRT did not open the model in {TIMEOUT_S} s")
    if done.returncode:
        return Delegation(None, unchecked=f"LiteRT died opening the model: {_end(done)}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        return Delegation(None, unchecked=answer["error"])
    outside = _left_out(steps, answer["parts"], outputs)
    return Delegation(len(answer["parts"]), _grouped([steps[index] for index in outside]))


def _end(done: subprocess.CompletedProcess[bytes]) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(-done.returncode).name
    lines = done.stderr.decode(errors="replace").splitlines() or [f"exit {done.returncode}"]
    return lines[-1][:200]


def _left_out(
    steps: Sequence[Step], parts: Sequence[dict[str, list[int]]], outputs: Sequence[int]
) -> list[int]:
    """Steps in no part. One whose result nobody reads leaves no trace in a part: not counted."""
    maker = {tensor: index for index, step in enumerate(steps) for tensor in step.outputs}
    read = {*outputs, *(tensor for step in steps for tensor in step.inputs)}
    taken: set[int] = set()
    for part in parts:
        borders, waiting = set(part["inputs"]), list(part["outputs"])
        while waiting:
            index = maker.get(waiting.pop())
            if index is not None and index not in taken:
                taken.add(index)
                waiting += [tensor for tensor in steps[index].inputs if tensor not in borders]
    return [
        index
        for index, step in enumerate(steps)
        if index not in taken and not read.isdisjoint(step.outputs)
    ]


def _grouped(steps: Sequence[Step]) -> tuple[OutsideOp, ...]:
    counts = Counter((step.op, why_outside(step.op, step.dtype, step.weights)) for step in steps)
    return tuple(OutsideOp(op, count, why) for (op, why), count in counts.most_common())


def why_outside(op: str, dtype: str, weights: str = "") -> str:
    """The reason as far as it is known."""
    if op == "DEPTHWISE_CONV_2D" and dtype == "float32" and weights == "int8":
        return f"{op} with 8-bit weights and float activations has no XNNPACK kernel"
    if op in NO_KERNEL:
        return f"{op} has no XNNPACK kernel"
    if dtype == "int16":
        return SIXTEEN_BIT
    if dtype in ("int8", "uint8") and op in NO_INTEGER_KERNEL:
        return f"{op} {dtype} has no XNNPACK kernel"
    return NOT_TAKEN


def _look(own_nodes: int) -> dict[str, Any]:
    """In the child: the delegate's nodes of the model on stdin, behind the file's own."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        return {"error": f"LiteRT's interpreter cannot be imported: {error}"}
    try:
        interpreter = Interpreter(model_content=sys.stdin.buffer.read(), num_threads=1)
        interpreter.allocate_tensors()
        nodes = interpreter._get_ops_details()[own_nodes:]
    except Exception as error:  # the wrapper raises what comes to hand
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return {"error": f"LiteRT does not open the model: {reason}"}
    return {
        "parts": [{side: node[side].tolist() for side in ("inputs", "outputs")} for node in nodes]
    }


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # where there is no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    _limit_memory()
    print(json.dumps(_look(int(sys.argv[1]))))

"""Facts about a model file: what runs in which arithmetic, how much of it, and where.

They are read from the file, not from the network it was made from, and so show what the
converters did: transposes left in, float islands, operators that fall out of the delegate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from quantize.delegation import OutsideOp, delegation_of
from quantize.graph_readers import (
    BIAS_PLACES,
    FLOATS,
    INTEGERS,
    WEIGHT_PLACES,
    Graph,
    read_onnx,
    read_tflite,
)

CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"})
TRANSPOSES = frozenset({"TRANSPOSE", "Transpose"})
MANY_OUTSIDE = 10  # operators that built-in kernels run, one thread and no SIMD
NO_DELEGATE = "XNNPACK partitions are counted in .tflite files only"
NO_SHAPES = "some shapes are not known before the run"


@dataclass(frozen=True)
class GraphFacts:
    """Of the main graph of one file, at a batch of one.

    An operator is float or integer by its activations: with 8-bit weights and float activations
    it is float, and so is everything between a dequantiser and a quantiser of an ONNX QDQ file,
    which onnxruntime may fuse. Operators on shapes and axes are neither.
    """

    size_bytes: int
    ops: dict[str, int]  # type: count, most frequent first
    float_ops: int
    integer_ops: int  # 16 bits or fewer
    conversion_ops: int  # between the two; counted in neither
    transposes: int
    parameters: int  # elements of weights and biases, each constant once, those of one left out
    multiply_adds: int | None  # of convolutions and matrix products
    # The most that activations hold at once: over all operators in their order, the bytes of its
    # inputs and outputs and of what later ones read; the input counts until it was last read.
    # Nothing is computed in place, and values made from constants alone do not count.
    peak_activation_bytes: int | None
    partitions: int | None  # parts of the graph that run in XNNPACK
    outside: tuple[OutsideOp, ...] = ()  # what XNNPACK leaves to the built-in kernels
    unchecked: dict[str, str] = field(default_factory=dict)  # why a field is None

    @property
    def fully_delegated(self) -> bool | None:
        """One partition and nothing outside; None where nobody could look."""
        return None if self.partitions is None else self.partitions == 1 and not self.outside


def tflite_facts(data: bytes) -> GraphFacts:
    """Facts of a .tflite, with what LiteRT's XNNPACK delegate makes of it where LiteRT runs."""
    graph = read_tflite(data)
    delegation = delegation_of(data, graph.steps, graph.outputs)
    return _facts(data, graph, delegation.partitions, delegation.outside, delegation.unchecked)


def onnx_facts(data: bytes) -> GraphFacts:
    """Facts of an .onnx, as written: onnxruntime fuses further."""
    return _facts(data, read_onnx(data), None, (), NO_DELEGATE)


def _facts(
    data: bytes,
    graph: Graph,
    partitions: int | None,
    outside: tuple[OutsideOp, ...],
    no_partitions: str,
) -> GraphFacts:
    counts = Counter(step.op for step in graph.steps)
    computing = [step for step in graph.steps if step.op not in CONVERSIONS]
    adds = [count for count in graph.multiply_adds if count is not None]
    total = sum(adds) if len(adds) == len(graph.steps) else None
    peak = _peak_bytes(graph)
    missing = {
        "partitions": no_partitions if partitions is None else "",
        "multiply_adds": NO_SHAPES if total is None else "",
        "peak_activation_bytes": NO_SHAPES if peak is None else "",
    }
    return GraphFacts(
        size_bytes=len(data),
        ops=dict(counts.most_common()),
        float_ops=sum(step.dtype in FLOATS for step in computing),
        integer_ops=sum(step.dtype in INTEGERS for step in computing),
        conversion_ops=len(graph.steps) - len(computing),
        transposes=sum(counts[name] for name in TRANSPOSES),
        parameters=_parameters(graph),
        multiply_adds=total,
        peak_activation_bytes=peak,
        partitions=partitions,
        outside=outside,
        unchecked={name: reason for name, reason in missing.items() if reason},
    )


def _parameters(graph: Graph) -> int:
    sizes: dict[int, int] = {}
    for step in graph.steps:
        places = WEIGHT_PLACES.get(step.op, range(len(step.inputs)))
        for place, index in enumerate(step.inputs):
            value = graph.values[index]
            if index < 0 or value.storage is None or place not in places:
                continue
            small = value.dtype in FLOATS or value.dtype in INTEGERS
            if small or (value.dtype == "int32" and BIAS_PLACES.get(step.op) == place):
                sizes[value.storage] = value.elements or 0
    return sum(size for size in sizes.values() if size > 1)


def _activations(graph: Graph) -> set[int]:
    """What depends on the input: values made from constants alone count as constants."""
    found = set(graph.inputs)
    for step in graph.steps:
        if not found.isdisjoint(step.inputs):
            found.update(step.outputs)
    return found


def _peak_bytes(graph: Graph) -> int | None:
    sizes = {}
    for index in _activations(graph):
        size = graph.values[index].size_bytes
        if size is None:
            return None
        sizes[index] = size
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for at, step in enumerate(graph.steps):
        for index in step.outputs:
            first.setdefault(index, at)
            last[index] = at
        last |= dict.fromkeys(step.inputs, at)
    last |= dict.fromkeys(graph.outputs, len(graph.steps))
    change = [0] * (len(graph.steps) + 2)
    for index, size in sizes.items():
        change[first[index]] += size
        change[last[index] + 1] -= size
    live = peak = 0
    for step_change in change:
        live += step_change
        peak = max(peak, live)
    return peak


def describe(facts: GraphFacts) -> list[str]:
    """Lines for people."""
    kinds = ", ".join(f"{name} {count}" for name, count in facts.ops.items())
    return [
        f"{facts.size_bytes / 1e6:.2f} MB, {facts.parameters / 1e6:.2f} M parameters, "
        f"{_millions(facts.multiply_adds)} multiply-adds, "
        f"{_megabytes(facts.peak_activation_bytes)} of activations at most",
        f"{sum(facts.ops.values())} operators: {facts.float_ops} float, {facts.integer_ops} "
        f"integer, {facts.conversion_ops} conversions, {facts.transposes} transposes",
        f"by type: {kinds}",
        *_delegation_lines(facts),
    ]


def _delegation_lines(facts: GraphFacts) -> list[str]:
    if facts.unchecked.get("partitions") == NO_DELEGATE:
        return []
    if facts.partitions is None:
        return [f"XNNPACK: unchecked, {facts.unchecked['partitions']}"]
    if facts.fully_delegated:
        return ["XNNPACK takes the whole graph, in one partition"]
    left = sum(item.count for item in facts.outside)
    lines = [
        f"XNNPACK: {facts.partitions} partitions, {left} operators outside",
        *(f"  outside: {item.count} {item.op}: {item.why}" for item in facts.outside),
    ]
    if facts.integer_ops > facts.float_ops and left >= MANY_OUTSIDE:
        lines.append(
            "warning: integers without fast kernels: slower than the float file on most CPUs; "
            "--precision dynamic is the better choice for this network"
        )
    return lines


def _millions(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.1f} M"


def _megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.2f} MB"

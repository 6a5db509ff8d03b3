"""Foreign runtimes behind one small interface: a batch in, the model's raw output back.

The first runtime that is installed opens the artifact: LiteRT, tflite-runtime or TensorFlow
for .tflite, onnxruntime for .onnx, coremltools for .mlpackage (on a Mac, where Core ML is).
Each is imported only when a model needs it.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fiqa.errors import ArtifactError, InputError, MissingDependencyError
from fiqa.manifest import Kind, TensorSpec

# package name: module that holds the TFLite Interpreter
TFLITE_RUNTIMES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
RUNTIMES = (*TFLITE_RUNTIMES, "onnxruntime", "coremltools")
PACKAGES = {
    "tflite": ", ".join(TFLITE_RUNTIMES),
    "onnx": "onnxruntime",
    "coreml": "coremltools",
}
INSTALL = {
    "tflite": "pip install 'fiqa-edge[litert]'",
    "onnx": "pip install onnxruntime",
    "coreml": "pip install coremltools",
}


class Engine(Protocol):
    """An opened model. `runtime` names the package and version that runs it."""

    runtime: str
    kernels: str  # whose kernels compute: a delegate that stays away makes a model slow
    input: TensorSpec
    output: TensorSpec

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Raw output for a batch in the input tensor's own shape and type."""
        ...


def open_engine(data: bytes, kind: Kind, runtime: str, threads: int, name: str) -> Engine:
    """Open the model with the named runtime, or with the first one installed ("auto")."""
    if kind == "onnx":
        _check_runtime(runtime, ("onnxruntime",), name)
        return OnnxEngine(data, threads, name)
    _check_runtime(runtime, tuple(TFLITE_RUNTIMES), name)
    package, interpreter = _load_interpreter(runtime, name)
    return TfliteEngine(data, package, interpreter, threads, name)


def open_package(path: Path, runtime: str) -> Engine:
    """Open a Core ML package, on a Mac."""
    _check_runtime(runtime, ("coremltools",), str(path))
    if sys.platform != "darwin":
        raise MissingDependencyError(
            f"{path.name} is a Core ML package, and Core ML runs on Macs only",
            expected="macOS; here the manifest's checks tell what python -m export.coreml proved",
            fix="score with the .tflite or .onnx of the same checkpoint",
        )
    return CoreMlEngine(path)


class TfliteEngine:
    """A .tflite in any of the three interpreters, which share one API."""

    def __init__(
        self, data: bytes, package: str, interpreter: Any, threads: int, name: str
    ) -> None:
        self.runtime = f"{package} {_version(package)}"
        self._name = name
        try:
            self._interpreter = interpreter(model_content=data, num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError, SystemError, TypeError) as error:
            raise _cannot_open(name, self.runtime, error) from error
        _check_single(name, len(inputs), len(outputs))
        self.kernels = _tflite_kernels(self._interpreter)
        self._in, self._out = inputs[0]["index"], outputs[0]["index"]
        self._shape = tuple(inputs[0]["shape"])  # that memory is planned for
        self.input, self.output = _tflite_tensor(inputs[0]), _tflite_tensor(outputs[0])

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        try:
            if batch.shape != self._shape:
                self._plan(batch.shape)
            self._interpreter.set_tensor(self._in, batch)
            self._interpreter.invoke()
            return np.array(self._interpreter.get_tensor(self._out))
        except (ValueError, RuntimeError) as error:
            raise _cannot_run(self._name, self.runtime, error) from error

    def _plan(self, shape: tuple[int, ...]) -> None:
        """Memory for another batch; only sizes that the model leaves free may change."""
        self._interpreter.resize_tensor_input(self._in, shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shape = shape


class OnnxEngine:
    """An .onnx in onnxruntime on the CPU."""

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        try:
            ort = import_module("onnxruntime")
        except ImportError as error:
            raise _missing("onnx", name) from error
        self.runtime = f"onnxruntime {ort.__version__}"
        self.kernels = "CPUExecutionProvider"
        self._name = name
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        try:
            self._session = ort.InferenceSession(data, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, without a base
            raise _cannot_open(name, self.runtime, error) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _check_single(name, len(inputs), len(outputs))
        self.input, self.output = _onnx_tensor(inputs[0]), _onnx_tensor(outputs[0])

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        try:
            return np.asarray(self._session.run(None, {self.input.name: batch})[0])
        except Exception as error:
            raise _cannot_run(self._name, self.runtime, error) from error


class CoreMlEngine:
    """A .mlpackage in Core ML itself, which decides between CPU, GPU and Neural Engine."""

    def __init__(self, path: Path) -> None:
        try:
            coremltools = import_module("coremltools")
        except ImportError as error:
            raise _missing("coreml", str(path)) from error
        self.runtime = f"coremltools {coremltools.__version__}"
        self.kernels = "chosen by Core ML"
        self._name = str(path)
        try:
            self._model = coremltools.models.MLModel(self._name)
            description = self._model.get_spec().description
        except Exception as error:  # coremltools raises plain exceptions
            raise _cannot_open(self._name, self.runtime, error) from error
        _check_single(self._name, len(description.input), len(description.output))
        picture = description.input[0]
        size = picture.type.imageType
        self.input = TensorSpec(picture.name, (1, size.height, size.width, 3), "image", "NHWC")
        self.output = TensorSpec(description.output[0].name, (1, 1), "float32", "N1")

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        try:
            result = self._model.predict({self.input.name: Image.fromarray(batch[0])})
            return np.asarray(result[self.output.name])
        except Exception as error:
            raise _cannot_run(self._name, self.runtime, error) from error


def _load_interpreter(runtime: str, name: str) -> tuple[str, Any]:
    wanted = TFLITE_RUNTIMES if runtime == "auto" else {runtime: TFLITE_RUNTIMES[runtime]}
    for package, module in wanted.items():
        try:
            return package, import_module(module).Interpreter
        except ImportError:
            continue
    raise _missing("tflite", name)


def _check_runtime(runtime: str, fitting: tuple[str, ...], name: str) -> None:
    if runtime != "auto" and runtime not in fitting:
        raise InputError(
            f"{runtime} does not run {Path(name).name}", expected="auto, " + ", ".join(fitting)
        )


def _missing(kind: Kind, name: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"no runtime for {Path(name).name} is installed",
        expected=PACKAGES[kind],
        fix=INSTALL[kind],
    )


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu", f"{package}-nightly"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _tflite_kernels(interpreter: Any) -> str:
    """Told from the operators that the interpreter lists after it has planned."""
    listed = getattr(interpreter, "_get_ops_details", None)
    if listed is None:
        return "unknown"
    parts = sum(one["op_name"] == "DELEGATE" for one in listed())
    if not parts:
        return "built-in"
    return "XNNPACK" if parts == 1 else f"XNNPACK in {parts} parts"


def _tflite_tensor(details: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in details.get("shape_signature", details["shape"]))
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    quantised = dtype.kind in "iu"
    return TensorSpec(
        name=details["name"],
        shape=shape if len(shape) else tuple(map(int, details["shape"])),
        dtype=dtype.name,
        layout=layout_of(shape),
        scale=float(scale) if quantised else None,
        zero_point=int(zero_point) if quantised else None,
    )


def _onnx_tensor(tensor: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    types = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
    return TensorSpec(tensor.name, shape, types.get(tensor.type, tensor.type), layout_of(shape))


def layout_of(shape: tuple[int, ...]) -> str:
    """Where the channels stand, told from the shape; N1 for anything that is no picture."""
    if len(shape) == 4 and shape[3] == 3:
        return "NHWC"
    if len(shape) == 4 and shape[1] == 3:
        return "NCHW"
    return "N1"


def _check_single(name: str, inputs: int, outputs: int) -> None:
    if inputs != 1 or outputs != 1:
        raise ArtifactError(
            f"{name} has {inputs} inputs and {outputs} outputs",
            expected="one picture in, one score out",
            fix="export a model that takes one picture and gives one score",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]


def _cannot_open(name: str, runtime: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{name} cannot be opened by {runtime}: {_first_line(error)}",
        expected="a whole model that this runtime knows",
        fix="export it again, or try another --runtime",
    )


def _cannot_run(name: str, runtime: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{name} fails in {runtime}: {_first_line(error)}",
        expected="an inference without error",
        fix="try another --runtime, or export it again",
    )

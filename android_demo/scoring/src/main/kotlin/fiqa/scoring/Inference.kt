package fiqa.scoring

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Whose kernels compute: XNNPACK's, the library's own, or the phone's through NNAPI. */
enum class Kernels { XNNPACK, NONE, NNAPI }

/** A tensor as the opened model has it. */
class Tensor(val spec: TensorSpec, val data: ByteBuffer) {
    /** How many numbers it holds. */
    val size = spec.shape.fold(1, Int::times)
}

/** An opened model: its input is filled, [run] is called, its output is read. One thread at a time. */
interface Inference : AutoCloseable {
    val input: Tensor
    val output: Tensor

    /** The library and its version. */
    val engine: String

    /** What really computes; [fallback] says why where it is not what was asked for. */
    val kernels: Kernels
    val fallback: String?

    /** Whether the delegate took the whole graph; null where nobody says. Slow kernels score otherwise. */
    val isFullyDelegated: Boolean?

    fun run()
}

/** The library failed: the model cannot be opened, or an inference does not end well. */
class InferenceError(message: String, cause: Throwable? = null) : Exception(message, cause)

/** What the input tensor holds for each byte of each channel: the contract's normalisation. */
class InputTable(spec: PreprocessSpec, tensor: TensorSpec) {
    private val isFloat = tensor.type == TensorType.FLOAT32
    val floats = Array(3) { channel -> FloatArray(256) { real(spec, channel, it) } }
    val bytes = Array(3) { channel -> ByteArray(256) { quantised(tensor, floats[channel][it]) } }

    /** The table as BenchPictures takes it: 256 entries of each channel, as the tensor holds them. */
    fun asBytes(): ByteArray {
        if (!isFloat) return bytes.reduce(ByteArray::plus)
        val buffer = ByteBuffer.allocate(3 * 256 * 4).order(ByteOrder.nativeOrder())
        for (channel in floats) for (value in channel) buffer.putFloat(value)
        return buffer.array()
    }

    private fun real(spec: PreprocessSpec, channel: Int, byte: Int) =
        (byte - spec.mean[channel].toFloat()) / spec.std[channel].toFloat()

    /** Half to even, as numpy rounds. */
    private fun quantised(tensor: TensorSpec, real: Float): Byte {
        if (tensor.type == TensorType.FLOAT32) return 0
        val low = if (tensor.type == TensorType.INT8) -128.0 else 0.0
        val step = Math.rint((real / tensor.scale!!.toFloat()).toDouble()) + tensor.zeroPoint
        return step.coerceIn(low, low + 255).toInt().toByte()
    }
}

/** Contract bytes into an input tensor, and a tensor's numbers out. Keeps its buffers. */
class TensorPort(spec: PreprocessSpec, private val input: Tensor, private val output: Tensor) {
    private val table = InputTable(spec, input.spec)
    private val isFloat = input.spec.type == TensorType.FLOAT32
    private val floats = FloatArray(if (isFloat) input.size else 0)
    private val bytes = ByteArray(if (isFloat) 0 else input.size)
    private val floatView = input.data.asFloatBuffer()

    /** Fills the input with interleaved bytes, in the order of the model's colours. */
    fun write(contractBytes: ByteArray) {
        if (isFloat) {
            for (i in floats.indices) {
                floats[i] =
                    table.floats[i % 3][contractBytes[i].toInt() and 255]
            }
            floatView.clear()
            floatView.put(floats)
        } else {
            for (i in bytes.indices) bytes[i] = table.bytes[i % 3][contractBytes[i].toInt() and 255]
            input.data.clear()
            input.data.put(bytes)
        }
    }

    /** Number [index] of the output, as the real number it stands for. */
    fun read(index: Int): Double {
        val spec = output.spec
        val value = when (spec.type) {
            TensorType.FLOAT32 -> return output.data.getFloat(index * 4).toDouble()
            TensorType.INT8 -> output.data.get(index).toInt()
            TensorType.UINT8 -> output.data.get(index).toInt() and 255
        }
        return (value - spec.zeroPoint) * spec.scale!!
    }
}

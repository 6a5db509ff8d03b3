package fiqa.scoring

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.ExecutionPlan
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite
import org.tensorflow.lite.nnapi.NnApiDelegate

/**
 * A model in TensorFlow Lite's Java API. The tensors' types are read from the model. Where NNAPI
 * refuses it, XNNPACK computes, and [fallback] says so.
 */
class TfliteInference(model: ModelBytes, threads: Int = 1, wanted: Kernels = Kernels.XNNPACK) :
    Inference {
    private val interpreter: Interpreter
    private var nnapi: NnApiDelegate? = null
    override val kernels: Kernels
    override val fallback: String?
    override val input: Tensor
    override val output: Tensor
    override val engine: String
    override val isFullyDelegated: Boolean?

    // The same two objects each time: the library's own calls allocate almost nothing then.
    private val inputs: Array<Any>
    private val outputs: Map<Int, Any>

    init {
        val first = attempt { open(model, threads, wanted) }
        val isRefused = first.isFailure && wanted == Kernels.NNAPI
        if (isRefused) closeDelegate()
        fallback = if (isRefused) "NNAPI refused: ${first.exceptionOrNull()?.message}" else null
        kernels = if (isRefused) Kernels.XNNPACK else wanted
        val opened = if (isRefused) attempt { open(model, threads, kernels) } else first
        interpreter = opened.getOrElse {
            throw InferenceError("${model.name} cannot be opened: ${it.message}", it)
        }
        engine = "tflite ${TensorFlowLite.runtimeVersion()}"
        if (interpreter.inputTensorCount != 1 || interpreter.outputTensorCount != 1) {
            close()
            throw ModelError(ModelFault.UNSUITABLE, "${model.name} has several inputs or outputs")
        }
        input = tensor(interpreter.getInputTensor(0), model.name)
        output = tensor(interpreter.getOutputTensor(0), model.name)
        val steps = ExecutionPlan.length(interpreter)
        isFullyDelegated = if (kernels == Kernels.NONE) false else steps == 1
        inputs = arrayOf(input.data)
        outputs = mapOf(0 to output.data)
    }

    override fun run() {
        input.data.clear()
        output.data.clear()
        try {
            interpreter.runForMultipleInputsOutputs(inputs, outputs)
        } catch (error: RuntimeException) {
            throw InferenceError("an inference failed: ${error.message}", error)
        }
    }

    override fun close() {
        interpreter.close()
        closeDelegate()
    }

    private fun closeDelegate() {
        nnapi?.close()
        nnapi = null
    }

    private fun open(model: ModelBytes, threads: Int, kernels: Kernels): Interpreter {
        val options = Interpreter.Options()
        options.setNumThreads(threads).setUseXNNPACK(kernels == Kernels.XNNPACK)
        if (kernels == Kernels.NNAPI) options.addDelegate(NnApiDelegate().also { nnapi = it })
        return Interpreter(model.body, options).also { it.allocateTensors() }
    }

    /** Libraries fail with errors as well as exceptions: a native library that is not there. */
    private fun attempt(open: () -> Interpreter): Result<Interpreter> = try {
        Result.success(open())
    } catch (error: RuntimeException) {
        Result.failure(error)
    } catch (error: LinkageError) {
        Result.failure(error)
    }

    private fun tensor(found: org.tensorflow.lite.Tensor, name: String): Tensor {
        val type = TYPES[found.dataType()]
            ?: throw ModelError(ModelFault.UNSUITABLE, "$name has a tensor of ${found.dataType()}")
        val quantisation = found.quantizationParams()
        val scale = if (type == TensorType.FLOAT32) null else quantisation.scale.toDouble()
        val spec = TensorSpec(type, found.shape().toList(), scale, quantisation.zeroPoint)
        val data = ByteBuffer.allocateDirect(found.numBytes()).order(ByteOrder.nativeOrder())
        return Tensor(spec, data)
    }

    private companion object {
        val TYPES = mapOf(
            DataType.FLOAT32 to TensorType.FLOAT32,
            DataType.UINT8 to TensorType.UINT8,
            DataType.INT8 to TensorType.INT8
        )
    }
}

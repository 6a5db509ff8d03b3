package fiqa.scoring

import java.io.File
import java.nio.ByteBuffer

/** A stage of a benchmark that failed; the runner's exit code is 2 and the stage's place. */
enum class BenchStage { ARGUMENTS, LIBRARY, MODEL, PICTURES, INFERENCE, RESULT, PROCESSORS }

class BenchError(val stage: BenchStage, message: String, cause: Throwable? = null) :
    Exception(message, cause)

/** What is asked of one run; times in seconds. */
data class BenchPlan(
    val isTiming: Boolean,
    val warmUp: Int = 10,
    val runs: Int = 100,
    val seconds: Double = 0.0,
    val count: Int = Int.MAX_VALUE, // pictures whose outputs are told, from the first on
    val limitS: Double = 600.0
)

/** What a run found; times in microseconds. Outputs are the tensor's raw numbers. */
class BenchFound(
    val outputs: List<Number>,
    val samplesUs: DoubleArray,
    val firstUs: Double,
    val elapsedUs: Double,
    val cpuUs: Double, // of all threads, while it was timed
    val involuntarySwitches: Long
)

/** Scores pictures or times inferences: one method for the runner and for the app. */
class Bench(private val model: Inference, private val pictures: BenchPictures) {
    fun run(plan: BenchPlan, progress: (Double) -> Unit = {}): BenchFound {
        val deadline = System.nanoTime() + (plan.limitS * 1e9).toLong()
        pictures.fill(0, model.input)
        val first = timed()
        val samples = if (plan.isTiming) time(plan, deadline, progress) else DoubleArray(0)
        val count = minOf(pictures.count, plan.count)
        val outputs = List(count) { number ->
            pictures.fill(number, model.input)
            invoke(deadline)
            if (!plan.isTiming) progress((number + 1.0) / count)
            output()
        }
        return BenchFound(outputs, samples, first, elapsedUs, cpuUs, switches)
    }

    private var elapsedUs = 0.0
    private var cpuUs = 0.0
    private var switches = 0L

    private fun time(plan: BenchPlan, deadline: Long, progress: (Double) -> Unit): DoubleArray {
        for (i in 0 until plan.warmUp) {
            pictures.fill(i % pictures.count, model.input)
            invoke(deadline)
        }
        val samples = ArrayList<Double>()
        val cpu = SystemFacts.cpuUs()
        val switched = SystemFacts.involuntarySwitches()
        val start = System.nanoTime()
        while (samples.size < plan.runs || seconds(start) < plan.seconds) {
            pictures.fill(samples.size % pictures.count, model.input)
            samples += timed()
            checkTime(deadline)
            progress(minOf(samples.size.toDouble() / plan.runs, 1.0))
        }
        elapsedUs = seconds(start) * 1e6
        cpuUs = SystemFacts.cpuUs() - cpu
        switches = SystemFacts.involuntarySwitches() - switched
        return samples.toDoubleArray()
    }

    private fun timed(): Double {
        val start = System.nanoTime()
        try {
            model.run()
        } catch (error: InferenceError) {
            throw BenchError(BenchStage.INFERENCE, error.message ?: "", error)
        }
        return seconds(start) * 1e6
    }

    private fun invoke(deadline: Long) {
        timed()
        checkTime(deadline)
    }

    private fun checkTime(deadline: Long) {
        if (System.nanoTime() > deadline) throw BenchError(BenchStage.INFERENCE, OUT_OF_TIME)
    }

    private fun output(): Number = when (model.output.spec.type) {
        TensorType.FLOAT32 -> model.output.data.getFloat(0)
        TensorType.INT8 -> model.output.data.get(0).toInt()
        TensorType.UINT8 -> model.output.data.get(0).toInt() and 255
    }

    private fun seconds(start: Long) = (System.nanoTime() - start) / 1e9

    private companion object {
        const val OUT_OF_TIME = "the time limit" // edge_bench knows it by this name
    }
}

/**
 * Pictures as interleaved bytes, and a table of what the input tensor holds for each byte of each
 * channel, in the byte order of this machine: the contract is applied by whoever made the table.
 * A planar tensor holds one channel after the other.
 */
class BenchPictures(
    private val bytes: ByteBuffer,
    private val table: ByteArray,
    private val tensor: TensorSpec,
    private val isPlanar: Boolean = false
) {
    private val elements = tensor.shape.fold(1, Int::times)
    private val width = tensor.type.bytes
    private val picture = ByteArray(elements)
    private val filled = ByteArray(elements * width)
    val count: Int

    init {
        if (table.size != 3 * 256 * width) {
            throw BenchError(
                BenchStage.PICTURES,
                "the table has ${table.size} bytes, ${tensor.type} needs ${768 * width}"
            )
        }
        if (bytes.limit() == 0 || bytes.limit() % elements != 0) {
            throw BenchError(
                BenchStage.PICTURES,
                "${bytes.limit()} bytes are no multiple of $elements"
            )
        }
        count = bytes.limit() / elements
    }

    fun fill(number: Int, input: Tensor) {
        bytes.position(number * elements)
        bytes.get(picture)
        val plane = elements / 3
        for (i in 0 until elements) {
            val at = if (isPlanar) i % 3 * plane + i / 3 else i
            val entry = (i % 3 * 256 + (picture[i].toInt() and 255)) * width
            for (k in 0 until width) filled[at * width + k] = table[entry + k]
        }
        input.data.clear()
        input.data.put(filled)
    }
}

/** What Linux says of this process and its processors. */
object SystemFacts {
    /** The number behind a key in a file such as /proc/self/status; -1 where there is none. */
    fun number(file: String, key: String): Long = lines(file).firstOrNull { it.startsWith(key) }
        ?.removePrefix(key)?.trim()?.takeWhile { it.isDigit() }?.toLongOrNull() ?: -1

    fun word(file: String): String = lines(file).firstOrNull()?.trim() ?: ""

    /** Times the scheduler took the processor away from this process. */
    fun involuntarySwitches(): Long = number("/proc/self/status", "nonvoluntary_ctxt_switches:")

    /** Processor time of all threads of this process. */
    fun cpuUs(): Double {
        val fields = word("/proc/self/stat").substringAfterLast(')').trim().split(' ')
        val ticks = listOf(11, 12).sumOf { fields.getOrNull(it)?.toLongOrNull() ?: 0 }
        return ticks * 1e6 / TICKS_A_SECOND
    }

    /** By what the processor is emulated, where it shows; empty for a real one. */
    fun emulator(): String = if (word("/proc/self/comm").startsWith("qemu")) "QEMU" else ""

    /** Processors this process may run on, such as 4-7. */
    fun allowedProcessors(): Set<Int> = lines("/proc/self/status")
        .firstOrNull { it.startsWith("Cpus_allowed_list:") }
        ?.substringAfter(':')?.let(::processors) ?: emptySet()

    /** "0-3,6" as numbers; null members mean nothing, so a list that is none is refused. */
    fun processors(list: String): Set<Int> = list.trim().split(',').filter { it.isNotBlank() }
        .flatMap { part ->
            val ends = part.trim().split('-').map {
                it.toIntOrNull()
                    ?: throw BenchError(BenchStage.ARGUMENTS, "processors $list")
            }
            ends.first()..ends.last()
        }.toSet()

    private fun lines(file: String): List<String> = try {
        File(file).readLines()
    } catch (_: java.io.IOException) {
        emptyList()
    }

    private const val TICKS_A_SECOND = 100 // what Linux shows to programs, whatever its own clock
}

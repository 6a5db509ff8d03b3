package fiqa.bench

import fiqa.scoring.Bench
import fiqa.scoring.BenchError
import fiqa.scoring.BenchFound
import fiqa.scoring.BenchPictures
import fiqa.scoring.BenchPlan
import fiqa.scoring.BenchStage
import fiqa.scoring.Inference
import fiqa.scoring.InferenceError
import fiqa.scoring.Kernels
import fiqa.scoring.ModelError
import fiqa.scoring.ModelFile
import fiqa.scoring.SystemFacts
import fiqa.scoring.Tensor
import fiqa.scoring.TensorType
import fiqa.scoring.TfliteInference
import fiqa.scoring.writeJson
import java.io.File
import java.io.IOException
import kotlin.system.exitProcess

/**
 * Runs one model: the score of every picture, or the time of every inference. Flags, stages, exit
 * codes and the result are those of edge_bench's native runner, so that either may be asked.
 * On a phone: CLASSPATH=fiqa.apk app_process / fiqa.bench.Main FLAGS
 */
object Main {
    @JvmStatic
    fun main(arguments: Array<String>) {
        exitProcess(run(arguments.toList()))
    }

    /** The exit code; what failed is told on stderr. */
    fun run(arguments: List<String>): Int {
        val (code, complaint) = runTold(arguments)
        complaint?.let(System.err::println)
        return code
    }

    /** The exit code, and what failed as JSON. */
    fun runTold(arguments: List<String>): Pair<Int, String?> = try {
        measure(Flags(arguments))
        0 to null
    } catch (error: BenchError) {
        val told = mapOf("stage" to error.stage.name.lowercase(), "message" to error.message)
        error.stage.ordinal + 2 to writeJson(told)
    }

    private fun measure(flags: Flags) {
        val plan = flags.plan()
        val kernels = flags.kernels()
        val processors = pinned(flags.text("--cpus", ""))
        val before = frequencies(processors)
        val begin = System.nanoTime()
        loadLibrary(flags.text("--lib"))
        val loaded = System.nanoTime()
        val model = open(flags.text("--model"), flags.number("--threads", "1").toInt(), kernels)
        val opened = System.nanoTime()
        val cpu = cpuUs()
        val found = Bench(model, pictures(flags, model)).run(plan)
        val result = linkedMapOf<String, Any?>(
            "schema" to 1,
            "run_id" to flags.text("--run-id"),
            "mode" to flags.text("--mode"),
            "engine" to model.engine,
            "architecture" to (System.getProperty("os.arch") ?: "other"),
            "process" to SystemFacts.word("/proc/self/comm"),
            "boot_id" to SystemFacts.word("/proc/sys/kernel/random/boot_id"),
            "delegate" to model.kernels.name.lowercase(),
            "fallback" to model.fallback,
            "fully_delegated" to model.isFullyDelegated,
            "threads" to flags.number("--threads", "1").toInt(),
            "input" to described(model.input),
            "output" to described(model.output),
            "library_us" to (loaded - begin) / 1e3,
            "init_us" to (opened - loaded) / 1e3
        ) + measured(found) + mapOf(
            "cpu_us" to cpuUs() - cpu,
            "peak_kb" to SystemFacts.number("/proc/self/status", "VmHWM:"),
            "pss_kb" to SystemFacts.number("/proc/self/smaps_rollup", "Pss:"),
            "khz_before" to before,
            "khz_after" to frequencies(processors),
            "total_us" to (System.nanoTime() - begin) / 1e3
        )
        model.close()
        write(File(flags.text("--out")), writeJson(result))
    }

    private fun measured(found: BenchFound) = mapOf(
        "first_us" to found.firstUs,
        "outputs" to found.outputs.map { if (it is Float && !it.isFinite()) it.toString() else it },
        "samples_us" to found.samplesUs.map { Math.round(it * 1000) / 1e3 },
        "elapsed_us" to found.elapsedUs,
        "involuntary_switches" to
            SystemFacts.number("/proc/self/status", "nonvoluntary_ctxt_switches:")
    )

    /** Empty: the JVM finds the library by itself. */
    private fun loadLibrary(path: String) {
        try {
            if (path.isNotEmpty()) System.load(File(path).absolutePath)
        } catch (error: UnsatisfiedLinkError) {
            throw BenchError(BenchStage.LIBRARY, error.message ?: path, error)
        }
    }

    private fun open(path: String, threads: Int, kernels: Kernels): Inference = try {
        TfliteInference(ModelFile.read(File(path)), threads, kernels)
    } catch (error: ModelError) {
        throw BenchError(BenchStage.MODEL, error.message ?: path, error)
    } catch (error: InferenceError) {
        val isLibrary = error.cause is LinkageError
        throw BenchError(
            if (isLibrary) BenchStage.LIBRARY else BenchStage.MODEL,
            error.message ?: path,
            error
        )
    }

    private fun pictures(flags: Flags, model: Inference) =
        BenchPictures(read(flags.text("--pictures")), read(flags.text("--table")), model.input.spec)

    private fun read(path: String): ByteArray = try {
        File(path).readBytes()
    } catch (error: IOException) {
        throw BenchError(BenchStage.PICTURES, error.message ?: path, error)
    }

    /** Java cannot choose processors: the caller does, with taskset, and here it is checked. */
    private fun pinned(list: String): List<Int> {
        val wanted = SystemFacts.processors(list)
        val allowed = SystemFacts.allowedProcessors()
        if (wanted.isNotEmpty() && wanted != allowed) {
            throw BenchError(BenchStage.PROCESSORS, "runs on $allowed instead of $wanted")
        }
        return wanted.sorted()
    }

    private fun frequencies(processors: List<Int>) = processors.map {
        SystemFacts.number("/sys/devices/system/cpu/cpu$it/cpufreq/scaling_cur_freq", "")
    }

    /** Processor time of all threads. */
    private fun cpuUs(): Double {
        val fields = SystemFacts.word("/proc/self/stat").substringAfterLast(')').trim().split(' ')
        val ticks =
            (fields.getOrNull(11)?.toLongOrNull() ?: 0) +
                (fields.getOrNull(12)?.toLongOrNull() ?: 0)
        return ticks * 1e6 / TICKS_A_SECOND
    }

    private fun described(tensor: Tensor) = mapOf(
        "dtype" to tensor.spec.type.name.lowercase(),
        "elements" to tensor.size,
        "scale" to (if (tensor.spec.type == TensorType.FLOAT32) 0 else tensor.spec.scale),
        "zero_point" to tensor.spec.zeroPoint
    )

    /** Under another name until it is whole. */
    private fun write(out: File, text: String) {
        val part = File("${out.path}.part")
        try {
            part.outputStream().use {
                it.write("$text\n".toByteArray())
                it.fd.sync()
            }
        } catch (error: IOException) {
            throw BenchError(BenchStage.RESULT, error.message ?: out.path, error)
        }
        if (!part.renameTo(out)) throw BenchError(BenchStage.RESULT, "$part cannot be renamed")
    }

    private const val TICKS_A_SECOND = 100 // what Linux shows to programs, whatever its own clock
}

/** --name value --name value */
private class Flags(arguments: List<String>) {
    private val given = HashMap<String, String>()

    init {
        for (pair in arguments.chunked(2)) {
            if (pair.size < 2 || pair[0] !in KNOWN) fail("unknown or alone: ${pair[0]}")
            given[pair[0]] = pair[1]
        }
    }

    fun text(name: String, otherwise: String? = null) =
        given[name] ?: otherwise ?: fail("$name is missing")

    fun number(name: String, otherwise: String): Double {
        val text = text(name, otherwise)
        return text.toDoubleOrNull()?.takeIf { it >= 0 && it.isFinite() } ?: fail("$name $text")
    }

    fun kernels(): Kernels {
        val text = text("--delegate", "xnnpack")
        return Kernels.entries.find { it.name.lowercase() == text } ?: fail("--delegate $text")
    }

    fun plan(): BenchPlan {
        val mode = text("--mode")
        if (mode != "score" && mode != "time") fail("--mode $mode")
        if (text("--layout", "NHWC") != "NHWC") fail("--layout ${text("--layout")}")
        return BenchPlan(
            isTiming = mode == "time",
            warmUp = number("--warm-up", "10").toInt(),
            runs = number("--runs", "100").toInt(),
            seconds = number("--seconds", "0"),
            checks = number("--checks", "16").toInt(),
            limitS = number("--limit-s", "600")
        )
    }

    private fun fail(what: String): Nothing = throw BenchError(BenchStage.ARGUMENTS, what)

    private companion object {
        val KNOWN = setOf(
            "--lib", "--model", "--pictures", "--table", "--layout", "--out", "--run-id", "--mode",
            "--threads", "--delegate", "--cpus", "--warm-up", "--runs", "--seconds", "--checks",
            "--limit-s", "--marks"
        )
    }
}

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
import fiqa.scoring.ModelBytes
import fiqa.scoring.ModelError
import fiqa.scoring.ModelFile
import fiqa.scoring.SystemFacts
import fiqa.scoring.Tensor
import fiqa.scoring.TensorType
import fiqa.scoring.TfliteInference
import fiqa.scoring.writeJson
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.channels.FileChannel
import kotlin.system.exitProcess

/**
 * Runs one model: the score of every picture, or the time of every inference. Flags, stages, exit
 * codes and the result are those of edge_bench's native runner, so that either may be asked; and
 * the model's hash, which is compared before the library sees a byte.
 * On a phone: CLASSPATH=fiqa.apk app_process / fiqa.bench.Main FLAGS
 */
object Main {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val (code, complaint) = run(arguments.toList()) { Watch(it).start() }
        complaint?.let(System.err::println)
        exitProcess(code)
    }

    /** The exit code, and what failed as JSON; `begin` hears of the time limit in seconds. */
    fun run(arguments: List<String>, begin: (Double) -> Unit = {}): Pair<Int, String?> = try {
        val flags = Flags(arguments)
        begin(flags.plan().limitS)
        measure(flags)
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
        loadLibrary(flags.text("--lib", ""))
        val loaded = System.nanoTime()
        val model = open(flags, kernels)
        val opened = System.nanoTime()
        val found = Bench(model, pictures(flags, model, plan)).run(plan)
        val result = linkedMapOf<String, Any?>(
            "schema" to 1,
            "run_id" to flags.text("--run-id"),
            "mode" to flags.text("--mode"),
            "engine" to model.engine,
            "architecture" to (System.getProperty("os.arch") ?: "other"),
            "emulator" to SystemFacts.emulator(),
            "boot_id" to SystemFacts.word("/proc/sys/kernel/random/boot_id"),
            "delegate" to model.kernels.name.lowercase(),
            "fully_delegated" to model.isFullyDelegated,
            "threads" to flags.threads(),
            "input" to described(model.input),
            "output" to described(model.output),
            "library_us" to (loaded - begin) / 1e3,
            "init_us" to (opened - loaded) / 1e3
        ) + measured(found) + mapOf(
            "peak_kb" to SystemFacts.number("/proc/self/status", "VmHWM:"),
            "pss_kb" to SystemFacts.number("/proc/self/smaps_rollup", "Pss:"),
            "khz_before" to before,
            "khz_after" to frequencies(processors),
            "total_us" to (System.nanoTime() - begin) / 1e3,
            "notes" to listOfNotNull(model.fallback)
        )
        model.close()
        write(File(flags.text("--out")), writeJson(result))
    }

    private fun measured(found: BenchFound) = mapOf(
        "first_us" to found.firstUs,
        "outputs" to found.outputs.map(::told),
        "samples_us" to found.samplesUs.map { Math.round(it * 1000) / 1e3 },
        "elapsed_us" to found.elapsedUs,
        "cpu_us" to found.cpuUs,
        "involuntary_switches" to found.involuntarySwitches
    )

    /** What is no number is told as text: JSON has no word for it. */
    private fun told(output: Number): Any = when {
        output !is Float || output.isFinite() -> output
        output.isNaN() -> "nan"
        else -> if (output > 0) "inf" else "-inf"
    }

    /** Empty: the JVM finds the library by itself. */
    private fun loadLibrary(path: String) {
        try {
            if (path.isNotEmpty()) System.load(File(path).absolutePath)
        } catch (error: UnsatisfiedLinkError) {
            throw BenchError(BenchStage.LIBRARY, error.message ?: path, error)
        }
    }

    private fun open(flags: Flags, kernels: Kernels): Inference = try {
        val file = File(flags.text("--model"))
        val hash = flags.text("--sha256", "")
        val model = if (hash.isEmpty()) ModelFile.read(file) else ModelBytes.read(file, hash)
        TfliteInference(model, flags.threads(), kernels)
    } catch (error: ModelError) {
        throw BenchError(BenchStage.MODEL, "${error.message}", error)
    } catch (error: InferenceError) {
        val isLibrary = error.cause is LinkageError
        val stage = if (isLibrary) BenchStage.LIBRARY else BenchStage.MODEL
        throw BenchError(stage, "${error.message}", error)
    }

    /** Only what is asked for is mapped: a set of pictures may be larger than an array can be. */
    private fun pictures(flags: Flags, model: Inference, plan: BenchPlan): BenchPictures = try {
        val table = File(flags.text("--table")).readBytes()
        val bytes = RandomAccessFile(flags.text("--pictures"), "r").use { file ->
            val size = model.input.size.toLong()
            val start = if (plan.isTiming) 0 else flags.number("--start", "0").toLong()
            val count = if (plan.isTiming) Int.MAX_VALUE else plan.count
            val from = minOf(start * size, file.length())
            val length = minOf(file.length() - from, count * size, Int.MAX_VALUE.toLong())
            file.channel.map(FileChannel.MapMode.READ_ONLY, from, length)
        }
        BenchPictures(bytes, table, model.input.spec, flags.text("--layout", "NHWC") == "NCHW")
    } catch (error: IOException) {
        throw BenchError(BenchStage.PICTURES, "${error.message}", error)
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
}

/**
 * Ends this process when nobody waits for it any more: an unplugged phone hangs up on the shell
 * alone. A line a second shows whether someone reads; an inference that never ends is ended too.
 */
private class Watch(private val limitS: Double) : Thread("watch") {
    init {
        isDaemon = true
    }

    override fun run() {
        val end = System.nanoTime() + ((limitS + GRACE_S) * 1e9).toLong()
        while (System.nanoTime() < end) {
            sleep(1000)
            println()
            if (System.out.checkError()) Runtime.getRuntime().halt(HUNG_UP)
        }
        Runtime.getRuntime().halt(ALARM)
    }

    private companion object {
        const val GRACE_S = 5.0 // for the runner to notice the limit by itself
        const val HUNG_UP = 129 // as if ended by SIGHUP
        const val ALARM = 142 // as if ended by SIGALRM
    }
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
        if (text("--layout", "NHWC") !in LAYOUTS) fail("--layout ${text("--layout")}")
        return BenchPlan(
            isTiming = mode == "time",
            warmUp = number("--warm-up", "10").toInt(),
            runs = number("--runs", "100").toInt(),
            seconds = number("--seconds", "0"),
            count = number("--count", "${Int.MAX_VALUE}").toInt(),
            limitS = number("--limit-s", "600")
        )
    }

    fun threads() = number("--threads", "1").toInt()

    private fun fail(what: String): Nothing = throw BenchError(BenchStage.ARGUMENTS, what)

    private companion object {
        val LAYOUTS = setOf("NHWC", "NCHW")
        val KNOWN = setOf(
            "--lib", "--model", "--sha256", "--pictures", "--table", "--layout", "--out",
            "--run-id", "--mode", "--threads", "--delegate", "--cpus", "--start", "--count",
            "--warm-up", "--runs", "--seconds", "--limit-s"
        )
    }
}

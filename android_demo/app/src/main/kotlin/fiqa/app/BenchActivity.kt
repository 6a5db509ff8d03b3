package fiqa.app

import android.app.Activity
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.os.Process
import android.view.WindowManager
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import fiqa.bench.Main
import fiqa.scoring.Bench
import fiqa.scoring.BenchError
import fiqa.scoring.BenchFound
import fiqa.scoring.BenchPictures
import fiqa.scoring.BenchPlan
import fiqa.scoring.InferenceError
import fiqa.scoring.InputTable
import fiqa.scoring.ModelError
import fiqa.scoring.ModelFile
import fiqa.scoring.TfliteInference
import fiqa.scoring.percentile
import fiqa.scoring.writeJson
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.util.Locale
import kotlin.random.Random

/**
 * Times the model on this phone. Started with the string array `arguments`, it does what the
 * runner does with these flags, on files below files/bench, and leaves the result there.
 */
class BenchActivity : Activity() {
    private lateinit var summary: TextView
    private lateinit var progress: ProgressBar
    private lateinit var run: Button
    private lateinit var share: Button
    var result: String? = null
        private set
    var work: Thread? = null
        private set

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.bench)
        summary = findViewById(R.id.summary)
        progress = findViewById(R.id.progress)
        run = findViewById(R.id.run)
        share = findViewById(R.id.share)
        run.setOnClickListener { begin { measure() } }
        share.setOnClickListener { shareResult() }
        val arguments = intent.getStringArrayExtra(ARGUMENTS)
        if (arguments != null && state == null) {
            window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
            begin { obey(arguments.toList()) }
        }
    }

    private fun begin(job: () -> Unit) {
        if (work?.isAlive == true) return
        run.isEnabled = false
        share.isEnabled = false
        summary.setText(R.string.bench_running)
        work = Thread {
            Process.setThreadPriority(Process.THREAD_PRIORITY_FOREGROUND)
            job()
            runOnUiThread { run.isEnabled = true }
        }.apply { start() }
    }

    private fun measure() {
        val settings = Settings(this)
        try {
            val model = Models(this).scorer(settings)
            TfliteInference(model, settings.threads, settings.kernels).use { opened ->
                val bench = Bench(opened, noise(model, opened))
                val plan = BenchPlan(isTiming = true, warmUp = WARM_UP, runs = RUNS)
                val found = bench.run(plan) { share -> showProgress(share) }
                tell(model, opened, found)
            }
        } catch (error: ModelError) {
            tell(Trouble.of(error.fault))
        } catch (_: InferenceError) {
            tell(Trouble.LIBRARY)
        } catch (_: BenchError) {
            tell(Trouble.LIBRARY)
        }
    }

    private fun noise(model: ModelFile, opened: TfliteInference): BenchPictures {
        val bytes = Random(0).nextBytes(opened.input.size * PICTURES)
        val table = InputTable(model.manifest.preprocess, opened.input.spec).asBytes()
        return BenchPictures(ByteBuffer.wrap(bytes), table, opened.input.spec)
    }

    private fun showProgress(share: Double) {
        val percent = (share * 100).toInt()
        if (percent != progress.progress) runOnUiThread { progress.progress = percent }
    }

    private fun tell(model: ModelFile, opened: TfliteInference, found: BenchFound) {
        val samples = found.samplesUs
        result = writeJson(
            linkedMapOf(
                "schema" to 1,
                "device" to "${Build.MANUFACTURER} ${Build.MODEL}",
                "android" to Build.VERSION.RELEASE,
                "model" to model.name,
                "sha256" to model.manifest.sha256,
                "engine" to opened.engine,
                "delegate" to opened.kernels.name.lowercase(),
                "fallback" to opened.fallback,
                "fully_delegated" to opened.isFullyDelegated,
                "first_us" to found.firstUs,
                "samples_us" to samples.toList(),
                "elapsed_us" to found.elapsedUs
            )
        )
        val text = getString(
            R.string.bench_summary,
            milliseconds(percentile(samples, samples.size, 0.5)),
            milliseconds(percentile(samples, samples.size, 0.9)),
            milliseconds(found.firstUs),
            opened.engine,
            opened.kernels.name,
            getString(answer(opened.isFullyDelegated))
        )
        runOnUiThread {
            summary.text = opened.fallback?.let { "$text\n$it" } ?: text
            share.isEnabled = true
        }
    }

    private fun tell(trouble: Trouble) = runOnUiThread { summary.setText(trouble.text) }

    private fun answer(value: Boolean?) = when (value) {
        true -> R.string.yes
        false -> R.string.no
        null -> R.string.unknown
    }

    private fun milliseconds(us: Double) = String.format(Locale.getDefault(), "%.2f", us / 1e3)

    private fun shareResult() {
        val intent = Intent(Intent.ACTION_SEND).setType("application/json")
        startActivity(Intent.createChooser(intent.putExtra(Intent.EXTRA_TEXT, result), null))
    }

    // ---------------------------------------------------------------- as adb's runner

    /**
     * Names of files are below files/bench; whoever starts this reaches nothing else. What fails
     * is told in a file beside the result's.
     */
    private fun obey(arguments: List<String>) {
        val folder = File(filesDir, "bench")
        val told = arguments.chunked(2).flatMap { pair ->
            val isFile = pair[0] in FILES && pair.size == 2
            if (isFile) listOf(pair[0], File(folder, File(pair[1]).name).path) else pair
        }
        val (code, complaint) = Main.run(told)
        val out = told.chunked(2).find { it[0] == "--out" }?.getOrNull(1) ?: "$folder/result"
        if (complaint != null) writeComplaint(File("$out.error"), code, complaint)
        runOnUiThread { summary.text = complaint ?: getString(R.string.bench_told) }
    }

    private fun writeComplaint(file: File, code: Int, complaint: String) {
        val part = File("${file.path}.part")
        try {
            file.parentFile?.mkdirs()
            part.writeText("{\"code\": $code, \"error\": $complaint}\n")
            if (!part.renameTo(file)) throw IOException("$part cannot be renamed")
        } catch (error: IOException) {
            runOnUiThread { summary.text = error.message }
        }
    }

    private companion object {
        const val ARGUMENTS = "arguments"
        const val PICTURES = 4
        const val WARM_UP = 20
        const val RUNS = 200
        val FILES = setOf("--model", "--pictures", "--table", "--out")
    }
}

package fiqa.scoring

import kotlin.math.ceil
import kotlin.math.max

enum class Stage { CONVERT, DETECT, CROP, SCORE, DRAW }

/** The p-th share of samples lies at or below it (nearest rank); NaN without samples. */
fun percentile(samples: DoubleArray, count: Int, share: Double): Double {
    if (count == 0) return Double.NaN
    val sorted = samples.copyOf(count).also { it.sort() }
    return sorted[max(ceil(share * count).toInt() - 1, 0)]
}

/** How long each stage took over the last frames, in milliseconds. A frame may pass one several times. */
class StageTimes(private val kept: Int = 100, private val clock: () -> Long = System::nanoTime) {
    private val samples = Array(Stage.entries.size) { DoubleArray(kept) }
    private val seen = IntArray(Stage.entries.size)
    private val begun = LongArray(Stage.entries.size)
    private val spent = LongArray(Stage.entries.size)
    private val passed = BooleanArray(Stage.entries.size)

    fun begin(stage: Stage) {
        begun[stage.ordinal] = clock()
    }

    fun end(stage: Stage) {
        spent[stage.ordinal] += clock() - begun[stage.ordinal]
        passed[stage.ordinal] = true
    }

    /** Keeps the sums of this frame's stages. */
    fun endFrame() {
        for (stage in passed.indices) {
            if (passed[stage]) samples[stage][seen[stage]++ % kept] = spent[stage] / 1e6
            passed[stage] = false
            spent[stage] = 0
        }
    }

    fun median(stage: Stage) = share(stage, 0.5)

    fun p90(stage: Stage) = share(stage, 0.9)

    fun clear() {
        seen.fill(0)
        spent.fill(0)
        passed.fill(false)
    }

    private fun share(stage: Stage, share: Double): Double {
        val at = stage.ordinal
        return percentile(samples[at], minOf(seen[at], kept), share)
    }
}

package fiqa.scoring

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class TimingTest {
    @Test
    fun `percentiles are samples of nearest rank`() {
        val samples = doubleArrayOf(5.0, 1.0, 3.0, 2.0, 4.0, 99.0)
        assertEquals(3.0, percentile(samples, 5, 0.5), 0.0)
        assertEquals(5.0, percentile(samples, 5, 0.9), 0.0)
        assertTrue(percentile(samples, 0, 0.5).isNaN())
    }

    @Test
    fun `stages of a frame add up and frames stay apart`() {
        var now = 0L
        val times = StageTimes(kept = 4) { now }
        for (milliseconds in listOf(2L, 4L, 6L, 8L, 10L)) { // the first falls out
            repeat(2) {
                times.begin(Stage.SCORE)
                now += milliseconds * 1_000_000
                times.end(Stage.SCORE)
            }
            times.endFrame()
        }
        assertEquals(12.0, times.median(Stage.SCORE), 1e-9)
        assertEquals(20.0, times.p90(Stage.SCORE), 1e-9)
        assertTrue(times.median(Stage.DRAW).isNaN())
    }
}

package fiqa.scoring

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class TrackerTest {
    private val second = 1_000_000_000L
    private fun face(x: Double, score: Double) = ScoredFace(Box(x, 100.0, 80.0, 100.0), score)

    @Test
    fun `half of a change has come through after the half-life`() {
        val tracker = Tracker(halfLifeS = 0.5)
        tracker.update(0, listOf(face(10.0, 0.2)))
        val (track) = tracker.update(second / 2, listOf(face(12.0, 0.8)))
        assertEquals(0.5, track.score, 1e-9)
        assertEquals(0.8, track.raw, 0.0)
        assertEquals(1, track.id)
    }

    @Test
    fun `smoothing does not depend on the frame rate`() {
        fun after(steps: Int): Double {
            val tracker = Tracker()
            tracker.update(0, listOf(face(10.0, 0.0)))
            return (1..steps).map {
                tracker.update(it * second / 5 / steps, listOf(face(10.0, 1.0))).single().score
            }.last()
        }
        assertEquals(after(1), after(12), 1e-9)
    }

    @Test
    fun `a face that left is gone at once and comes back as itself for a while`() {
        val tracker = Tracker(memoryS = 0.5)
        tracker.update(0, listOf(face(10.0, 0.9)))
        assertTrue(tracker.update(second / 10, emptyList()).isEmpty())
        assertEquals(1, tracker.update(second / 5, listOf(face(11.0, 0.1))).single().id)
        tracker.update(second, emptyList())
        val (late) = tracker.update(2 * second, listOf(face(11.0, 0.1)))
        assertEquals(2, late.id)
        assertEquals(0.1, late.score, 0.0)
    }

    @Test
    fun `each of several faces keeps its own score`() {
        val tracker = Tracker()
        tracker.update(0, listOf(face(0.0, 0.1), face(200.0, 0.9)))
        val tracks = tracker.update(second / 30, listOf(face(203.0, 0.9), face(2.0, 0.1)))
        assertEquals(listOf(2, 1), tracks.map { it.id })
        assertEquals(listOf(0.9, 0.1), tracks.map { it.score })
    }

    @Test
    fun `two faces on one memory leave it to the nearer one`() {
        val tracker = Tracker()
        tracker.update(0, listOf(face(0.0, 0.5)))
        val tracks = tracker.update(second / 30, listOf(face(30.0, 0.2), face(1.0, 0.5)))
        assertEquals(listOf(2, 1), tracks.map { it.id })
    }

    @Test
    fun `speed is in sides of the face a second`() {
        val tracker = Tracker(halfLifeS = 1e-9)
        tracker.update(0, listOf(face(0.0, 0.5)))
        assertEquals(2.0, tracker.update(second / 10, listOf(face(20.0, 0.5))).single().speed, 1e-6)
    }

    @Test
    fun `a clock that jumps back begins anew`() {
        val tracker = Tracker()
        tracker.update(second, listOf(face(0.0, 0.9)))
        assertEquals(0.1, tracker.update(0, listOf(face(0.0, 0.1))).single().score, 0.0)
    }

    @Test
    fun `the best shot is replaced by a clearly better one only`() {
        val best = BestShot(leastGain = 0.01)
        assertTrue(best.isEmpty)
        assertTrue(best.offer(0.4))
        assertFalse(best.offer(0.405))
        assertFalse(best.offer(Double.NaN))
        assertTrue(best.offer(0.6))
        best.clear()
        assertTrue(best.offer(0.1))
    }
}

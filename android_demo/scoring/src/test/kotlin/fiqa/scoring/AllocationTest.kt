package fiqa.scoring

import com.sun.management.ThreadMXBean
import java.io.File
import java.lang.management.ManagementFactory
import org.junit.Assert.assertTrue
import org.junit.Test

/** A camera's frame must not make work for the garbage collector. */
class AllocationTest {
    private val bean = ManagementFactory.getThreadMXBean() as ThreadMXBean

    private fun allocated(work: () -> Unit): Long {
        @Suppress("DEPRECATION")
        val thread = Thread.currentThread().id
        val before = bean.getThreadAllocatedBytes(thread)
        work()
        return bean.getThreadAllocatedBytes(thread) - before
    }

    @Test
    fun `a warm frame from planes to tracks allocates at most a kilobyte`() {
        val photo = Picture(File(Golden.folder, Golden.case("photo")["file"] as String))
        val (file, model) = Models.detector()
        model.use {
            val detector = Detector(it, file.manifest.preprocess)
            val cutter = Cutter(PreprocessSpec())
            val tracker = Tracker()
            val times = StageTimes()
            val frame = Frames.of(photo, 90, false)
            var count = 0L
            fun step() {
                val faces = detector.find(frame, times)
                val box = faces[0].box
                cutter.contractBytes(
                    frame,
                    cutter.spec.square(frame.uprightWidth, frame.uprightHeight, box)
                )
                tracker.update(count++ * 33_000_000, listOf(ScoredFace(box, 0.5)))
                times.endFrame()
            }
            repeat(60) { step() }
            println("an inference allocates ${allocated { repeat(50) { model.run() } } / 50} bytes")
            val bytes = allocated { repeat(50) { step() } } / 50
            println("a frame allocates $bytes bytes")
            assertTrue("$bytes bytes a frame", bytes <= 1024)
        }
    }
}

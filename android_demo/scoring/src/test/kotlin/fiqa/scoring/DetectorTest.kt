package fiqa.scoring

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

class DetectorTest {
    @Test
    fun `golden rows decode to the faces that Python finds`() {
        val case = Golden.case("detector")
        val bytes = File(Golden.folder, case["rows"] as String).readBytes()
        val rows = FloatArray(bytes.size / 4)
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(rows)
        val decoder = DetectorDecoder()
        repeat(2) {
            val found = List(decoder.decode(rows)) { decoder.face(it) }
            assertSameFaces(Golden.faces(case), found, 1e-9)
        }
        rows.fill(0f)
        assertEquals(0, decoder.decode(rows))
    }

    @Test
    fun `golden photo shows the faces that Python finds`() {
        val case = Golden.case("photo")
        val photo = Picture(File(Golden.folder, case["file"] as String))
        val (file, model) = Models.detector()
        model.use {
            val found = Detector(
                it,
                file.manifest.preprocess
            ).find(photo.rgb, photo.width, photo.height)
            assertSameFaces(Golden.faces(case), found, 0.05)
        }
    }

    @Test
    fun `a turned and mirrored frame shows the same faces`() {
        val case = Golden.case("photo")
        val photo = Picture(File(Golden.folder, case["file"] as String))
        val (file, model) = Models.detector()
        model.use {
            val detector = Detector(it, file.manifest.preprocess)
            for (turn in listOf(0, 90, 180, 270)) {
                for (isMirrored in listOf(false, true)) {
                    val frame = Frames.of(photo, turn, isMirrored, padding = 9)
                    // Chroma of half the size moves boxes a little.
                    assertSameFaces(Golden.faces(case), detector.find(frame), 3.0)
                }
            }
        }
    }

    @Test
    fun `frames of another size leave nothing of the one before`() {
        val (file, model) = Models.detector()
        model.use {
            val detector = Detector(it, file.manifest.preprocess)
            val photo = Picture(File(Golden.folder, Golden.case("photo")["file"] as String))
            assertTrue(detector.find(photo.rgb, photo.width, photo.height).isNotEmpty())
            assertEquals(emptyList<Face>(), detector.find(ByteArray(64 * 20 * 3), 64, 20))
        }
    }

    @Test
    fun `a scoring model is refused as detector`() {
        val (file, model) = Models.detector()
        model.use {
            val other = file.manifest.copy(preprocess = PreprocessSpec(size = 224))
            assertThrows(ModelError::class.java) { Scorer(it, other) }
        }
    }

    private fun assertSameFaces(wanted: List<Face>, found: List<Face>, pixels: Double) {
        assertEquals(wanted.size, found.size)
        for ((one, other) in wanted.zip(found)) {
            assertEquals(one.box.x, other.box.x, pixels)
            assertEquals(one.box.y, other.box.y, pixels)
            assertEquals(one.box.width, other.box.width, pixels)
            assertEquals(one.box.height, other.box.height, pixels)
        }
    }
}

package fiqa.scoring

import java.nio.ByteBuffer
import kotlin.math.hypot
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Overlay and crop go by one mapping: what is marked in a frame lands under its box. */
class GeometryTest {
    private val crops = listOf(null, Box(80.0, 60.0, 480.0, 360.0), Box(100.0, 40.0, 320.0, 240.0))

    private fun setups(): List<Setup> {
        val all = ArrayList<Setup>()
        for (sensor in TURNS) {
            for (isFront in listOf(false, true)) {
                for (display in TURNS) {
                    for (crop in crops) {
                        val (width, height) = if (display % 180 != 0) 2000 to 1080 else 1080 to 2000
                        all += Setup(sensor, isFront, display, 640, 480, width, height, crop)
                    }
                }
            }
        }
        return all
    }

    @Test
    fun `marked pixel lands under its box in every setup`() {
        assertEquals(4 * 2 * 4 * crops.size, setups().size)
        for (setup in setups()) {
            for ((column, row) in listOf(320 to 240, 250 to 200, 371 to 259)) {
                val found = brightest(setup, column, row)
                val box = Box(found.first.toDouble(), found.second.toDouble(), 1.0, 1.0)
                val shown = setup.uprightToView.map(box)
                val x = setup.frameToView.x(column + 0.5, row + 0.5)
                val y = setup.frameToView.y(column + 0.5, row + 0.5)
                assertTrue("$setup", hypot(shown.centreX - x, shown.centreY - y) <= 1.0)
            }
        }
    }

    /** Where the converter, which the crop goes by, puts one white pixel of a black frame. */
    private fun brightest(setup: Setup, column: Int, row: Int): Pair<Int, Int> {
        val luma = ByteBuffer.allocateDirect(640 * 480).put(row * 640 + column, -1)
        val chroma = ByteBuffer.allocateDirect(320 * 240)
        while (chroma.hasRemaining()) chroma.put(-128)
        chroma.rewind()
        val plane = Plane(chroma, 320, 1)
        val frame = Frame(640, 480, Plane(luma, 640, 1), plane, plane, setup.turn)
        val width = frame.uprightWidth
        val picture = ByteArray(640 * 480 * 3)
        Converter().convert(frame, 0, 0, width, frame.uprightHeight, picture)
        val at = picture.indexOfFirst { it.toInt() == -1 } / 3
        return at % width to at / width
    }

    @Test
    fun `the shown part fills the view from its middle`() {
        for (setup in setups()) {
            val crop = setup.crop ?: Box(0.0, 0.0, 640.0, 480.0)
            val shown = setup.frameToView.map(crop)
            assertEquals(setup.viewWidth / 2.0, shown.centreX, 1e-6)
            assertEquals(setup.viewHeight / 2.0, shown.centreY, 1e-6)
            assertTrue(shown.width >= setup.viewWidth - 1e-6)
            assertTrue(shown.height >= setup.viewHeight - 1e-6)
            val isTight =
                shown.width <= setup.viewWidth + 1e-6 || shown.height <= setup.viewHeight + 1e-6
            assertTrue("nothing more is cut away than must be", isTight)
        }
    }

    @Test
    fun `a portrait phone with its usual sensors stands upright and mirrors the front`() {
        val back = Setup(90, false, 0, 640, 480, 480, 640)
        assertEquals(90, back.turn)
        assertPoint(480.0, 0.0, back.frameToView, 0.0, 0.0) // the sensor's left top is upper right
        val front = Setup(270, true, 0, 640, 480, 480, 640)
        assertEquals(270, front.turn)
        assertPoint(0.0, 640.0, front.frameToUpright, 0.0, 0.0)
        assertPoint(480.0, 640.0, front.frameToView, 0.0, 0.0)
    }

    @Test
    fun `texture's own way and the transform together are the mapping`() {
        for (setup in setups()) {
            val lies = setup.sensor % 180 != 0
            val width = if (lies) 480.0 else 640.0
            val height = if (lies) 640.0 else 480.0
            var own = Affine.turn(setup.sensor, 640.0, 480.0)
            if (setup.isFront) own = own.then(Affine.mirror(width))
            own = own.then(Affine.scale(setup.viewWidth / width, setup.viewHeight / height))
            val both = own.then(setup.textureTransform)
            for ((x, y) in listOf(0.0 to 0.0, 640.0 to 0.0, 123.0 to 456.0)) {
                assertPoint(setup.frameToView.x(x, y), setup.frameToView.y(x, y), both, x, y)
            }
        }
    }

    @Test
    fun `inverse undoes`() {
        val map = Affine(2.0, 1.0, 5.0, -1.0, 3.0, 7.0)
        assertPoint(4.0, -9.0, map.then(map.inverse()), 4.0, -9.0)
    }

    private fun assertPoint(x: Double, y: Double, map: Affine, fromX: Double, fromY: Double) {
        assertEquals(x, map.x(fromX, fromY), 1e-6)
        assertEquals(y, map.y(fromX, fromY), 1e-6)
    }

    private companion object {
        val TURNS = listOf(0, 90, 180, 270)
    }
}

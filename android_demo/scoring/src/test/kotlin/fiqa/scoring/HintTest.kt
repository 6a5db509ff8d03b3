package fiqa.scoring

import org.junit.Assert.assertEquals
import org.junit.Test

class HintTest {
    private val spec = PreprocessSpec(size = 100)
    private val good = Light(128.0, 0.0)

    private fun hint(side: Int = 200, light: Light = good, speed: Double = 0.0) =
        Hints.of(Square(0, 0, side), spec, light, speed)

    @Test
    fun `nothing wrong gives no hint`() = assertEquals(null, hint())

    @Test
    fun `each trouble has its hint, the size first`() {
        assertEquals(Hint.TOO_SMALL, hint(side = 59, light = Light(10.0, 0.0), speed = 3.0))
        assertEquals(Hint.TOO_DARK, hint(light = Light(40.0, 0.0)))
        assertEquals(Hint.TOO_BRIGHT, hint(light = Light(220.0, 0.0)))
        assertEquals(Hint.TOO_BRIGHT, hint(light = Light(150.0, 0.3)))
        assertEquals(Hint.MOVING, hint(speed = 1.0))
    }

    @Test
    fun `light is that of the middle`() {
        val bytes = ByteArray(8 * 8 * 3)
        for (y in 2 until 6) {
            for (x in 2 until 6) {
                for (c in 0..2) {
                    bytes[(y * 8 + x) * 3 + c] =
                        if (x < 4) -1 else 100
                }
            }
        }
        assertEquals(Light(177.5, 0.5), Hints.light(bytes, 8))
    }
}

package fiqa.scoring

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** The contract's golden vectors: the bytes that Python makes, byte for byte. */
class GoldenTest {
    @Test
    fun `pictures become the golden bytes`() {
        val cases = Golden.cases("bytes")
        assertTrue(cases.size >= 20)
        for (case in cases) {
            val square = case.square(case.width, case.height)
            assertArrayEquals(
                case.name,
                case.expected,
                cutter(case).contractBytes(case.rgb, case.width, square)
            )
        }
    }

    @Test
    fun `camera frames become the golden bytes`() {
        val cases = Golden.cases("frame")
        assertTrue(cases.size >= 15)
        for (case in cases) {
            val frame = case.frame()
            val square = case.square(frame.uprightWidth, frame.uprightHeight)
            assertArrayEquals(case.name, case.expected, cutter(case).contractBytes(frame, square))
        }
    }

    @Test
    fun `one cutter serves all cases in turn`() {
        val cutters = HashMap<PreprocessSpec, Cutter>()
        repeat(2) {
            for (case in Golden.cases("frame")) {
                val frame = case.frame()
                val made = cutters.getOrPut(case.spec) { cutter(case) }
                    .contractBytes(frame, case.square(frame.uprightWidth, frame.uprightHeight))
                assertArrayEquals(case.name, case.expected, made)
            }
        }
    }

    private fun cutter(case: GoldenCase) = Cutter(case.spec)
}

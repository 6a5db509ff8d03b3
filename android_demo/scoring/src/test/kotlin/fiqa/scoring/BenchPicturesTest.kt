package fiqa.scoring

import java.nio.ByteBuffer
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class BenchPicturesTest {
    // Each channel's table adds its number times ten, so that a channel in the wrong place shows.
    private val table = ByteArray(768) { (it % 256 + it / 256 * 10).toByte() }
    private val bytes = ByteArray(24) { it.toByte() } // two pictures of 2 x 2 pixels

    private fun filled(number: Int, isPlanar: Boolean): ByteArray {
        val shape = if (isPlanar) listOf(1, 3, 2, 2) else listOf(1, 2, 2, 3)
        val spec = TensorSpec(TensorType.UINT8, shape, 1.0, 0)
        val input = Tensor(spec, ByteBuffer.allocate(12))
        BenchPictures(ByteBuffer.wrap(bytes), table, spec, isPlanar).fill(number, input)
        return input.data.array()
    }

    @Test
    fun `interleaved pictures stay interleaved`() {
        val wanted = intArrayOf(12, 23, 34, 15, 26, 37, 18, 29, 40, 21, 32, 43)
        assertArrayEquals(wanted, filled(1, false).map { it.toInt() }.toIntArray())
    }

    @Test
    fun `planar tensors get one channel after the other`() {
        val wanted = intArrayOf(0, 3, 6, 9, 11, 14, 17, 20, 22, 25, 28, 31)
        assertArrayEquals(wanted, filled(0, true).map { it.toInt() }.toIntArray())
    }

    @Test
    fun `pictures cut short are refused`() {
        val spec = TensorSpec(TensorType.UINT8, listOf(1, 2, 2, 3), 1.0, 0)
        val error = assertThrows(BenchError::class.java) {
            BenchPictures(ByteBuffer.wrap(bytes.copyOf(23)), table, spec)
        }
        assertEquals(BenchStage.PICTURES, error.stage)
    }
}

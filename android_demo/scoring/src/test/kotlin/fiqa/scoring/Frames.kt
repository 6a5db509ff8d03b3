package fiqa.scoring

import java.nio.ByteBuffer

/** Camera frames made of upright pictures: the way back from what the converter does. */
object Frames {
    /** NV21-like: full luma, chroma interleaved, rows padded by some bytes. */
    fun of(photo: Picture, turn: Int, isMirrored: Boolean, padding: Int = 0): Frame {
        val lies = turn % 180 != 0
        val width = if (lies) photo.height else photo.width
        val height = if (lies) photo.width else photo.height
        val setup = Setup(turn, false, 0, width, height, 1, 1)
        fun pixel(column: Int, row: Int, channel: Int): Int {
            val x = setup.frameToUpright.x(column + 0.5, row + 0.5).toInt()
            val y = setup.frameToUpright.y(column + 0.5, row + 0.5).toInt()
            val at = if (isMirrored) photo.width - 1 - x else x
            return photo.rgb[(y * photo.width + at) * 3 + channel].toInt() and 255
        }
        val luma = ByteBuffer.allocateDirect((width + padding) * height)
        val stride = width + width % 2 + padding
        val chroma = ByteBuffer.allocateDirect(stride * ((height + 1) / 2) + 1)
        for (row in 0 until height) {
            for (column in 0 until width) {
                val (r, g, b) = List(3) { pixel(column, row, it).toDouble() }
                luma.put(row * (width + padding) + column, byte(0.299 * r + 0.587 * g + 0.114 * b))
                if (row % 2 == 0 && column % 2 == 0) {
                    val at = row / 2 * stride + column
                    chroma.put(at, byte(128 + 0.5 * r - 0.418688 * g - 0.081312 * b))
                    chroma.put(at + 1, byte(128 - 0.168736 * r - 0.331264 * g + 0.5 * b))
                }
            }
        }
        val u = chroma.duplicate().also { it.position(1) }
        return Frame(
            width,
            height,
            Plane(luma, width + padding, 1),
            Plane(u, stride, 2),
            Plane(chroma, stride, 2),
            turn,
            isMirrored
        )
    }

    private fun byte(value: Double) = Math.round(value).coerceIn(0, 255).toByte()
}

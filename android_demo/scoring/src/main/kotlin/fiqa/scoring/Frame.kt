package fiqa.scoring

import java.nio.ByteBuffer
import kotlin.math.max
import kotlin.math.min

/**
 * Samples of one kind: that of (row, column) lies at row * rowStride + column * pixelStride of the
 * buffer. What lies between and behind them does not count.
 */
class Plane(buffer: ByteBuffer, val rowStride: Int, val pixelStride: Int) {
    private val data: ByteBuffer = buffer.duplicate().also { it.clear() }
    private val start = buffer.position()
    private val length = buffer.limit() - buffer.position()

    /** Samples [first] to [last] of a row, pixelStride apart, at the beginning of [target]. */
    fun read(row: Int, first: Int, last: Int, target: ByteArray) {
        data.position(start + row * rowStride + first * pixelStride)
        data.get(target, 0, (last - first) * pixelStride + 1)
    }

    internal fun check(name: String, width: Int, height: Int) {
        val needed = (height - 1) * rowStride + (width - 1) * pixelStride + 1
        if (pixelStride < 1 || (rowStride < 1 && height > 1) || length < needed) {
            throw PictureError(
                "plane $name: $length bytes, strides $rowStride and $pixelStride, for $width x $height"
            )
        }
    }
}

/**
 * A camera's frame, YUV_420_888, and what makes it upright: [turn] degrees clockwise, and
 * [isMirrored] where the turned frame shows left as right. A face is scored as others see it.
 */
class Frame(
    val width: Int,
    val height: Int,
    val y: Plane,
    val u: Plane,
    val v: Plane,
    val turn: Int = 0,
    val isMirrored: Boolean = false
) {
    init {
        if (width < 1 || height < 1 ||
            turn !in TURNS
        ) {
            throw PictureError("a frame of $width x $height turned by $turn")
        }
        y.check("Y", width, height)
        u.check("U", (width + 1) / 2, (height + 1) / 2)
        v.check("V", (width + 1) / 2, (height + 1) / 2)
    }

    private val lies get() = turn == 90 || turn == 270

    /** Of the upright picture. */
    val uprightWidth get() = if (lies) height else width
    val uprightHeight get() = if (lies) width else height

    private companion object {
        val TURNS = listOf(0, 90, 180, 270)
    }
}

// BT.601 full range, times 2^16 and rounded: 1.402, 0.344136, 0.714136, 1.772
private const val RED_V = 91881
private const val GREEN_U = 22554
private const val GREEN_V = 46802
private const val BLUE_U = 116130
private const val HALF = 1 shl 15

/** Turns parts of frames into upright RGB, and nothing but those parts. Keeps its buffers. */
class Converter {
    private var luma = ByteArray(0)
    private var blues = ByteArray(0)
    private var reds = ByteArray(0)

    /** A part of the upright picture, in pixels of it, at the beginning of [target], RGB. */
    fun convert(frame: Frame, x: Int, y: Int, width: Int, height: Int, target: ByteArray) {
        val isLying = frame.turn == 90 || frame.turn == 270
        val fromLeft = if (frame.isMirrored) frame.uprightWidth - x - width else x
        val left = when (frame.turn) {
            0 -> fromLeft
            90 -> y
            180 -> frame.width - fromLeft - width
            else -> frame.width - y - height
        }
        val top = when (frame.turn) {
            0 -> y
            90 -> frame.height - fromLeft - width
            180 -> frame.height - y - height
            else -> fromLeft
        }
        val columns = if (isLying) height else width
        val rows = if (isLying) width else height
        // Where the part's first sample goes, and how far apart its neighbours go.
        val right = if (frame.isMirrored) -3 else 3
        val down = width * 3
        val perColumn = when (frame.turn) {
            0 -> right
            90 -> down
            180 -> -right
            else -> -down
        }
        val perRow = when (frame.turn) {
            0 -> down
            90 -> -right
            180 -> -down
            else -> right
        }
        var start = 0
        if (perColumn < 0) start -= perColumn * (columns - 1)
        if (perRow < 0) start -= perRow * (rows - 1)
        for (row in 0 until rows) {
            convertRow(frame, top + row, left, columns, target, start + row * perRow, perColumn)
        }
    }

    private fun convertRow(
        frame: Frame,
        row: Int,
        left: Int,
        columns: Int,
        target: ByteArray,
        start: Int,
        step: Int
    ) {
        val last = left + columns - 1
        val lumaStep = frame.y.pixelStride
        val bluesStep = frame.u.pixelStride
        val redsStep = frame.v.pixelStride
        reserve(columns * max(lumaStep, max(bluesStep, redsStep)))
        frame.y.read(row, left, last, luma)
        frame.u.read(row / 2, left / 2, last / 2, blues)
        frame.v.read(row / 2, left / 2, last / 2, reds)
        val luma = luma
        var out = start
        var column = left
        while (column <= last) {
            val pair = column / 2 - left / 2
            val u = (blues[pair * bluesStep].toInt() and 255) - 128
            val v = (reds[pair * redsStep].toInt() and 255) - 128
            val red = (RED_V * v + HALF) shr 16
            val green = (GREEN_U * u + GREEN_V * v + HALF) shr 16
            val blue = (BLUE_U * u + HALF) shr 16
            val end = min(column or 1, last) // both pixels of the pair
            while (column <= end) {
                val y = luma[(column - left) * lumaStep].toInt() and 255
                target[out] = clamped(y + red)
                target[out + 1] = clamped(y - green)
                target[out + 2] = clamped(y + blue)
                out += step
                column++
            }
        }
    }

    private fun reserve(length: Int) {
        if (luma.size >= length) return
        luma = ByteArray(length)
        blues = ByteArray(length)
        reds = ByteArray(length)
    }

    private fun clamped(value: Int): Byte = min(max(value, 0), 255).toByte()
}

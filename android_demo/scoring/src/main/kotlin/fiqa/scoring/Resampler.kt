package fiqa.scoring

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

/** Pillow's filters: how far one reaches, in output pixels, and its weight there. */
enum class Filter(val support: Double) {
    BILINEAR(1.0),
    BOX(0.5),
    BICUBIC(2.0),
    LANCZOS(3.0),
    NEAREST(0.0)
    ;

    fun weight(distance: Double): Double {
        val x = abs(distance)
        return when (this) {
            BILINEAR -> max(1.0 - x, 0.0)
            BOX -> if (distance > -0.5 && distance <= 0.5) 1.0 else 0.0
            BICUBIC -> when {
                x < 1 -> ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
                x < 2 -> (((x - 5) * x + 8) * x - 4) * CUBIC
                else -> 0.0
            }
            LANCZOS -> if (distance >= -3 &&
                distance < 3
            ) {
                sinc(distance) * sinc(distance / 3)
            } else {
                0.0
            }
            NEAREST -> throw IllegalStateException("nearest has no weights")
        }
    }

    private fun sinc(x: Double) = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)

    private companion object {
        const val CUBIC = -0.5
    }
}

private const val BITS = 22
private const val HALF = 1 shl (BITS - 1)

/** Resizes interleaved RGB bytes as the contract says. Keeps its buffers: nothing is allocated twice. */
class Resampler(private val filter: Filter = Filter.BILINEAR) {
    private val across = Weights(filter)
    private val down = Weights(filter)
    private var between = ByteArray(0)
    private var sums = IntArray(0)

    /**
     * The [width] x [height] picture at the beginning of [source] as [newWidth] x [newHeight]
     * pixels at the beginning of [target], whose rows are [stride] bytes apart.
     */
    fun resize(
        source: ByteArray,
        width: Int,
        height: Int,
        target: ByteArray,
        newWidth: Int,
        newHeight: Int,
        stride: Int = newWidth * 3
    ) {
        if (filter ==
            Filter.NEAREST
        ) {
            return nearest(source, width, height, target, newWidth, newHeight, stride)
        }
        var rows = source
        if (newWidth != width) {
            if (between.size < newWidth * height * 3) between = ByteArray(newWidth * height * 3)
            across.prepare(width, newWidth)
            horizontally(source, width, height, between, newWidth)
            rows = between
        }
        if (newHeight == height) {
            for (y in 0 until height) {
                rows.copyInto(
                    target,
                    y * stride,
                    y * newWidth * 3,
                    (y + 1) * newWidth * 3
                )
            }
        } else {
            down.prepare(height, newHeight)
            vertically(rows, newWidth * 3, target, newHeight, stride)
        }
    }

    private fun horizontally(
        source: ByteArray,
        width: Int,
        height: Int,
        target: ByteArray,
        newWidth: Int
    ) {
        val first = across.first
        val count = across.count
        val weights = across.fixed
        var out = 0
        for (y in 0 until height) {
            val row = y * width * 3
            var kernel = 0
            for (x in 0 until newWidth) {
                var at = row + first[x] * 3
                var red = HALF
                var green = HALF
                var blue = HALF
                for (k in kernel until kernel + count[x]) {
                    val weight = weights[k]
                    red += weight * (source[at].toInt() and 255)
                    green += weight * (source[at + 1].toInt() and 255)
                    blue += weight * (source[at + 2].toInt() and 255)
                    at += 3
                }
                target[out] = clamped(red)
                target[out + 1] = clamped(green)
                target[out + 2] = clamped(blue)
                out += 3
                kernel += across.width
            }
        }
    }

    private fun vertically(
        source: ByteArray,
        length: Int,
        target: ByteArray,
        newHeight: Int,
        stride: Int
    ) {
        if (sums.size < length) sums = IntArray(length)
        val sums = sums
        for (y in 0 until newHeight) {
            java.util.Arrays.fill(sums, 0, length, HALF)
            for (k in 0 until down.count[y]) {
                addRow(
                    source,
                    (down.first[y] + k) * length,
                    down.fixed[y * down.width + k],
                    sums,
                    length
                )
            }
            val out = y * stride
            for (x in 0 until length) target[out + x] = clamped(sums[x])
        }
    }

    /** A loop that just-in-time compilers turn into vector instructions. */
    private fun addRow(source: ByteArray, from: Int, weight: Int, sums: IntArray, length: Int) {
        for (x in 0 until length) sums[x] += weight * (source[from + x].toInt() and 255)
    }

    private fun clamped(sum: Int): Byte = min(max(sum shr BITS, 0), 255).toByte()

    private fun nearest(
        source: ByteArray,
        width: Int,
        height: Int,
        target: ByteArray,
        newWidth: Int,
        newHeight: Int,
        stride: Int
    ) {
        val columnStep = width.toDouble() / newWidth
        val rowStep = height.toDouble() / newHeight
        var row = rowStep * 0.5
        for (y in 0 until newHeight) {
            var column = columnStep * 0.5
            for (x in 0 until newWidth) {
                val from = (row.toInt() * width + column.toInt()) * 3
                source.copyInto(target, y * stride + x * 3, from, from + 3)
                column += columnStep // added up, as Pillow does
            }
            row += rowStep
        }
    }
}

/** The weights of one axis: for each output pixel the first input pixel, how many, and theirs. */
private class Weights(private val filter: Filter) {
    var first = IntArray(0)
    var count = IntArray(0)
    var fixed = IntArray(0)
    var width = 0 // places for weights of one output pixel
    private var real = DoubleArray(0)
    private var from = 0
    private var to = 0

    fun prepare(size: Int, newSize: Int) {
        if (size == from && newSize == to) return
        from = size
        to = newSize
        val scale = size.toDouble() / newSize
        val stretch = max(scale, 1.0)
        val support = filter.support * stretch
        width = ceil(support).toInt() * 2 + 1
        reserve(newSize)
        for (i in 0 until newSize) {
            val centre = (i + 0.5) * scale
            first[i] = max((centre - support + 0.5).toInt(), 0)
            count[i] = min((centre + support + 0.5).toInt(), size) - first[i]
            weigh(i, centre, 1.0 / stretch)
        }
    }

    private fun weigh(i: Int, centre: Double, shrinking: Double) {
        var sum = 0.0
        for (k in 0 until count[i]) {
            real[k] = filter.weight((k + first[i] - centre + 0.5) * shrinking)
            sum += real[k]
        }
        for (k in 0 until count[i]) {
            val weight = if (sum != 0.0) real[k] / sum else real[k]
            val scaled = weight * (1 shl BITS)
            fixed[i * width + k] = (if (scaled < 0) scaled - 0.5 else scaled + 0.5).toInt()
        }
    }

    private fun reserve(newSize: Int) {
        if (first.size < newSize) {
            first = IntArray(newSize)
            count = IntArray(newSize)
        }
        if (fixed.size < newSize * width) fixed = IntArray(newSize * width)
        if (real.size < width) real = DoubleArray(width)
    }
}

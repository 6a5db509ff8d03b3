package fiqa.scoring

/** A square of a frame or picture as the bytes the model reads. Keeps its buffers. */
class Cutter(val spec: PreprocessSpec) {
    private val converter = Converter()
    private val resampler = Resampler(spec.filter)
    private var cut = ByteArray(0)

    /** What was cut last. */
    val bytes = ByteArray(spec.size * spec.size * 3)

    /** For a square of the upright frame; the same array each time. */
    fun contractBytes(frame: Frame, square: Square): ByteArray {
        reserve(square.side)
        converter.convert(frame, square.x, square.y, square.side, square.side, cut)
        return resampled(square.side)
    }

    /** For a square of an upright RGB picture of [width] pixels a row; the same array each time. */
    fun contractBytes(picture: ByteArray, width: Int, square: Square): ByteArray {
        val side = square.side
        reserve(side)
        for (row in 0 until side) {
            val from = ((square.y + row) * width + square.x) * 3
            picture.copyInto(cut, row * side * 3, from, from + side * 3)
        }
        return resampled(side)
    }

    private fun reserve(side: Int) {
        if (cut.size < side * side * 3) cut = ByteArray(side * side * 3)
    }

    private fun resampled(side: Int): ByteArray {
        resampler.resize(cut, side, side, bytes, spec.size, spec.size)
        if (spec.isBgr) {
            for (i in bytes.indices step 3) {
                val red = bytes[i]
                bytes[i] = bytes[i + 2]
                bytes[i + 2] = red
            }
        }
        return bytes
    }
}

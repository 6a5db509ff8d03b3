package fiqa.scoring

/** What a person can do for a better picture, told from what is measured. */
enum class Hint { TOO_SMALL, TOO_DARK, TOO_BRIGHT, MOVING }

/** How light a cut face is, in bytes of luma, and which share of it is burnt out. */
data class Light(val mean: Double, val burnt: Double)

object Hints {
    private const val LEAST_ENLARGED = 0.6 // of the model's side: below it a face has no detail
    private const val DARK = 55.0
    private const val BRIGHT = 205.0
    private const val BURNT_LUMA = 250
    private const val BURNT_SHARE = 0.2
    private const val FAST = 0.5 // sides of the face's box a second

    /** What is measured of one face. */
    class Measured(val square: Square, val light: Light)

    fun of(face: Measured, spec: PreprocessSpec, speed: Double): Hint? =
        of(face.square, spec, face.light, speed)

    /** The one that matters most; null where nothing is wrong that can be measured. */
    fun of(square: Square, spec: PreprocessSpec, light: Light, speed: Double): Hint? = when {
        square.side < LEAST_ENLARGED * spec.size -> Hint.TOO_SMALL
        light.mean < DARK -> Hint.TOO_DARK
        light.mean > BRIGHT || light.burnt > BURNT_SHARE -> Hint.TOO_BRIGHT
        speed > FAST -> Hint.MOVING
        else -> null
    }

    /** Of the middle half of contract bytes, along both axes: the face without its surroundings. */
    fun light(contractBytes: ByteArray, size: Int): Light {
        var sum = 0L
        var burnt = 0
        val from = size / 4
        val to = size - from
        for (y in from until to) {
            for (x in from until to) {
                val at = (y * size + x) * 3
                val luma = luma(contractBytes, at)
                sum += luma
                if (luma >= BURNT_LUMA) burnt++
            }
        }
        val count = (to - from) * (to - from)
        return Light(sum.toDouble() / count, burnt.toDouble() / count)
    }

    /** BT.601's shares in 256ths; red and blue changing places is of no weight here. */
    private fun luma(bytes: ByteArray, at: Int): Int {
        val green = 150 * (bytes[at + 1].toInt() and 255)
        return (77 * (bytes[at].toInt() and 255) + green + 29 * (bytes[at + 2].toInt() and 255)) shr
            8
    }
}

package fiqa.scoring

import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/** A place or picture that the contract refuses. */
class PictureError(message: String) : Exception(message)

/** A detected face in the upright picture, in pixels, without margin. */
data class Box(val x: Double, val y: Double, val width: Double, val height: Double) {
    val centreX get() = x + width / 2
    val centreY get() = y + height / 2
    val longer get() = max(width, height)

    fun isCentredIn(width: Int, height: Int) =
        centreX >= 0 && centreX <= width && centreY >= 0 && centreY <= height

    /** Intersection over union. */
    fun overlap(other: Box): Double {
        val across = min(x + width, other.x + other.width) - max(x, other.x)
        val down = min(y + height, other.y + other.height) - max(y, other.y)
        val both = max(across, 0.0) * max(down, 0.0)
        return both / (width * height + other.width * other.height - both)
    }
}

/** A square cut out of the upright picture, in whole pixels. */
data class Square(val x: Int, val y: Int, val side: Int)

/** How a face becomes a model's input; docs/contract.md tells the arithmetic. */
data class PreprocessSpec(
    val size: Int = 224,
    val margin: Double = 1.45,
    val filter: Filter = Filter.BILINEAR,
    val isBgr: Boolean = false,
    val mean: List<Double> = listOf(128.0, 128.0, 128.0),
    val std: List<Double> = listOf(128.0, 128.0, 128.0)
) {
    /** The square around a face: its margin added, moved inside the picture. */
    fun square(width: Int, height: Int, face: Box): Square = inside(width, height, face, margin)

    /** A crop has its margin already. */
    fun square(width: Int, height: Int, crop: Square): Square {
        val side = crop.side.toDouble()
        return inside(width, height, Box(crop.x.toDouble(), crop.y.toDouble(), side, side), 1.0)
    }

    /** A picture with neither is a crop: its central square. */
    fun square(width: Int, height: Int): Square {
        val side = min(width, height)
        return Square((width - side) / 2, (height - side) / 2, side)
    }

    private fun inside(width: Int, height: Int, box: Box, margin: Double): Square {
        check(box, width, height)
        val side = min(max(round(margin * box.longer), 1), min(width, height))
        val x = round(box.centreX - side / 2.0)
        val y = round(box.centreY - side / 2.0)
        return Square(x.coerceIn(0, width - side), y.coerceIn(0, height - side), side)
    }

    private fun check(box: Box, width: Int, height: Int) {
        val isSane = box.width > 0 && box.width < LARGEST && box.height > 0 && box.height < LARGEST
        if (!isSane ||
            !box.isCentredIn(width, height)
        ) {
            throw PictureError("$box in a $width x $height picture")
        }
    }

    companion object {
        private const val LARGEST = 1e6 // pixels

        /** Half up, the same in every language. */
        fun round(value: Double): Int = floor(value + 0.5).toInt()
    }
}

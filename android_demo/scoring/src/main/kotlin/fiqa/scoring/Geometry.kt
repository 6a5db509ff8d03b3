package fiqa.scoring

import kotlin.math.max

/** x' = a x + b y + c, y' = d x + e y + f, of points in continuous pixels (0 is an edge). */
data class Affine(
    val a: Double,
    val b: Double,
    val c: Double,
    val d: Double,
    val e: Double,
    val f: Double
) {
    fun x(x: Double, y: Double) = a * x + b * y + c

    fun y(x: Double, y: Double) = d * x + e * y + f

    /** This one first, then the other. */
    fun then(next: Affine) = Affine(
        next.a * a + next.b * d,
        next.a * b + next.b * e,
        next.a * c + next.b * f + next.c,
        next.d * a + next.e * d,
        next.d * b + next.e * e,
        next.d * c + next.e * f + next.f
    )

    fun inverse(): Affine {
        val area = a * e - b * d
        return Affine(
            e / area,
            -b / area,
            (b * f - c * e) / area,
            -d / area,
            a / area,
            (c * d - a * f) / area
        )
    }

    /** The box around a box's corners. */
    fun map(box: Box): Box {
        val right = box.x + box.width
        val bottom = box.y + box.height
        val xs = listOf(x(box.x, box.y), x(right, bottom))
        val ys = listOf(y(box.x, box.y), y(right, bottom))
        return Box(xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min())
    }

    companion object {
        fun scale(across: Double, down: Double = across) = Affine(across, 0.0, 0.0, 0.0, down, 0.0)

        fun shift(x: Double, y: Double) = Affine(1.0, 0.0, x, 0.0, 1.0, y)

        /** Left for right in a picture of this width. */
        fun mirror(width: Double) = Affine(-1.0, 0.0, width, 0.0, 1.0, 0.0)

        /** A width x height picture turned clockwise, its corner at zero again. */
        fun turn(degrees: Int, width: Double, height: Double) = when (degrees) {
            90 -> Affine(0.0, -1.0, height, 1.0, 0.0, 0.0)
            180 -> Affine(-1.0, 0.0, width, 0.0, -1.0, height)
            270 -> Affine(0.0, 1.0, 0.0, -1.0, 0.0, width)
            else -> scale(1.0)
        }
    }
}

/**
 * How a camera's frame stands to the screen. Angles in degrees; [display] is how far the screen is
 * turned from its natural position, [sensor] how the sensor is built in. [crop] is the part of the
 * frame that the preview shows where it zooms, in pixels of the frame.
 */
data class Setup(
    val sensor: Int,
    val isFront: Boolean,
    val display: Int,
    val frameWidth: Int,
    val frameHeight: Int,
    val viewWidth: Int,
    val viewHeight: Int,
    val crop: Box? = null
) {
    /** Clockwise degrees that make the frame upright on the screen. */
    val turn: Int = if (isFront) (sensor + display) % 360 else (sensor - display + 360) % 360

    /** Pixels of the frame to pixels of the upright, unmirrored picture, where faces are found. */
    val frameToUpright: Affine = Affine.turn(turn, frameWidth.toDouble(), frameHeight.toDouble())

    /**
     * Pixels of the upright picture to pixels of the view, which the shown part fills from its
     * middle. The front camera's view is a mirror.
     */
    val uprightToView: Affine = run {
        val whole = Box(0.0, 0.0, frameWidth.toDouble(), frameHeight.toDouble())
        val shown = frameToUpright.map(crop ?: whole)
        val scale = max(viewWidth / shown.width, viewHeight / shown.height)
        val filled = Affine.shift(-shown.centreX, -shown.centreY)
            .then(Affine.scale(scale))
            .then(Affine.shift(viewWidth / 2.0, viewHeight / 2.0))
        if (isFront) filled.then(Affine.mirror(viewWidth.toDouble())) else filled
    }

    /** Pixels of the frame to pixels of the view: the one mapping that preview and overlay share. */
    val frameToView: Affine = frameToUpright.then(uprightToView)

    /**
     * What a TextureView's transform must be. Left alone it turns the frame as the natural display
     * wants it, mirrors the front camera's, and stretches it over the view.
     */
    val textureTransform: Affine = run {
        val natural = Affine.turn(sensor, frameWidth.toDouble(), frameHeight.toDouble())
        val lies = sensor % 180 != 0
        val width = (if (lies) frameHeight else frameWidth).toDouble()
        val height = (if (lies) frameWidth else frameHeight).toDouble()
        val mirrored = if (isFront) natural.then(Affine.mirror(width)) else natural
        val stretched = mirrored.then(Affine.scale(viewWidth / width, viewHeight / height))
        stretched.inverse().then(frameToView)
    }
}

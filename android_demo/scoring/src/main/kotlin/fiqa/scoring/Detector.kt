package fiqa.scoring

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** A face in pixels of the upright picture, and how sure the detector is, 0 to 1. */
data class Face(val box: Box, val confidence: Double)

/** Finds faces in whole frames: the detector of fiqa, looked at once, as the contract tells. */
class Detector(
    private val model: Inference,
    spec: PreprocessSpec,
    confidence: Double = CONFIDENCE
) {
    private val decoder = DetectorDecoder(confidence)
    private val port = TensorPort(spec, model.input, model.output)
    private val converter = Converter()
    private val resampler = Resampler(spec.filter)
    private var picture = ByteArray(0)
    private val look = ByteArray(SIZE * SIZE * 3)
    private val rows = FloatArray(PRIORS * VALUES)
    private val output = model.output.data.asFloatBuffer()
    private var shownWidth = 0
    private var shownHeight = 0

    init {
        val fits = model.input.spec.shape == listOf(1, SIZE, SIZE, 3) &&
            model.output.spec.shape == listOf(1, PRIORS, VALUES) &&
            model.output.spec.type == TensorType.FLOAT32 && !spec.isBgr
        if (!fits) {
            throw ModelError(
                ModelFault.UNSUITABLE,
                "this is not the face detector: ${model.input.spec.shape}"
            )
        }
    }

    /** The frame's faces, largest first. */
    fun find(frame: Frame, times: StageTimes? = null): List<Face> {
        val width = frame.uprightWidth
        val height = frame.uprightHeight
        times?.begin(Stage.CONVERT)
        if (picture.size < width * height * 3) picture = ByteArray(width * height * 3)
        converter.convert(frame, 0, 0, width, height, picture)
        times?.end(Stage.CONVERT)
        return find(picture, width, height, times)
    }

    /** The faces of an upright RGB picture. */
    fun find(picture: ByteArray, width: Int, height: Int, times: StageTimes? = null): List<Face> {
        times?.begin(Stage.DETECT)
        show(picture, width, height)
        model.run()
        output.clear()
        output.get(rows)
        val across = shownWidth.toDouble() / width
        val down = shownHeight.toDouble() / height
        val found = decoder.decode(rows)
        val faces = ArrayList<Face>(found)
        for (i in 0 until found) {
            val face = decoder.face(i, across, down)
            if (face.box.isCentredIn(width, height)) faces += face
        }
        faces.sortWith(LARGEST_FIRST)
        times?.end(Stage.DETECT)
        return faces
    }

    /** The picture, shrunk to fit, in the upper left corner of the model's input. */
    private fun show(picture: ByteArray, width: Int, height: Int) {
        val scale = min(SIZE, max(width, height)).toDouble() / max(width, height)
        val newWidth = max((width * scale + 0.5).toInt(), 1)
        val newHeight = max((height * scale + 0.5).toInt(), 1)
        if (newWidth != shownWidth || newHeight != shownHeight) look.fill(0)
        shownWidth = newWidth
        shownHeight = newHeight
        resampler.resize(picture, width, height, look, newWidth, newHeight, SIZE * 3)
        port.write(look)
    }

    companion object {
        const val SIZE = 320
        const val VALUES = 6
        const val CONFIDENCE = 0.7
        val STRIDES = intArrayOf(8, 16, 32)
        val PRIORS = STRIDES.sumOf { (SIZE / it) * (SIZE / it) }
        private val LARGEST_FIRST = compareByDescending<Face> { it.box.width * it.box.height }
    }
}

/** The detector's rows to the faces of one look. Keeps its buffers. */
class DetectorDecoder(private val confidence: Double = Detector.CONFIDENCE) {
    private val kept = IntArray(MOST_FACES)
    private var count = 0
    private val order = IntArray(Detector.PRIORS)
    private val certainties = DoubleArray(Detector.PRIORS)
    private val boxes = Array(4) { DoubleArray(Detector.PRIORS) } // x, y, width, height

    /** How many faces there are; [face] then gives each, surest first. */
    fun decode(rows: FloatArray): Int {
        val candidates = collect(rows)
        sort(candidates)
        count = 0
        for (i in 0 until candidates) {
            if (count < MOST_FACES && isNew(order[i])) kept[count++] = order[i]
        }
        return count
    }

    /** In pixels of the look, divided by its shrinking along each axis. */
    fun face(number: Int, across: Double = 1.0, down: Double = 1.0): Face {
        val prior = kept[number]
        val (x, y, width, height) = boxes
        val box = Box(
            x[prior] / across,
            y[prior] / down,
            width[prior] / across,
            height[prior] / down
        )
        return Face(box, certainties[prior])
    }

    /** Fills boxes of sure priors, and the beginning of [order] with their numbers. */
    private fun collect(rows: FloatArray): Int {
        var candidates = 0
        var prior = 0
        for (stride in Detector.STRIDES) {
            val columns = Detector.SIZE / stride
            for (place in 0 until columns * columns) {
                val at = prior * Detector.VALUES
                val certainty = sqrt(share(rows[at]) * share(rows[at + 1]))
                if (certainty >= confidence) {
                    certainties[prior] = certainty
                    setBox(prior, rows, at + 2, stride, place % columns, place / columns)
                    order[candidates++] = prior
                }
                prior++
            }
        }
        return candidates
    }

    private fun share(value: Float) = min(max(value.toDouble(), 0.0), 1.0)

    private fun setBox(prior: Int, rows: FloatArray, at: Int, stride: Int, column: Int, row: Int) {
        val width = exp(rows[at + 2].toDouble()) * stride
        val height = exp(rows[at + 3].toDouble()) * stride
        boxes[0][prior] = (column + rows[at].toDouble()) * stride - width / 2
        boxes[1][prior] = (row + rows[at + 1].toDouble()) * stride - height / 2
        boxes[2][prior] = width
        boxes[3][prior] = height
    }

    /** By insertion: a few dozen at most, and equal ones keep their order. */
    private fun sort(candidates: Int) {
        for (i in 1 until candidates) {
            val moved = order[i]
            var at = i
            while (at > 0 && certainties[order[at - 1]] < certainties[moved]) {
                order[at] = order[at - 1]
                at--
            }
            order[at] = moved
        }
    }

    private fun isNew(prior: Int): Boolean {
        for (i in 0 until count) if (overlap(prior, kept[i]) > SAME_FACE) return false
        return true
    }

    private fun overlap(one: Int, other: Int): Double {
        val (x, y, width, height) = boxes
        val across = min(x[one] + width[one], x[other] + width[other]) - max(x[one], x[other])
        val down = min(y[one] + height[one], y[other] + height[other]) - max(y[one], y[other])
        val both = max(across, 0.0) * max(down, 0.0)
        return both / (width[one] * height[one] + width[other] * height[other] - both)
    }

    private companion object {
        const val SAME_FACE = 0.3
        const val MOST_FACES = 200
    }
}

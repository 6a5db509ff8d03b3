package fiqa.scoring

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** A face in pixels of the upright picture, and how sure the detector is, 0 to 1. */
data class Face(val box: Box, val confidence: Double)

/** Finds faces in whole frames: the detector of fiqa, looked at once, as the contract tells. */
class Detector(private val model: Inference, spec: PreprocessSpec, confidence: Double = CONFIDENCE) {
    private val decoder = DetectorDecoder(confidence)
    private val port = TensorPort(spec, model.input, model.output)
    private val converter = Converter()
    private val resampler = Resampler(spec.filter)
    private var picture = ByteArray(0)
    private val look = ByteArray(SIZE * SIZE * 3)
    private val rows = FloatArray(PRIORS * VALUES)
    private var shownWidth = 0
    private var shownHeight = 0

    init {
        val fits = model.input.spec.shape == listOf(1, SIZE, SIZE, 3) &&
            model.output.spec.shape == listOf(1, PRIORS, VALUES) && !spec.isBgr
        if (!fits) throw ModelError(ModelFault.UNSUITABLE, "this is not the face detector: ${model.input.spec.shape}")
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
        for (i in rows.indices) rows[i] = port.read(i).toFloat()
        val across = shownWidth.toDouble() / width
        val down = shownHeight.toDouble() / height
        val faces = decoder.decode(rows).map { it.scaled(across, down) }
            .filter { it.box.centreX in 0.0..width.toDouble() && it.box.centreY in 0.0..height.toDouble() }
            .sortedByDescending { it.box.width * it.box.height }
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

    private fun Face.scaled(across: Double, down: Double) =
        Face(Box(box.x / across, box.y / down, box.width / across, box.height / down), confidence)

    companion object {
        const val SIZE = 320
        const val VALUES = 6
        const val CONFIDENCE = 0.7
        val STRIDES = intArrayOf(8, 16, 32)
        val PRIORS = STRIDES.sumOf { (SIZE / it) * (SIZE / it) }
    }
}

/** The detector's rows to the faces of one look, surest first, in pixels of the look. */
class DetectorDecoder(private val confidence: Double = Detector.CONFIDENCE) {
    fun decode(rows: FloatArray): List<Face> {
        val found = ArrayList<Face>()
        var row = 0
        for (stride in Detector.STRIDES) {
            val columns = Detector.SIZE / stride
            for (prior in 0 until columns * columns) {
                val certainty = certainty(rows, row)
                if (certainty >= confidence) {
                    found += Face(box(rows, row + 2, stride, prior % columns, prior / columns), certainty)
                }
                row += Detector.VALUES
            }
        }
        return suppressed(found)
    }

    private fun certainty(rows: FloatArray, at: Int) =
        sqrt(rows[at].toDouble().coerceIn(0.0, 1.0) * rows[at + 1].toDouble().coerceIn(0.0, 1.0))

    private fun box(rows: FloatArray, at: Int, stride: Int, column: Int, row: Int): Box {
        val width = exp(rows[at + 2].toDouble()) * stride
        val height = exp(rows[at + 3].toDouble()) * stride
        val x = (column + rows[at].toDouble()) * stride - width / 2
        val y = (row + rows[at + 1].toDouble()) * stride - height / 2
        return Box(x, y, width, height)
    }

    private fun suppressed(found: List<Face>): List<Face> {
        val kept = ArrayList<Face>()
        for (face in found.sortedByDescending { it.confidence }) {
            if (kept.none { it.box.overlap(face.box) > SAME_FACE }) kept += face
        }
        return kept
    }

    private companion object {
        const val SAME_FACE = 0.3
    }
}

package fiqa.scoring

/** Scores faces with a model, by the contract inside it. */
class Scorer(private val model: Inference, private val manifest: Manifest) {
    private val spec = manifest.preprocess
    private val cutter = Cutter(spec)
    private val port = TensorPort(spec, model.input, model.output)

    /** The score from which a picture is accepted, where the manifest names one. */
    val threshold get() = manifest.threshold

    init {
        val wanted = listOf(1, spec.size, spec.size, 3)
        if (model.input.spec.shape != wanted) {
            throw ModelError(
                ModelFault.UNSUITABLE,
                "the model takes ${model.input.spec.shape}, and its contract makes $wanted"
            )
        }
        if (model.output.size != 1) {
            throw ModelError(ModelFault.UNSUITABLE, "the model gives ${model.output.spec.shape}")
        }
    }

    /** The score of a face in a frame. */
    fun score(frame: Frame, face: Box, times: StageTimes? = null): Double {
        times?.begin(Stage.CROP)
        val square = spec.square(frame.uprightWidth, frame.uprightHeight, face)
        val bytes = cutter.contractBytes(frame, square)
        times?.end(Stage.CROP)
        times?.begin(Stage.SCORE)
        val score = score(bytes)
        times?.end(Stage.SCORE)
        return score
    }

    /** The score of a square of an upright RGB picture of [width] pixels a row. */
    fun score(picture: ByteArray, width: Int, square: Square): Double =
        score(cutter.contractBytes(picture, width, square))

    /** How light the face is that was scored last. */
    fun light(): Light = Hints.light(cutter.bytes, spec.size)

    /** The score of contract bytes, in the model's own scale. */
    fun score(contractBytes: ByteArray): Double {
        port.write(contractBytes)
        model.run()
        val score = port.read(0)
        if (!score.isFinite()) throw InferenceError("the model gave $score")
        return score
    }
}

package fiqa.app

import android.content.Context
import fiqa.scoring.Box
import fiqa.scoring.Detector
import fiqa.scoring.Frame
import fiqa.scoring.Hint
import fiqa.scoring.Hints
import fiqa.scoring.InferenceError
import fiqa.scoring.Manifest
import fiqa.scoring.ModelError
import fiqa.scoring.PreprocessSpec
import fiqa.scoring.ScoredFace
import fiqa.scoring.Scorer
import fiqa.scoring.StageTimes
import fiqa.scoring.TfliteInference
import fiqa.scoring.Tracker

/** A face as the screen shows it: its box in pixels of the upright picture. */
class Seen(
    val id: Int,
    val box: Box,
    val score: Double,
    val raw: Double,
    val isAccepted: Boolean?,
    val hint: Hint?
)

/** Detector and scorer, opened; used by one thread. */
class Engine private constructor(
    private val detection: TfliteInference,
    private val scoring: TfliteInference,
    private val detector: Detector,
    private val scorer: Scorer,
    val manifest: Manifest
) : AutoCloseable {
    private val spec: PreprocessSpec = manifest.preprocess
    private val tracker = Tracker()

    /** Why NNAPI does not compute although it was asked to. */
    val fallback get() = scoring.fallback

    /** The faces of a camera's frame, with scores smoothed over the frames before. */
    fun look(frame: Frame, timeNs: Long, times: StageTimes): List<Seen> {
        val width = frame.uprightWidth
        val height = frame.uprightHeight
        val faces = ArrayList<ScoredFace>()
        val hints = ArrayList<Hints.Measured>()
        for (face in detector.find(frame, times)) {
            faces += ScoredFace(face.box, scorer.score(frame, face.box, times))
            hints += Hints.Measured(spec.square(width, height, face.box), scorer.light())
        }
        val tracks = tracker.update(timeNs, faces)
        times.endFrame()
        return tracks.mapIndexed { number, track ->
            val hint = Hints.of(hints[number], spec, track.speed)
            Seen(track.id, track.box, track.score, track.raw, accepted(track.score), hint)
        }
    }

    /** The faces of a still picture. */
    fun look(picture: ByteArray, width: Int, height: Int): List<Seen> =
        detector.find(picture, width, height).mapIndexed { number, face ->
            val square = spec.square(width, height, face.box)
            val score = scorer.score(picture, width, square)
            val hint = Hints.of(Hints.Measured(square, scorer.light()), spec, 0.0)
            Seen(number, face.box, score, score, accepted(score), hint)
        }

    fun forget() = tracker.clear()

    private fun accepted(score: Double) = manifest.threshold?.let { score >= it }

    override fun close() {
        detection.close()
        scoring.close()
    }

    companion object {
        /** Opens both models, or says what the trouble is. */
        fun open(context: Context, settings: Settings): Engine = try {
            val models = Models(context)
            val found = models.detector()
            val model = models.scorer(settings)
            val detection = TfliteInference(found, settings.threads)
            val scoring = TfliteInference(model, settings.threads, settings.kernels)
            val detector = Detector(detection, found.manifest.preprocess)
            Engine(detection, scoring, detector, Scorer(scoring, model.manifest), model.manifest)
        } catch (error: ModelError) {
            throw TroubleException(Trouble.of(error.fault), error)
        } catch (error: InferenceError) {
            throw TroubleException(Trouble.LIBRARY, error)
        }
    }
}

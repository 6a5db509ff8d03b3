package fiqa.app

import android.content.Context
import android.media.Image
import android.os.Handler
import android.os.HandlerThread
import android.os.SystemClock
import fiqa.scoring.BestShot
import fiqa.scoring.Converter
import fiqa.scoring.Frame
import fiqa.scoring.InferenceError
import fiqa.scoring.PictureError
import fiqa.scoring.StageTimes
import java.util.Locale

/** What the screen is told, from the analysis thread. */
interface LiveListener {
    /** [opening] is what was handed over with the frame: which camera's time it was. */
    fun onSeen(seen: List<Seen>, opening: Int)

    fun onTrouble(trouble: Trouble)

    /** The best shot's score, or null where no face was seen. */
    fun onShot(score: Double?)
}

/** Looks at frames on a thread of its own: models, tracking, best shot. */
class Live(private val context: Context, private val listener: LiveListener) {
    val thread = HandlerThread("analysis").apply { start() }
    val handler = Handler(thread.looper)
    val times = StageTimes()
    private var engine: Engine? = null
    private val best = BestShot()
    private val converter = Converter()
    private var shot = ByteArray(0)
    private var shotSize = 0 to 0
    private var shotUntilMs = 0L

    /** Opens the models that the settings name, in place of those before. */
    fun load(settings: Settings) = handler.post {
        engine?.close()
        engine = null
        times.clear()
        try {
            engine = Engine.open(context, settings)
        } catch (error: TroubleException) {
            listener.onTrouble(error.trouble)
        }
    }

    /** Another camera or a pause: what was seen before says nothing of what comes. */
    fun forget() = handler.post { engine?.forget() }

    /** Keeps the best picture of the next moments and saves it. */
    fun shoot() = handler.post {
        best.clear()
        shotUntilMs = SystemClock.uptimeMillis() + SHOT_MS
        handler.postDelayed(::endShot, SHOT_MS)
    }

    fun look(image: Image, turn: Int, opening: Int) {
        val opened = engine ?: return
        try {
            val frame = image.toFrame(turn)
            val seen = opened.look(frame, image.timestamp, times)
            if (SystemClock.uptimeMillis() < shotUntilMs) offer(frame, seen)
            listener.onSeen(seen, opening)
        } catch (_: PictureError) { // a frame with planes that cannot be: the next one will do
            listener.onSeen(emptyList(), opening)
        } catch (error: InferenceError) {
            engine = null
            opened.close()
            listener.onTrouble(Trouble.LIBRARY)
        }
    }

    fun quit() {
        handler.post {
            engine?.close()
            engine = null
        }
        thread.quitSafely()
    }

    private fun offer(frame: Frame, seen: List<Seen>) {
        val face = seen.firstOrNull() ?: return
        if (!best.offer(face.raw)) return
        val width = frame.uprightWidth
        val height = frame.uprightHeight
        if (shot.size != width * height * 3) shot = ByteArray(width * height * 3)
        converter.convert(frame, 0, 0, width, height, shot)
        shotSize = width to height
    }

    private fun endShot() {
        shotUntilMs = 0
        if (best.isEmpty) return listener.onShot(null)
        val (width, height) = shotSize
        val score = String.format(Locale.ROOT, "%.3f", best.score)
        try {
            val name = "face_${System.currentTimeMillis()}_$score.jpg"
            Gallery.save(context, bitmapOf(shot, width, height), name)
            listener.onShot(best.score)
        } catch (error: TroubleException) {
            listener.onTrouble(error.trouble)
        }
    }

    private companion object {
        const val SHOT_MS = 2000L
    }
}

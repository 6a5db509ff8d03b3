package fiqa.app

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.View
import fiqa.scoring.Affine
import fiqa.scoring.Hint
import fiqa.scoring.Stage
import fiqa.scoring.StageTimes
import java.util.Locale

/** Boxes, scores and hints over a picture. */
class OverlayView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val density = resources.displayMetrics.density
    private val frame = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        style = Paint.Style.STROKE
        strokeWidth = 3 * density
    }
    private val plate = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        color = context.getColor(R.color.plate)
    }
    private val letters = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        textSize = 18 * resources.displayMetrics.scaledDensityCompat()
        isFakeBoldText = true
    }
    private val corners = RectF()
    val times = StageTimes()
    var seen: List<Seen> = emptyList()
        private set
    private var map = Affine.scale(1.0)
    private var isLooking = false

    /** Shows faces, whose boxes the mapping brings into pixels of this view. */
    fun show(seen: List<Seen>, map: Affine) {
        this.seen = seen
        this.map = map
        isLooking = true
        contentDescription = if (seen.isEmpty()) {
            context.getString(R.string.looking)
        } else {
            seen.joinToString { described(it) }
        }
        invalidate()
    }

    /** Nothing is known: no frame has come, or none for a while. */
    fun clear() {
        show(emptyList(), map)
        isLooking = false
    }

    /** Where a face's box stands in this view. */
    fun place(face: Seen): RectF {
        val box = map.map(face.box)
        val right = box.x + box.width
        val bottom = box.y + box.height
        return RectF(box.x.toFloat(), box.y.toFloat(), right.toFloat(), bottom.toFloat())
    }

    override fun onDraw(canvas: Canvas) {
        times.begin(Stage.DRAW)
        if (isLooking && seen.isEmpty()) {
            corners.set(0f, height * 0.2f, 0f, 0f)
            val words = context.getString(R.string.looking)
            corners.left = (width - letters.measureText(words)) / 2
            write(canvas, words, context.getColor(R.color.plate_ink))
        }
        for (face in seen) {
            val colour = context.getColor(colourOf(face))
            frame.color = colour
            corners.set(place(face))
            canvas.drawRoundRect(corners, 10 * density, 10 * density, frame)
            write(canvas, captionOf(face), colour)
        }
        times.end(Stage.DRAW)
        times.endFrame()
    }

    /** On a plate above the box, moved inside the view. */
    private fun write(canvas: Canvas, caption: String, colour: Int) {
        val gap = 6 * density
        val width = letters.measureText(caption) + 2 * gap
        val height = letters.textSize + 2 * gap
        val left = corners.left.coerceIn(0f, maxOf(this.width - width, 0f))
        val top = (corners.top - height - gap).coerceIn(0f, maxOf(this.height - height, 0f))
        canvas.drawRoundRect(left, top, left + width, top + height, gap, gap, plate)
        letters.color = colour
        canvas.drawText(caption, left + gap, top + gap + letters.textSize * 0.85f, letters)
    }

    private fun captionOf(face: Seen): String {
        val score = String.format(Locale.getDefault(), "%.2f", face.score)
        val hint = face.hint?.let { context.getString(hintText(it)) }
        val words = if (face.isAccepted == true) verdict(face) else hint ?: verdict(face)
        return if (words.isEmpty()) score else "$score  $words"
    }

    private fun described(face: Seen): String {
        val score = String.format(Locale.getDefault(), "%.2f", face.score)
        val hint = face.hint?.let { context.getString(hintText(it)) } ?: ""
        return context.getString(R.string.face_described, score, verdict(face), hint).trim()
    }

    private fun verdict(face: Seen) = when (face.isAccepted) {
        true -> context.getString(R.string.accept)
        false -> context.getString(R.string.reject)
        null -> ""
    }

    private fun colourOf(face: Seen) = when (face.isAccepted) {
        true -> R.color.accept
        false -> R.color.reject
        null -> R.color.neutral
    }

    private companion object {
        fun hintText(hint: Hint) = when (hint) {
            Hint.TOO_SMALL -> R.string.hint_too_small
            Hint.TOO_DARK -> R.string.hint_too_dark
            Hint.TOO_BRIGHT -> R.string.hint_too_bright
            Hint.MOVING -> R.string.hint_moving
        }
    }
}

/** Pixels of one sp; its successor is of API level 34. */
@Suppress("DEPRECATION")
private fun android.util.DisplayMetrics.scaledDensityCompat() = scaledDensity

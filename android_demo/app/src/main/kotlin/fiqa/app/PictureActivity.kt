package fiqa.app

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.net.Uri
import android.os.Bundle
import android.widget.ImageView
import android.widget.TextView
import fiqa.scoring.Affine
import fiqa.scoring.InferenceError
import java.io.IOException
import kotlin.math.min

/** Scores a picture that another app shares. */
class PictureActivity : Activity() {
    private lateinit var view: ImageView
    lateinit var overlay: OverlayView
        private set
    lateinit var message: TextView
        private set
    var work: Thread? = null
        private set

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.picture)
        view = findViewById(R.id.picture)
        overlay = findViewById(R.id.overlay)
        message = findViewById(R.id.message)
        @Suppress("DEPRECATION") // its successor is of API level 33
        val uri = intent.getParcelableExtra<Uri>(Intent.EXTRA_STREAM)
        message.setText(R.string.bench_running)
        work = Thread { score(uri) }.apply { start() }
    }

    private fun score(uri: Uri?) {
        try {
            val picture = Picture.read(this, uri ?: throw TroubleException(Trouble.PICTURE))
            val seen = Engine.open(this, Settings(this)).use {
                it.look(picture.toRgb(), picture.width, picture.height)
            }
            runOnUiThread { if (!isDestroyed) show(picture, seen) }
        } catch (error: TroubleException) {
            runOnUiThread { message.setText(error.trouble.text) }
        } catch (_: InferenceError) {
            runOnUiThread { message.setText(Trouble.LIBRARY.text) }
        }
    }

    private fun show(picture: Bitmap, seen: List<Seen>) {
        val across = view.width.toDouble() / picture.width
        val scale = min(across, view.height.toDouble() / picture.height)
        val left = (view.width - picture.width * scale) / 2
        val top = (view.height - picture.height * scale) / 2
        val map = Affine.scale(scale).then(Affine.shift(left, top))
        view.setImageBitmap(picture)
        view.imageMatrix = map.toMatrix()
        overlay.show(seen, map)
        message.text = overlay.contentDescription
    }
}

/** A shared picture as an upright bitmap that fits into memory. */
object Picture {
    private const val MOST_PIXELS = 12_000_000

    fun read(activity: Activity, uri: Uri): Bitmap {
        val data = try {
            activity.contentResolver.openInputStream(uri)?.use { it.readBytes() }
        } catch (error: IOException) {
            throw TroubleException(Trouble.PICTURE, error)
        } catch (error: SecurityException) {
            throw TroubleException(Trouble.PICTURE, error)
        } ?: throw TroubleException(Trouble.PICTURE)
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        BitmapFactory.decodeByteArray(data, 0, data.size, bounds)
        val options = BitmapFactory.Options()
        options.inSampleSize = 1
        while (pixels(bounds, options.inSampleSize) > MOST_PIXELS) options.inSampleSize *= 2
        val decoded = BitmapFactory.decodeByteArray(data, 0, data.size, options)
            ?: throw TroubleException(Trouble.PICTURE)
        return Orientation.upright(decoded, data)
    }

    private fun pixels(bounds: BitmapFactory.Options, shrinking: Int) =
        bounds.outWidth.toLong() * bounds.outHeight / shrinking / shrinking
}

package fiqa.app

import android.content.ContentValues
import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import android.os.Build
import android.provider.MediaStore
import java.io.IOException

/** Upright RGB bytes as a bitmap. */
fun bitmapOf(rgb: ByteArray, width: Int, height: Int): Bitmap {
    val pixels = IntArray(width * height) { i ->
        val red = rgb[i * 3].toInt() and 255
        val green = rgb[i * 3 + 1].toInt() and 255
        val blue = rgb[i * 3 + 2].toInt() and 255
        (255 shl 24) or (red shl 16) or (green shl 8) or blue
    }
    return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
}

/** A bitmap as RGB bytes; transparent parts are black, as the contract says. */
fun Bitmap.toRgb(): ByteArray {
    val pixels = IntArray(width * height)
    getPixels(pixels, 0, width, 0, 0, width, height)
    val rgb = ByteArray(pixels.size * 3)
    for (i in pixels.indices) {
        val alpha = pixels[i] ushr 24
        for (c in 0..2) {
            val value = (pixels[i] shr (16 - 8 * c)) and 255
            rgb[i * 3 + c] = ((value * alpha + 127) / 255).toByte()
        }
    }
    return rgb
}

object Gallery {
    private const val QUALITY = 95

    /** Saves a JPEG into the phone's pictures: whole, or not at all. */
    fun save(context: Context, picture: Bitmap, name: String): Uri {
        val resolver = context.contentResolver
        val values = ContentValues()
        values.put(MediaStore.MediaColumns.DISPLAY_NAME, name)
        values.put(MediaStore.MediaColumns.MIME_TYPE, "image/jpeg")
        val isPending = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q
        if (isPending) {
            values.put(MediaStore.MediaColumns.RELATIVE_PATH, "Pictures/Face quality")
            values.put(MediaStore.MediaColumns.IS_PENDING, 1)
        }
        val place = try {
            resolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, values)
        } catch (error: RuntimeException) { // the provider's own, of many kinds
            throw TroubleException(Trouble.STORAGE, error)
        } ?: throw TroubleException(Trouble.STORAGE)
        try {
            val isWritten = resolver.openOutputStream(place)?.use {
                picture.compress(Bitmap.CompressFormat.JPEG, QUALITY, it)
            }
            if (isWritten != true) throw IOException("nothing was written")
            if (isPending) {
                val done = ContentValues().apply { put(MediaStore.MediaColumns.IS_PENDING, 0) }
                resolver.update(place, done, null, null)
            }
        } catch (error: IOException) {
            resolver.delete(place, null, null)
            throw TroubleException(Trouble.STORAGE, error)
        }
        return place
    }
}

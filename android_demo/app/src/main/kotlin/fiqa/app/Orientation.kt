package fiqa.app

import android.graphics.Bitmap
import android.graphics.Matrix
import android.media.ExifInterface
import java.io.ByteArrayInputStream
import java.io.IOException

/** EXIF orientations 1 to 8; a damaged block counts as upright. */
object Orientation {
    fun upright(picture: Bitmap, file: ByteArray): Bitmap {
        val matrix = matrixOf(orientation(file))
        if (matrix.isIdentity) return picture
        return Bitmap.createBitmap(picture, 0, 0, picture.width, picture.height, matrix, false)
    }

    private fun orientation(file: ByteArray) = try {
        ExifInterface(ByteArrayInputStream(file)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
    } catch (_: IOException) {
        1
    } catch (_: RuntimeException) { // damaged blocks raise what they raise
        1
    }

    private fun matrixOf(orientation: Int) = Matrix().apply {
        when (orientation) {
            ExifInterface.ORIENTATION_FLIP_HORIZONTAL -> setScale(-1f, 1f)
            ExifInterface.ORIENTATION_ROTATE_180 -> setRotate(180f)
            ExifInterface.ORIENTATION_FLIP_VERTICAL -> setScale(1f, -1f)
            ExifInterface.ORIENTATION_TRANSPOSE -> {
                setRotate(90f)
                postScale(-1f, 1f)
            }
            ExifInterface.ORIENTATION_ROTATE_90 -> setRotate(90f)
            ExifInterface.ORIENTATION_TRANSVERSE -> {
                setRotate(-90f)
                postScale(-1f, 1f)
            }
            ExifInterface.ORIENTATION_ROTATE_270 -> setRotate(-90f)
        }
    }
}

package fiqa.scoring

import java.io.File
import javax.imageio.ImageIO

/** Real models and pictures for tests. */
object Models {
    val detectorFile = File(System.getProperty("fiqa.detector"))

    fun detector(): Pair<ModelFile, TfliteInference> {
        val file = ModelFile.read(detectorFile)
        return file to TfliteInference(file)
    }
}

/** Upright RGB bytes of a picture file. */
class Picture(file: File) {
    private val image = ImageIO.read(file)
    val width: Int = image.width
    val height: Int = image.height
    val rgb = ByteArray(width * height * 3).also { bytes ->
        for (i in 0 until width * height) {
            val pixel = image.getRGB(i % width, i / width)
            for (c in 0..2) bytes[i * 3 + c] = (pixel shr (16 - 8 * c)).toByte()
        }
    }
}

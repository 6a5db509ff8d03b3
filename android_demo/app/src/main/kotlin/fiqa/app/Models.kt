package fiqa.app

import android.content.Context
import android.net.Uri
import fiqa.scoring.ModelError
import fiqa.scoring.ModelFault
import fiqa.scoring.ModelFile
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException

/** The models: in the app, or a file of the user's, of which a copy is kept. */
class Models(private val context: Context) {
    private val chosen = File(context.filesDir, "model.tflite")

    fun detector(): ModelFile = bundled("yunet.tflite")

    fun scorer(settings: Settings): ModelFile =
        if (settings.modelName.isEmpty()) bundled("model.tflite") else ModelFile.read(chosen)

    /** Copies a file that was chosen, once it has proved to be a model that opens. */
    fun adopt(uri: Uri, name: String, settings: Settings) {
        val data = try {
            context.contentResolver.openInputStream(uri)?.use { it.readBytes() }
        } catch (error: IOException) {
            throw TroubleException(Trouble.MODEL_MISSING, error)
        } catch (error: SecurityException) {
            throw TroubleException(Trouble.MODEL_MISSING, error)
        } ?: throw TroubleException(Trouble.MODEL_MISSING)
        try {
            ModelFile.read(data, name)
        } catch (error: ModelError) {
            throw TroubleException(Trouble.of(error.fault), error)
        }
        val part = File(context.filesDir, "model.part")
        try {
            part.writeBytes(data)
        } catch (error: IOException) {
            part.delete()
            throw TroubleException(Trouble.STORAGE, error)
        }
        if (!part.renameTo(chosen)) throw TroubleException(Trouble.STORAGE)
        settings.modelName = name
    }

    private fun bundled(name: String): ModelFile {
        val data = try {
            context.assets.open(name).use { it.readBytes() }
        } catch (error: FileNotFoundException) {
            throw ModelError(ModelFault.MISSING, "the app carries no $name", error)
        }
        return ModelFile.read(data, name)
    }
}

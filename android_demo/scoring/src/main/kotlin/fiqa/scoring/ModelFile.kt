package fiqa.scoring

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.zip.DataFormatException
import java.util.zip.Inflater

/** Why a model cannot be used. */
enum class ModelFault { MISSING, DAMAGED, TOO_NEW, NOT_OURS, UNSUITABLE }

class ModelError(val fault: ModelFault, message: String, cause: Throwable? = null) :
    Exception(message, cause)

/** The bytes of a model, for a runtime, which wants them in a direct buffer. */
open class ModelBytes(val name: String, body: ByteArray) {
    val body: ByteBuffer = ByteBuffer.allocateDirect(body.size).order(ByteOrder.nativeOrder())
        .put(body).also { it.rewind() }

    companion object {
        private const val LARGEST = 512L * 1024 * 1024

        /** A file whose hash is known from elsewhere; it may be without a manifest. */
        fun read(file: File, sha256: String): ModelBytes {
            val data = bytesOf(file)
            val found = sha256(data)
            if (found != sha256) {
                val told = "has the hash ${found.take(12)} instead of ${sha256.take(12)}"
                throw ModelError(ModelFault.DAMAGED, "${file.name} $told")
            }
            return ModelBytes(file.name, data)
        }

        fun bytesOf(file: File): ByteArray {
            if (!file.isFile) throw ModelError(ModelFault.MISSING, "${file.name} does not exist")
            if (file.length() > LARGEST) {
                throw ModelError(ModelFault.NOT_OURS, "${file.name} is larger than 512 MB")
            }
            return try {
                file.readBytes()
            } catch (error: IOException) {
                val told = "${file.name} cannot be read: ${error.message}"
                throw ModelError(ModelFault.MISSING, told, error)
            }
        }

        fun sha256(data: ByteArray): String =
            MessageDigest.getInstance("SHA-256").digest(data).joinToString("") { "%02x".format(it) }
    }
}

/** A .tflite whose embedded manifest was read and whose hash fits. */
class ModelFile(name: String, val manifest: Manifest, body: ByteArray) : ModelBytes(name, body) {
    companion object {
        fun read(file: File): ModelFile = read(bytesOf(file), file.name)

        fun read(data: ByteArray, name: String): ModelFile {
            if (data.size < 8 || String(data, 4, 4, Charsets.ISO_8859_1) != "TFL3") {
                throw ModelError(ModelFault.NOT_OURS, "$name is no TFLite model")
            }
            val entry = Archive(data, name).find(MANIFEST)
                ?: throw ModelError(ModelFault.NOT_OURS, "$name carries no fiqa manifest")
            val manifest = Manifest.parse(String(entry.content, Charsets.UTF_8), name)
            val body = data.copyOf(entry.archiveStart)
            if (sha256(body) != manifest.sha256) {
                throw ModelError(
                    ModelFault.DAMAGED,
                    "$name is not the file its manifest was made for: fetch it again"
                )
            }
            return ModelFile(name, manifest, body)
        }

        private const val MANIFEST = "fiqa_manifest.json"
    }
}

private class Entry(val content: ByteArray, val archiveStart: Int)

/** The zip that follows a flatbuffer: found from its end, its places counted from its beginning. */
private class Archive(private val data: ByteArray, private val name: String) {
    private val buffer = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN)

    fun find(wanted: String): Entry? {
        val end = endRecord() ?: return null
        return try {
            entry(end, wanted)
        } catch (error: IndexOutOfBoundsException) {
            throw damaged(error)
        } catch (error: DataFormatException) {
            throw damaged(error)
        }
    }

    private fun entry(end: Int, wanted: String): Entry? {
        val shift = end - buffer.getInt(end + 12) - buffer.getInt(end + 16)
        var at = end - buffer.getInt(end + 12)
        var start = Int.MAX_VALUE
        var found: ByteArray? = null
        repeat(buffer.getShort(end + 10).toInt() and 0xffff) {
            if (buffer.getInt(at) != CENTRAL) throw damaged(null)
            val nameLength = length(at + 28)
            val header = buffer.getInt(at + 42) + shift
            start = minOf(start, header)
            if (String(data, at + 46, nameLength, Charsets.UTF_8) ==
                wanted
            ) {
                found = content(at, header)
            }
            at += 46 + nameLength + length(at + 30) + length(at + 32)
        }
        return found?.let { Entry(it, start) }
    }

    private fun content(central: Int, header: Int): ByteArray {
        val packed = buffer.getInt(central + 20)
        val size = buffer.getInt(central + 24)
        if (size !in 0..LARGEST_MANIFEST || packed !in 0..LARGEST_MANIFEST) throw damaged(null)
        val begin = header + 30 + length(header + 26) + length(header + 28)
        if (begin < 0 || begin + packed > data.size) throw damaged(null)
        if (length(central + 10) == 0) return data.copyOfRange(begin, begin + packed)
        val inflater = Inflater(true)
        inflater.setInput(data, begin, packed)
        val out = ByteArray(size)
        val got = inflater.inflate(out)
        inflater.end()
        if (got != size) throw damaged(null)
        return out
    }

    private fun endRecord(): Int? {
        for (at in data.size - 22 downTo maxOf(0, data.size - 22 - 0xffff)) {
            if (buffer.getInt(at) ==
                END
            ) {
                return at
            }
        }
        return null
    }

    private fun length(at: Int) = buffer.getShort(at).toInt() and 0xffff

    private fun damaged(cause: Throwable?) =
        ModelError(ModelFault.DAMAGED, "$name: its manifest is damaged", cause)

    private companion object {
        const val END = 0x06054b50
        const val CENTRAL = 0x02014b50
        const val LARGEST_MANIFEST = 4 * 1024 * 1024
    }
}

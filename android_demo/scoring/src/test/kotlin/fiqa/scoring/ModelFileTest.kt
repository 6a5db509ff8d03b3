package fiqa.scoring

import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class ModelFileTest {
    private val data = Models.detectorFile.readBytes()

    @Test
    fun `manifest tells contract, tensors and licence`() {
        val manifest = ModelFile.read(Models.detectorFile).manifest
        assertEquals("yunet", manifest.model)
        assertEquals(listOf(0.0, 0.0, 0.0), manifest.preprocess.mean)
        assertEquals(listOf(1, 320, 320, 3), manifest.input.shape)
        assertEquals(TensorType.FLOAT32, manifest.output.type)
        assertEquals("Apache-2.0", manifest.licence)
        assertEquals(null, manifest.threshold)
    }

    @Test
    fun `one changed byte of the model is damage`() {
        assertEquals(ModelFault.DAMAGED, fault(changed(5000)))
    }

    @Test
    fun `a file cut short is refused at any length`() {
        for (length in listOf(0, 4, 7, 8, 100, data.size / 2, data.size - 400, data.size - 21)) {
            fault(data.copyOf(length))
        }
        for (cut in 1..80) fault(data.copyOf(data.size - cut))
    }

    @Test
    fun `damage anywhere behind the model is told, never a crash`() {
        val manifestStart = String(data, Charsets.ISO_8859_1).lastIndexOf("PK\u0003\u0004")
        for (at in manifestStart until data.size step 7) {
            try {
                ModelFile.read(changed(at), "m")
            } catch (_: ModelError) {
                // told; a change inside a text that nobody reads may pass
            }
        }
    }

    @Test
    fun `files that are not ours say so`() {
        assertEquals(ModelFault.NOT_OURS, fault("no model at all".toByteArray()))
        val manifestStart = String(data, Charsets.ISO_8859_1).lastIndexOf("PK\u0003\u0004")
        assertEquals(ModelFault.NOT_OURS, fault(data.copyOf(manifestStart)))
        assertEquals(ModelFault.MISSING, faultOf { ModelFile.read(File("none.tflite")) })
    }

    @Test
    fun `manifests and rules of tomorrow are too new`() {
        assertEquals(ModelFault.TOO_NEW, fault(replaced("\"schema\": 1", "\"schema\": 2")))
        assertEquals(ModelFault.TOO_NEW, fault(replaced("replicated", "luminance_")))
        assertEquals(ModelFault.TOO_NEW, fault(replaced("\"gray\"", "\"grey\"")))
        assertEquals(ModelFault.TOO_NEW, fault(replaced("bilinear", "mitchell")))
    }

    private fun changed(at: Int) = data.copyOf().also { it[at] = (it[at].toInt() xor 1).toByte() }

    private fun replaced(old: String, new: String): ByteArray {
        val text = String(data, Charsets.ISO_8859_1)
        assertEquals(old.length, new.length)
        assertEquals(true, old in text)
        return text.replaceFirst(old, new).toByteArray(Charsets.ISO_8859_1)
    }

    private fun fault(bytes: ByteArray) = faultOf { ModelFile.read(bytes, "m") }

    private fun faultOf(read: () -> Unit): ModelFault =
        assertThrows(ModelError::class.java) { read() }.fault
}

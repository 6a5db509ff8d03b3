package fiqa.scoring

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class JsonTest {
    @Test
    fun `what is written is read again`() {
        val value = mapOf(
            "a" to listOf(1.5, -2e-7, true, null),
            "b\"\n\\é" to mapOf("c" to "\u0001")
        )
        assertEquals(value, parseJson(writeJson(value)))
    }

    @Test
    fun `documents of other writers are read`() {
        assertEquals(
            mapOf("a" to listOf(emptyList<Any>(), emptyMap<String, Any>())),
            parseJson(" {\"a\" :[ [ ],{ } ]}\n")
        )
        assertEquals("é/\t", parseJson("\"\\u00e9\\/\\t\""))
    }

    @Test
    fun `damaged documents are refused`() {
        val deep = "[".repeat(100) + "]".repeat(100)
        val lists = listOf("[1,]", "[1 2]", deep)
        val others = listOf("", "{", "{\"a\":1,\"a\":2}", "1 2", "nul", "\"a", "NaN", "\"\\u12\"")
        for (text in lists + others) {
            assertThrows(text, JsonError::class.java) { parseJson(text) }
        }
        assertThrows(JsonError::class.java) { writeJson(Double.NaN) }
    }
}

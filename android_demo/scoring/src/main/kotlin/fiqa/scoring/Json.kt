package fiqa.scoring

/** What a JSON text holds: maps, lists, strings, doubles, booleans and null. */
class JsonError(message: String) : Exception(message)

private const val DEEPEST = 64

/** Reads one JSON document; refuses what is cut short, doubled, absurdly deep or followed by more. */
fun parseJson(text: String): Any? = JsonReader(text).document()

/** Writes maps, iterables, strings, numbers, booleans and null; refuses NaN and infinities. */
fun writeJson(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

private class JsonReader(private val text: String) {
    private var at = 0

    fun document(): Any? {
        val found = value(0)
        skipSpace()
        if (at < text.length) fail("text behind the document")
        return found
    }

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) fail("nesting")
        skipSpace()
        return when (peek()) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        each('}') {
            skipSpace()
            val name = string()
            skipSpace()
            take(':')
            if (found.containsKey(name)) fail("the name $name twice")
            found[name] = value(depth + 1)
        }
        return found
    }

    private fun elements(depth: Int): List<Any?> {
        val found = ArrayList<Any?>()
        each(']') { found += value(depth + 1) }
        return found
    }

    /** What stands between a bracket and [end], apart by commas. */
    private inline fun each(end: Char, one: () -> Unit) {
        at++
        skipSpace()
        if (peek() == end) {
            at++
            return
        }
        while (true) {
            one()
            skipSpace()
            if (peek() == end) break
            take(',')
        }
        at++
    }

    private fun string(): String {
        take('"')
        val found = StringBuilder()
        while (true) {
            val c = peek()
            at++
            when {
                c == '"' -> return found.toString()
                c == '\\' -> found.append(escaped())
                c < ' ' -> fail("a control character")
                else -> found.append(c)
            }
        }
    }

    private fun escaped(): Char {
        val c = peek()
        at++
        return when (c) {
            'n' -> '\n'
            't' -> '\t'
            'r' -> '\r'
            'b' -> '\b'
            'f' -> '\u000c'
            'u' -> {
                if (at + 4 > text.length) fail("a cut escape")
                at += 4
                text.substring(at - 4, at).toIntOrNull(16)?.toChar() ?: fail("a bad escape")
            }
            '"', '\\', '/' -> c
            else -> fail("a bad escape")
        }
    }

    private fun number(): Double {
        val start = at
        while (at < text.length && text[at] in "+-.0123456789eE") at++
        return text.substring(start, at).toDoubleOrNull() ?: fail("no value")
    }

    private fun <T> word(name: String, value: T): T {
        if (!text.startsWith(name, at)) fail("no value")
        at += name.length
        return value
    }

    private fun take(c: Char) {
        if (peek() != c) fail("no '$c'")
        at++
    }

    private fun peek(): Char = if (at < text.length) text[at] else fail("the end")

    private fun skipSpace() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }

    private fun fail(what: String): Nothing = throw JsonError("$what at character $at")
}

private fun append(out: StringBuilder, value: Any?) {
    when (value) {
        null, is Boolean -> out.append(value)
        is Int, is Long -> out.append(value)
        is Number -> {
            val number = value.toDouble()
            if (!number.isFinite()) throw JsonError("$number is no JSON number")
            out.append(if (value is Float) value.toString() else number.toString())
        }
        is Map<*, *> -> value.entries.joined(out, "{", "}") {
            quote(out, it.key.toString())
            out.append(": ")
            append(out, it.value)
        }
        is Iterable<*> -> value.joined(out, "[", "]") { append(out, it) }
        else -> quote(out, value.toString())
    }
}

private inline fun <T> Iterable<T>.joined(
    out: StringBuilder,
    begin: String,
    end: String,
    one: (T) -> Unit
) {
    out.append(begin)
    forEachIndexed { number, item ->
        if (number > 0) out.append(", ")
        one(item)
    }
    out.append(end)
}

private fun quote(out: StringBuilder, text: String) {
    out.append('"')
    for (c in text) {
        when {
            c == '"' || c == '\\' -> out.append('\\').append(c)
            c < ' ' -> out.append("\\u%04x".format(c.code))
            else -> out.append(c)
        }
    }
    out.append('"')
}

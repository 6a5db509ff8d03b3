package fiqa.scoring

import java.io.File
import java.nio.ByteBuffer

/** One case of the golden vectors, which Python's tests read too. */
class GoldenCase(private val fields: Map<String, Any?>) {
    val name = fields["name"] as String
    val width = int("width")
    val height = int("height")
    val expected get() = file("expected")
    val rgb get() = file("rgb")

    val spec: PreprocessSpec = run {
        val given = fields["spec"] as Map<*, *>
        PreprocessSpec(
            size = (given["size"] as Double).toInt(),
            margin = given["margin"] as Double,
            filter = Filter.valueOf((given["filter"] as String? ?: "bilinear").uppercase()),
            isBgr = given["color_order"] == "BGR"
        )
    }

    val box get() = optionalBox!!

    private val optionalBox = (fields["box"] as List<*>?)?.let {
        val (x, y, w, h) = it.map { value -> value as Double }
        Box(x, y, w, h)
    }

    fun square(width: Int, height: Int): Square {
        optionalBox?.let { return spec.square(width, height, it) }
        (fields["crop"] as List<*>?)?.let {
            val (x, y, side) = it.map { value -> (value as Double).toInt() }
            return spec.square(width, height, Square(x, y, side))
        }
        return spec.square(width, height)
    }

    fun frame(): Frame {
        val data = file("data")
        val planes = (fields["planes"] as List<*>).map { plane(data, it as Map<*, *>) }
        return Frame(
            width,
            height,
            planes[0],
            planes[1],
            planes[2],
            int("turn"),
            fields["mirrored"] as Boolean
        )
    }

    /** As Android hands it over: a direct buffer that ends with the plane's last sample. */
    private fun plane(data: ByteArray, place: Map<*, *>): Plane {
        fun number(field: String) = (place[field] as Double).toInt()
        val buffer = ByteBuffer.allocateDirect(number("length"))
        buffer.put(data, number("offset"), number("length")).rewind()
        return Plane(buffer, number("row_stride"), number("pixel_stride"))
    }

    private fun int(field: String) = (fields[field] as Double).toInt()

    private fun file(field: String) = File(Golden.folder, fields[field] as String).readBytes()
}

object Golden {
    val folder = File(System.getProperty("fiqa.golden"))

    fun cases(kind: String): List<GoldenCase> = fields(kind).map { GoldenCase(it) }

    /** The only case of a kind. */
    fun case(kind: String): Map<String, Any?> = fields(kind).single()

    fun faces(case: Map<String, Any?>): List<Face> = (case["faces"] as List<*>).map { face ->
        val (x, y, width, height, confidence) = (face as List<*>).map { it as Double }
        Face(Box(x, y, width, height), confidence)
    }

    @Suppress("UNCHECKED_CAST")
    private fun fields(kind: String) = (parseJson(File(folder, "cases.json").readText()) as List<*>)
        .map { it as Map<String, Any?> }
        .filter { it["kind"] == kind }
}

package fiqa.scoring

/** A tensor of the model. Integers stand for scale * (value - zeroPoint). */
data class TensorSpec(
    val type: TensorType,
    val shape: List<Int>,
    val scale: Double? = null,
    val zeroPoint: Int = 0
)

enum class TensorType(val bytes: Int) { FLOAT32(4), UINT8(1), INT8(1) }

/** What a model says of itself: fiqa's manifest, as far as a device needs it. */
data class Manifest(
    val model: String,
    val sha256: String,
    val preprocess: PreprocessSpec,
    val input: TensorSpec,
    val output: TensorSpec,
    val threshold: Double?,
    val precision: String,
    val licence: String
) {
    companion object {
        private const val SCHEMA = 1

        fun parse(text: String, name: String): Manifest {
            val document = try {
                parseJson(text)
            } catch (error: JsonError) {
                throw ModelError(
                    ModelFault.DAMAGED,
                    "$name: its manifest has ${error.message}",
                    error
                )
            }
            val fields = Fields(document, name)
            val schema = fields.number("schema").toInt()
            if (schema > SCHEMA) throw fields.tooNew("manifest schema $schema")
            if (fields.text("kind") != "tflite") throw fields.damaged("kind ${fields.text("kind")}")
            return Manifest(
                model = fields.text("model"),
                sha256 = fields.text("sha256"),
                preprocess = preprocess(fields.record("preprocess")),
                input = tensor(fields.records("inputs").single(name)),
                output = tensor(fields.records("outputs").single(name)),
                threshold = fields.record("score").optionalNumber("threshold"),
                precision = fields.record("recipe").optionalText("precision") ?: "unknown",
                licence = fields.text("licence")
            )
        }

        private fun preprocess(fields: Fields): PreprocessSpec {
            for ((rule, known) in RULES) fields.require(rule, known)
            fields.refuseOthers(
                RULES.keys + listOf("size", "margin", "filter", "color_order", "mean", "std")
            )
            val filter = Filter.entries.find { it.name.lowercase() == fields.text("filter") }
            val order = fields.text("color_order")
            return PreprocessSpec(
                size = fields.number("size").toInt(),
                margin = fields.number("margin"),
                filter = filter ?: throw fields.tooNew("the filter ${fields.text("filter")}"),
                isBgr = if (order == "RGB" ||
                    order == "BGR"
                ) {
                    order == "BGR"
                } else {
                    throw fields.tooNew(order)
                },
                mean = fields.numbers("mean", 3),
                std = fields.numbers("std", 3)
            )
        }

        private fun tensor(fields: Fields): TensorSpec {
            val type = TensorType.entries.find { it.name.lowercase() == fields.text("dtype") }
            return TensorSpec(
                type ?: throw fields.tooNew("the type ${fields.text("dtype")}"),
                fields.numbers("shape").map { it.toInt() },
                fields.optionalNumber("scale"),
                fields.optionalNumber("zero_point")?.toInt() ?: 0
            )
        }

        private fun List<Fields>.single(name: String) = singleOrNull()
            ?: throw ModelError(
                ModelFault.UNSUITABLE,
                "$name has $size tensors where one is expected"
            )

        // Rules with one value so far. A model made under another one would be fed wrongly here.
        private val RULES = mapOf(
            "orientation" to "exif",
            "gray" to "replicated",
            "alpha" to "over_black",
            "sixteen_bit" to "high_byte",
            "crop" to "square_inside",
            "camera" to "bt601_full_nearest"
        )
    }
}

/** The members of a JSON object; what is missing or of another kind is damage. */
private class Fields(document: Any?, private val name: String) {
    private val members = document as? Map<*, *> ?: throw damaged("no object")

    fun text(field: String) = members[field] as? String ?: throw damaged(field)

    fun optionalText(field: String) = members[field] as? String

    fun number(field: String) = optionalNumber(field) ?: throw damaged(field)

    fun optionalNumber(field: String): Double? =
        members[field]?.let { it as? Double ?: throw damaged(field) }

    fun numbers(field: String, count: Int? = null): List<Double> {
        val found =
            (members[field] as? List<*>)?.map { it as? Double ?: throw damaged(field) }
                ?: throw damaged(field)
        if (count != null && found.size != count) throw damaged(field)
        return found
    }

    fun record(field: String) = Fields(members[field], name)

    fun records(field: String) = (members[field] as? List<*> ?: throw damaged(field)).map {
        Fields(it, name)
    }

    /** Manifests of before a rule was written down say nothing, and meant the only one there was. */
    fun require(field: String, known: String) {
        if (members.containsKey(field) &&
            members[field] != known
        ) {
            throw tooNew("$field: ${members[field]}")
        }
    }

    fun refuseOthers(known: Collection<String>) {
        members.keys.find { it !in known }?.let { throw tooNew("the rule $it") }
    }

    fun damaged(what: String) =
        ModelError(ModelFault.DAMAGED, "$name: its manifest is damaged at: $what")

    fun tooNew(what: String) =
        ModelError(ModelFault.TOO_NEW, "$name needs a newer version of this program: it has $what")
}

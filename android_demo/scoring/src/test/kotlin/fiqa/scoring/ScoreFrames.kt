package fiqa.scoring

import java.io.File

/**
 * Scores frames that Python wrote as golden cases of the kind `frame`, from planes to number:
 * java -Dfiqa.golden=FOLDER fiqa.scoring.ScoreFrames MODEL OUT [ROUNDS]
 */
object ScoreFrames {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val file = ModelFile.read(File(arguments[0]))
        val rounds = arguments.getOrNull(2)?.toInt() ?: 1
        val cases = Golden.cases("frame").map { it.frame() to it.box }
        val times = StageTimes(kept = cases.size)
        TfliteInference(file).use { model ->
            val scorer = Scorer(model, file.manifest)
            var scores = emptyList<Double>()
            repeat(rounds) {
                scores =
                    cases.map { (frame, box) ->
                        scorer.score(frame, box, times).also { times.endFrame() }
                    }
            }
            val found = mapOf(
                "scores" to scores,
                "fully_delegated" to model.isFullyDelegated,
                "crop_ms" to times.median(Stage.CROP),
                "score_ms" to times.median(Stage.SCORE)
            )
            File(arguments[1]).writeText(writeJson(found))
        }
    }
}

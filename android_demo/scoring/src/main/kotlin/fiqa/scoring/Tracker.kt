package fiqa.scoring

import kotlin.math.hypot
import kotlin.math.pow

/** A face with the score of one frame. */
data class ScoredFace(val box: Box, val score: Double)

/** A face over time. [speed] is how fast it moves, in sides of its own box a second. */
data class Track(val id: Int, val box: Box, val score: Double, val raw: Double, val speed: Double)

/**
 * Follows faces from frame to frame by their overlap, and smooths each one's score: after
 * [halfLifeS] seconds half of a change has come through. A face that is not in the newest frame is
 * not in the answer; when it is back within [memoryS], it goes on where it was.
 */
class Tracker(private val halfLifeS: Double = 0.3, private val memoryS: Double = 0.5) {
    private class Memory(var track: Track, var seenNs: Long, var face: ScoredFace?)

    private val memories = ArrayList<Memory>()
    private var nextId = 1

    fun update(timeNs: Long, faces: List<ScoredFace>): List<Track> {
        for (i in memories.indices.reversed()) {
            val ageNs = timeNs - memories[i].seenNs
            if (ageNs < 0 ||
                ageNs > memoryS * SECOND
            ) {
                memories.removeAt(i)
            } else {
                memories[i].face = null
            }
        }
        repeat(minOf(faces.size, memories.size)) { joinNearest(faces) }
        val tracks = ArrayList<Track>(faces.size)
        for (face in faces) {
            val known = memoryOf(face)
            tracks += if (known == null) begin(face, timeNs) else follow(known, face, timeNs)
        }
        return tracks
    }

    /** Of faces and memories that are still alone, the two that overlap most belong together. */
    private fun joinNearest(faces: List<ScoredFace>) {
        var most = LEAST_OVERLAP
        var best: Memory? = null
        var bestFace: ScoredFace? = null
        for (i in memories.indices) {
            if (memories[i].face != null) continue
            for (k in faces.indices) {
                val overlap = faces[k].box.overlap(memories[i].track.box)
                if (overlap < most || memoryOf(faces[k]) != null) continue
                most = overlap
                best = memories[i]
                bestFace = faces[k]
            }
        }
        best?.face = bestFace
    }

    private fun memoryOf(face: ScoredFace): Memory? {
        for (i in memories.indices) if (memories[i].face === face) return memories[i]
        return null
    }

    /** Forgets everybody: another camera, another picture. */
    fun clear() = memories.clear()

    private fun begin(face: ScoredFace, timeNs: Long): Track {
        val track = Track(nextId++, face.box, face.score, face.score, 0.0)
        memories += Memory(track, timeNs, face)
        return track
    }

    private fun follow(memory: Memory, face: ScoredFace, timeNs: Long): Track {
        val old = memory.track
        val passedS = (timeNs - memory.seenNs) / SECOND
        val share = 1 - 0.5.pow(passedS / halfLifeS)
        val way = hypot(face.box.centreX - old.box.centreX, face.box.centreY - old.box.centreY)
        val speed = if (passedS > 0) way / old.box.longer / passedS else old.speed
        memory.track = Track(
            old.id,
            face.box,
            old.score + share * (face.score - old.score),
            face.score,
            old.speed + share * (speed - old.speed)
        )
        memory.seenNs = timeNs
        return memory.track
    }

    private companion object {
        const val LEAST_OVERLAP = 0.3
        const val SECOND = 1e9
    }
}

/** Remembers the best picture of a moment: [offer] says whether this one is it. */
class BestShot(private val leastGain: Double = 0.01) {
    var score = Double.NEGATIVE_INFINITY
        private set
    val isEmpty get() = score == Double.NEGATIVE_INFINITY

    /** True where the score beats the best so far by enough to keep the picture instead. */
    fun offer(score: Double): Boolean {
        if (!score.isFinite() || score < this.score + leastGain) return false
        this.score = score
        return true
    }

    fun clear() {
        score = Double.NEGATIVE_INFINITY
    }
}

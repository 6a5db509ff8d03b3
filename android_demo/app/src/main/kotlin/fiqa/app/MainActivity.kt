package fiqa.app

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.Matrix
import android.graphics.SurfaceTexture
import android.media.Image
import android.net.Uri
import android.os.Bundle
import android.provider.Settings.ACTION_APPLICATION_DETAILS_SETTINGS
import android.view.TextureView
import android.view.View
import android.widget.Button
import android.widget.TextView
import fiqa.scoring.Affine
import fiqa.scoring.Setup
import fiqa.scoring.Stage
import fiqa.scoring.StageTimes
import java.util.Locale

/** The camera's picture with every face's score. */
class MainActivity :
    Activity(),
    LiveListener {
    private lateinit var settings: Settings
    lateinit var preview: TextureView
        private set
    lateinit var overlay: OverlayView
        private set
    lateinit var camera: CameraSource
        private set
    lateinit var live: Live
        private set
    private lateinit var trouble: TextView
    private lateinit var mend: Button
    private lateinit var message: TextView
    private lateinit var panel: TextView
    private var facts: CameraFacts? = null

    @Volatile
    private var setup: Setup? = null // the analysis thread reads its turn
    private var isRunning = false
    private var opening = 0 // which time the camera was opened: what comes later is old
    private var wasAsked = false
    private val stale = Runnable { overlay.clear() }
    private val quiet = Runnable { message.visibility = View.GONE }

    /** What is wrong now; null while all is well. */
    var shown: Trouble? = null
        private set

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        settings = Settings(this)
        setContentView(R.layout.main)
        preview = findViewById(R.id.preview)
        overlay = findViewById(R.id.overlay)
        trouble = findViewById(R.id.trouble)
        mend = findViewById(R.id.mend)
        message = findViewById(R.id.message)
        panel = findViewById(R.id.times)
        camera = CameraSource(this) { found -> runOnUiThread { if (isRunning) tell(found) } }
        live = Live(this, this)
        preview.surfaceTextureListener = Texture()
        wasAsked = state?.getBoolean(ASKED) ?: false
        val buttons = mapOf(
            R.id.switch_camera to ::switchCamera,
            R.id.capture to ::capture,
            R.id.settings to { startActivity(Intent(this, SettingsActivity::class.java)) },
            R.id.benchmark to { startActivity(Intent(this, BenchActivity::class.java)) },
            R.id.mend to ::mendIt
        )
        for ((id, work) in buttons) findViewById<View>(id).setOnClickListener { work() }
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putBoolean(ASKED, wasAsked)
    }

    override fun onResume() {
        super.onResume()
        isRunning = true
        panel.visibility = View.GONE // until there are times to show
        begin()
    }

    override fun onPause() {
        isRunning = false
        stop()
        super.onPause()
    }

    override fun onDestroy() {
        camera.quit(then = live::quit)
        super.onDestroy()
    }

    override fun onRequestPermissionsResult(code: Int, names: Array<String>, results: IntArray) {
        val isGranted = results.firstOrNull() == PackageManager.PERMISSION_GRANTED
        if (isGranted) {
            begin()
        } else if (results.isNotEmpty()) { // empty: the question itself was interrupted
            val mayAskAgain = shouldShowRequestPermissionRationale(Manifest.permission.CAMERA)
            tell(if (mayAskAgain) Trouble.PERMISSION else Trouble.PERMISSION_DENIED)
        }
    }

    // ---------------------------------------------------------------- camera

    /** Models and camera anew: whatever is still wrong will be told again. */
    private fun begin() {
        clearTrouble()
        live.load(settings)
        start()
    }

    private fun start() {
        if (!isRunning) return
        val permission = checkSelfPermission(Manifest.permission.CAMERA)
        if (permission != PackageManager.PERMISSION_GRANTED) return ask()
        val texture = preview.surfaceTexture ?: return // its listener starts again
        val chosen = camera.choose(settings.isFront) ?: return
        facts = chosen
        arrange()
        live.forget()
        val mine = ++opening
        camera.open(chosen, texture, live.handler) { image -> look(image, mine) }
    }

    private fun look(image: Image, mine: Int) {
        val turn = setup?.turn ?: return
        live.look(image, turn, mine)
    }

    private fun stop() {
        opening++
        camera.close()
        overlay.removeCallbacks(stale)
        overlay.clear()
    }

    private fun ask() {
        tell(Trouble.PERMISSION)
        if (wasAsked) return
        wasAsked = true
        requestPermissions(arrayOf(Manifest.permission.CAMERA), 0)
    }

    /** One mapping for preview, overlay and the frame's turn. */
    private fun arrange() {
        val known = facts ?: return

        @Suppress("DEPRECATION") // its successor is of API level 30
        val turned = windowManager.defaultDisplay.rotation * 90
        val arranged = Setup(
            known.sensor,
            known.isFront,
            turned,
            known.frame.width,
            known.frame.height,
            preview.width,
            preview.height
        )
        setup = arranged
        preview.setTransform(arranged.textureTransform.toMatrix())
    }

    private inner class Texture : TextureView.SurfaceTextureListener {
        override fun onSurfaceTextureAvailable(texture: SurfaceTexture, width: Int, height: Int) =
            start()

        override fun onSurfaceTextureSizeChanged(texture: SurfaceTexture, width: Int, height: Int) =
            arrange()

        override fun onSurfaceTextureDestroyed(texture: SurfaceTexture): Boolean {
            camera.close()
            return true
        }

        override fun onSurfaceTextureUpdated(texture: SurfaceTexture) = Unit
    }

    // ---------------------------------------------------------------- buttons

    private fun switchCamera() {
        settings.isFront = !settings.isFront
        stop()
        begin()
    }

    private fun capture() {
        if (shown != null) return
        say(getString(R.string.capturing))
        live.shoot()
    }

    private fun mendIt() {
        when (shown?.mend) {
            Mend.ALLOW_CAMERA -> requestPermissions(arrayOf(Manifest.permission.CAMERA), 0)
            Mend.SYSTEM_SETTINGS -> {
                val here = Uri.fromParts("package", packageName, null)
                startActivity(Intent(ACTION_APPLICATION_DETAILS_SETTINGS, here))
            }
            Mend.CHOOSE_MODEL -> startActivity(Intent(this, SettingsActivity::class.java))
            Mend.TRY_AGAIN -> begin()
            null -> Unit
        }
    }

    // ---------------------------------------------------------------- what is told

    override fun onSeen(seen: List<Seen>, opening: Int) = runOnUiThread {
        val arranged = setup
        val isOld = !isRunning || opening != this.opening
        if (isOld || shown != null || arranged == null) return@runOnUiThread
        overlay.show(seen, arranged.uprightToView)
        overlay.removeCallbacks(stale)
        overlay.postDelayed(stale, STALE_MS)
        if (settings.showsTimes) {
            panel.text = timesText()
            panel.visibility = View.VISIBLE
        }
    }

    override fun onTrouble(trouble: Trouble) = runOnUiThread { if (isRunning) tell(trouble) }

    override fun onShot(score: Double?) = runOnUiThread {
        val number = String.format(Locale.getDefault(), "%.2f", score ?: 0.0)
        say(
            if (score == null) {
                getString(R.string.no_face_to_save)
            } else {
                getString(R.string.saved, number)
            }
        )
    }

    private fun tell(found: Trouble) {
        if (found == Trouble.STORAGE) return say(getString(found.text))
        shown = found
        overlay.clear() // a score of before would be a lie now
        panel.visibility = View.GONE
        trouble.setText(found.text)
        trouble.visibility = View.VISIBLE
        mend.visibility = if (found.mend == null) View.GONE else View.VISIBLE
        found.mend?.let { mend.setText(it.label) }
    }

    private fun clearTrouble() {
        shown = null
        trouble.visibility = View.GONE
        mend.visibility = View.GONE
    }

    private fun say(text: String) {
        message.text = text
        message.visibility = View.VISIBLE
        message.removeCallbacks(quiet)
        message.postDelayed(quiet, MESSAGE_MS)
    }

    private fun timesText(): String {
        val rows = mapOf(
            R.string.stage_convert to line(live.times, Stage.CONVERT),
            R.string.stage_detect to line(live.times, Stage.DETECT),
            R.string.stage_crop to line(live.times, Stage.CROP),
            R.string.stage_score to line(live.times, Stage.SCORE),
            R.string.stage_draw to line(overlay.times, Stage.DRAW)
        )
        val body = rows.entries.joinToString("\n") { "%-8s%s".format(getString(it.key), it.value) }
        return "%-8s%6s%6s ms\n".format("", "p50", "p90") + body
    }

    private fun line(times: StageTimes, stage: Stage): String {
        val values = listOf(times.median(stage), times.p90(stage))
        return values.joinToString("") { if (it.isNaN()) "%6s".format("-") else "%6.1f".format(it) }
    }

    private companion object {
        const val ASKED = "asked"
        const val STALE_MS = 1000L
        const val MESSAGE_MS = 5000L
    }
}

/** As Android's graphics take it. */
fun Affine.toMatrix() = Matrix().also {
    val values = doubleArrayOf(a, b, c, d, e, f, 0.0, 0.0, 1.0)
    it.setValues(FloatArray(9) { i -> values[i].toFloat() })
}

package fiqa.app

import android.Manifest
import android.content.Context
import android.content.pm.PackageManager
import android.graphics.ImageFormat
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import android.util.Size
import android.view.Surface
import fiqa.scoring.Frame
import fiqa.scoring.Plane
import kotlin.math.abs

/** A camera's facts that do not change. */
class CameraFacts(
    val id: String,
    val isFront: Boolean,
    val sensor: Int,
    val frame: Size,
    val preview: Size
)

/** The planes of an image, to be turned by so many degrees; valid until the image is closed. */
fun Image.toFrame(turn: Int): Frame {
    val (y, u, v) = planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
    return Frame(width, height, y, u, v, turn)
}

/**
 * One camera with a preview and frames to analyse. Troubles are told, never thrown. All that is
 * open belongs to the camera's thread; a camera that opens after it was closed is let go again.
 */
class CameraSource(private val context: Context, private val onTrouble: (Trouble) -> Unit) {
    val thread = HandlerThread("camera").apply { start() }
    private val handler = Handler(thread.looper)
    private val manager = context.getSystemService(CameraManager::class.java)

    @Volatile
    private var current: Opening? = null

    /** Where frames arrive; null while closed. */
    val reader: ImageReader? get() = current?.frames

    /** The wanted camera, or the other one where there is no such; null: told already. */
    fun choose(isFront: Boolean): CameraFacts? {
        val all = guarded { manager.cameraIdList.mapNotNull(::facts) } ?: return null
        val found = all.firstOrNull { it.isFront == isFront } ?: all.firstOrNull()
        if (found == null) onTrouble(Trouble.NO_CAMERA)
        return found
    }

    /** Frames go to [onImage] on the analysis handler: one at a time, the newest, then closed. */
    fun open(
        facts: CameraFacts,
        texture: SurfaceTexture,
        analysis: Handler,
        onImage: (Image) -> Unit
    ) {
        val permission = context.checkSelfPermission(Manifest.permission.CAMERA)
        if (permission != PackageManager.PERMISSION_GRANTED) return onTrouble(Trouble.PERMISSION)
        handler.post {
            current?.close()
            val opening = Opening(facts, texture, analysis, onImage)
            current = opening
            guarded { manager.openCamera(facts.id, opening, handler) }
        }
    }

    fun close() {
        handler.post {
            current?.close()
            current = null
        }
    }

    /** Closes and ends the thread; [then] what waits for the camera to be let go. */
    fun quit(then: () -> Unit) {
        close()
        handler.post(then)
        thread.quitSafely()
    }

    /** One camera from being asked for to being let go. */
    private inner class Opening(
        facts: CameraFacts,
        texture: SurfaceTexture,
        private val analysis: Handler,
        onImage: (Image) -> Unit
    ) : CameraDevice.StateCallback() {
        private val preview: Surface
        val frames: ImageReader
        private var device: CameraDevice? = null
        private var session: CameraCaptureSession? = null

        init {
            texture.setDefaultBufferSize(facts.preview.width, facts.preview.height)
            preview = Surface(texture)
            val (width, height) = facts.frame.width to facts.frame.height
            frames = ImageReader.newInstance(width, height, ImageFormat.YUV_420_888, IMAGES)
            val newest = ImageReader.OnImageAvailableListener {
                it.acquireLatestImage()?.use(onImage)
            }
            frames.setOnImageAvailableListener(newest, analysis)
        }

        fun close() {
            session?.close()
            device?.close()
            session = null
            device = null
            // Behind the frame that is being looked at: its planes end with the reader.
            frames.setOnImageAvailableListener(null, null)
            analysis.post {
                frames.close()
                preview.release()
            }
        }

        override fun onOpened(camera: CameraDevice) {
            if (current !== this) return camera.close()
            device = camera
            guarded { start(camera) }
        }

        override fun onDisconnected(camera: CameraDevice) = lose(camera, Trouble.CAMERA_LOST)

        override fun onError(camera: CameraDevice, error: Int) = lose(
            camera,
            when (error) {
                ERROR_CAMERA_IN_USE, ERROR_MAX_CAMERAS_IN_USE -> Trouble.CAMERA_BUSY
                else -> Trouble.CAMERA_FAILED
            }
        )

        private fun lose(camera: CameraDevice, trouble: Trouble) {
            camera.close()
            if (current !== this) return
            device = null
            close()
            current = null
            onTrouble(trouble)
        }

        @Suppress("DEPRECATION") // its successor is of API level 28
        private fun start(camera: CameraDevice) {
            val targets = listOf(preview, frames.surface)
            val state = object : CameraCaptureSession.StateCallback() {
                override fun onConfigured(configured: CameraCaptureSession) {
                    session = configured
                    guarded { repeat(camera, configured, targets) }
                }

                override fun onConfigureFailed(failed: CameraCaptureSession) =
                    onTrouble(Trouble.CAMERA_FAILED)
            }
            camera.createCaptureSession(targets, state, handler)
        }
    }

    private fun repeat(camera: CameraDevice, to: CameraCaptureSession, targets: List<Surface>) {
        val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
        targets.forEach(request::addTarget)
        val focus = CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE
        request.set(CaptureRequest.CONTROL_AF_MODE, focus)
        to.setRepeatingRequest(request.build(), null, handler)
    }

    private fun facts(id: String): CameraFacts? {
        val found = manager.getCameraCharacteristics(id)
        val map = found.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP) ?: return null
        val frames = map.getOutputSizes(ImageFormat.YUV_420_888) ?: return null
        val frame = frames.minByOrNull { abs(it.width * it.height - WANTED_PIXELS) } ?: return null
        val previews = map.getOutputSizes(SurfaceTexture::class.java).orEmpty()
            .filter { it.width * frame.height == it.height * frame.width }
            .filter { it.width <= WIDEST_PREVIEW }
        val facing = found.get(CameraCharacteristics.LENS_FACING)
        return CameraFacts(
            id,
            facing == CameraCharacteristics.LENS_FACING_FRONT,
            found.get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0,
            frame,
            previews.maxByOrNull { it.width } ?: frame
        )
    }

    /** Null where the camera service refuses; the trouble is told. */
    private fun <T> guarded(work: () -> T): T? = try {
        work()
    } catch (error: CameraAccessException) {
        val isBusy = error.reason == CameraAccessException.CAMERA_IN_USE ||
            error.reason == CameraAccessException.MAX_CAMERAS_IN_USE
        onTrouble(if (isBusy) Trouble.CAMERA_BUSY else Trouble.CAMERA_FAILED)
        null
    } catch (_: SecurityException) { // the permission was taken away meanwhile
        onTrouble(Trouble.PERMISSION)
        null
    } catch (_: IllegalArgumentException) { // the camera is gone
        onTrouble(Trouble.CAMERA_LOST)
        null
    } catch (_: IllegalStateException) { // closed meanwhile
        null
    }

    private companion object {
        const val IMAGES = 2 // one being looked at, one being filled
        const val WANTED_PIXELS = 640 * 480
        const val WIDEST_PREVIEW = 1920
    }
}

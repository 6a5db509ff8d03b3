package fiqa.app

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.ImageFormat
import android.graphics.Paint
import android.graphics.Rect
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.media.Image
import android.media.ImageReader
import android.view.TextureView
import java.lang.ref.WeakReference
import java.nio.ByteBuffer
import java.util.ArrayDeque
import java.util.concurrent.Executor
import org.junit.runners.model.FrameworkMethod
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.annotation.RealObject
import org.robolectric.internal.bytecode.InstrumentationConfiguration
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowCameraManager
import org.robolectric.shadows.ShadowNativeImageReader
import org.robolectric.shadows.ShadowTextureView
import org.robolectric.util.ReflectionHelpers

// What Robolectric's own shadows leave out: frames of a camera, a camera in other hands, and a
// preview that can be drawn.

/** The native library may be loaded by one class loader only: its classes stay outside. */
class Runner(type: Class<*>) : RobolectricTestRunner(type) {
    override fun createClassLoaderConfig(method: FrameworkMethod): InstrumentationConfiguration =
        InstrumentationConfiguration.Builder(super.createClassLoaderConfig(method))
            .doNotAcquirePackage("org.tensorflow.lite")
            .build()
}

class FakePlane(private val data: ByteBuffer, private val row: Int, private val pixel: Int) :
    Image.Plane() {
    override fun getBuffer() = data

    override fun getRowStride() = row

    override fun getPixelStride() = pixel
}

class FakeImage(
    private val width: Int,
    private val height: Int,
    private val timestamp: Long,
    private val planes: List<FakePlane>
) : Image() {
    var isClosed = false
        private set

    override fun getFormat() = ImageFormat.YUV_420_888

    override fun getWidth() = width

    override fun getHeight() = height

    override fun getTimestamp() = timestamp

    override fun getTransform() = 0

    override fun getScalingMode() = 0

    override fun getPlanes(): Array<Plane> {
        check(!isClosed) { "the image is closed already" }
        return planes.toTypedArray()
    }

    override fun close() {
        isClosed = true
    }

    companion object {
        /** A sensor's frame of a bitmap as it lies: padded rows, interleaved chroma. */
        fun of(bitmap: Bitmap, timestamp: Long, padding: Int = 24): FakeImage {
            val (width, height) = bitmap.width to bitmap.height
            val stride = width + width % 2 + padding
            val luma = filled(stride * height)
            val chroma = filled(stride * ((height + 1) / 2) + 1)
            for (row in 0 until height) {
                for (column in 0 until width) {
                    val pixel = bitmap.getPixel(column, row)
                    val red = Color.red(pixel)
                    val green = Color.green(pixel)
                    val blue = Color.blue(pixel)
                    val y = 0.299 * red + 0.587 * green + 0.114 * blue
                    luma.put(row * stride + column, byte(y))
                    if (row % 2 == 0 && column % 2 == 0) {
                        chroma.put(row / 2 * stride + column, byte(128 + (blue - y) * 0.564))
                        chroma.put(row / 2 * stride + column + 1, byte(128 + (red - y) * 0.713))
                    }
                }
            }
            val second = chroma.duplicate().apply { position(1) }.slice()
            val planes = listOf(luma to 1, chroma to 2, second to 2)
            return FakeImage(
                width,
                height,
                timestamp,
                planes.map { (data, pixel) -> FakePlane(data, stride, pixel) }
            )
        }

        private fun filled(size: Int) = ByteBuffer.allocateDirect(size).also { buffer ->
            for (i in 0 until size) buffer.put(i, 0x6b) // what padding holds must not matter
        }

        private fun byte(value: Double) = Math.round(value).coerceIn(0, 255).toByte()
    }
}

/** Hands out what a test pushes, as the camera service would. */
@Implements(value = ImageReader::class, callNativeMethodsByDefault = true)
class FrameReader : ShadowNativeImageReader() {
    @RealObject
    lateinit var real: ImageReader
    private val waiting = ArrayDeque<FakeImage>()
    private val handedOut = ArrayList<FakeImage>()

    @Implementation
    fun acquireNextImage(): Image? {
        if (real.imageFormat != ImageFormat.YUV_420_888) { // a screenshot's
            val type = ImageReader::class.java
            return Shadow.directlyOn<Image?, ImageReader>(real, type, "acquireNextImage")
        }
        handedOut.removeAll { it.isClosed }
        check(handedOut.size < real.maxImages) { "${real.maxImages} images are not closed yet" }
        return waiting.poll()?.also { handedOut += it }
    }

    @Implementation
    fun acquireLatestImage(): Image? {
        while (waiting.size > 1) waiting.poll().close()
        return acquireNextImage()
    }

    fun push(image: FakeImage) {
        waiting += image
        val reference = WeakReference(real)
        ReflectionHelpers.callStaticMethod<Any>(
            ImageReader::class.java,
            "postEventFromNative",
            ReflectionHelpers.ClassParameter.from(Any::class.java, reference)
        )
    }
}

/** A camera service that refuses to open, as while another app of higher priority has the camera. */
@Implements(CameraManager::class)
class BusyManager : ShadowCameraManager() {
    @Implementation
    override fun openCameraDeviceUserAsync(
        id: String,
        callback: CameraDevice.StateCallback,
        executor: Executor,
        uid: Int,
        priority: Int,
        portrait: Boolean
    ): CameraDevice {
        refusal?.let { throw CameraAccessException(it) }
        return super.openCameraDeviceUserAsync(id, callback, executor, uid, priority, portrait)
    }

    companion object {
        var refusal: Int? = null
    }
}

/** Draws what the natural display would show, through the transform that the app sets. */
@Implements(TextureView::class)
class PaintedTexture : ShadowTextureView() {
    @RealObject
    lateinit var real: TextureView
    var content: Bitmap? = null
    private var texture: SurfaceTexture? = null

    @Implementation
    fun getSurfaceTexture(): SurfaceTexture? = texture

    @Implementation
    override fun draw(canvas: Canvas) {
        val shown = content ?: return
        canvas.save()
        canvas.concat(real.getTransform(null))
        val whole = Rect(0, 0, real.width, real.height)
        canvas.drawBitmap(shown, null, whole, Paint(Paint.FILTER_BITMAP_FLAG))
        canvas.restore()
    }

    fun makeAvailable() {
        val made = SurfaceTexture(0)
        texture = made
        real.surfaceTextureListener?.onSurfaceTextureAvailable(made, real.width, real.height)
    }
}

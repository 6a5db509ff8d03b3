package fiqa.app

import android.Manifest
import android.app.Activity
import android.content.ContentUris
import android.content.ContentValues
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.ImageFormat
import android.graphics.Matrix
import android.graphics.SurfaceTexture
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.net.Uri
import android.os.Handler
import android.os.Looper
import android.provider.MediaStore
import android.util.Size
import android.view.PixelCopy
import android.view.View
import android.widget.TextView
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.FileOutputStream
import java.nio.file.Files
import java.util.concurrent.TimeUnit
import kotlin.math.abs
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowCameraCharacteristics
import org.robolectric.shadows.ShadowCameraManager
import org.robolectric.shadows.StreamConfigurationMapBuilder
import org.robolectric.util.ReflectionHelpers

/** Every state of the screens, each reached by causing it, drawn by Android's own graphics. */
@RunWith(Runner::class)
@Config(
    sdk = [34],
    shadows = [FrameReader::class, BusyManager::class, PaintedTexture::class],
    qualifiers = "w411dp-h891dp-port-notnight-xhdpi"
)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
class ScreensTest {
    private val app get() = RuntimeEnvironment.getApplication()
    private val opened = ArrayList<ActivityController<*>>()
    private val golden = File(System.getProperty("fiqa.golden"))
    private var clock = 1_000_000_000L

    @Before
    fun cameras() {
        addCamera("0", CameraCharacteristics.LENS_FACING_BACK, 90)
        addCamera("1", CameraCharacteristics.LENS_FACING_FRONT, 270)
    }

    @After
    fun closeAll() {
        BusyManager.refusal = null
        for (activity in opened) activity.pause().stop().destroy()
    }

    // ---------------------------------------------------------------- live

    @Test
    fun `front camera's face stands under its box, mirrored, with its score`() {
        grant()
        val main = start()
        show(main, face())
        val (seen) = main.overlay.seen
        assertTrue(seen.score in 0.0..1.0)
        assertEquals(seen.score >= THRESHOLD, seen.isAccepted)
        assertMirroredUnderBox(main, seen)
        draw(main, "live_front_portrait_light")
    }

    @Test
    @Config(qualifiers = "w891dp-h411dp-land-night-xhdpi")
    fun `landscape at night is drawn too`() {
        grant()
        val main = start()
        show(main, face(640, 480))
        assertEquals(1, main.overlay.seen.size)
        draw(main, "live_front_landscape_dark")
    }

    @Test
    fun `several faces have a box each`() {
        grant()
        val main = start()
        val small = Bitmap.createScaledBitmap(group(), 320, 240, true)
        show(main, scene(480, 640) { it.drawBitmap(small, 80f, 200f, null) })
        assertTrue(main.overlay.seen.size >= 3)
        assertEquals(main.overlay.seen.size, main.overlay.seen.map { it.id }.toSet().size)
        draw(main, "live_several")
    }

    @Test
    fun `score of a face that left is gone with the next frame`() {
        grant()
        val main = start()
        show(main, face())
        assertEquals(1, main.overlay.seen.size)
        show(main, Bitmap.createBitmap(480, 640, Bitmap.Config.ARGB_8888))
        assertEquals(emptyList<Seen>(), main.overlay.seen)
        draw(main, "live_no_face")
    }

    @Test
    fun `score is gone when frames stay away`() {
        grant()
        val main = start()
        show(main, face())
        shadowOf(Looper.getMainLooper()).idleFor(1500, TimeUnit.MILLISECONDS)
        assertEquals(emptyList<Seen>(), main.overlay.seen)
    }

    @Test
    fun `every image is closed and a burst leaves the newest`() {
        grant()
        val main = start()
        val images = List(4) {
            FakeImage.of(
                Bitmap.createBitmap(64, 48, Bitmap.Config.ARGB_8888),
                1L + it
            )
        }
        val reader: FrameReader = Shadow.extract(main.camera.reader!!)
        images.forEach(reader::push)
        settle(main)
        assertTrue(images.all { it.isClosed })
    }

    @Test
    fun `frame of odd size is looked at`() {
        grant()
        val main = start()
        push(main, FakeImage.of(Bitmap.createBitmap(333, 251, Bitmap.Config.ARGB_8888), 1L))
        assertNull(main.shown)
    }

    @Test
    fun `pause and return go on with the camera and without old scores`() {
        grant()
        val main = start()
        show(main, face())
        val controller = opened.last()
        controller.pause()
        assertEquals(emptyList<Seen>(), main.overlay.seen)
        settle(main)
        assertNull(main.camera.reader)
        controller.resume()
        settle(main)
        show(main, face())
        assertEquals(1, main.overlay.seen.size)
    }

    @Test
    fun `switching shows the other camera`() {
        grant()
        val main = start()
        main.findViewById<View>(R.id.switch_camera).performClick()
        settle(main)
        assertTrue(!Settings(app).isFront)
        assertNull(main.shown)
        assertNotNull(main.camera.reader)
    }

    @Test
    fun `result of before the pause is not shown after it`() {
        grant()
        val main = start()
        show(main, face())
        val old = main.overlay.seen
        opened.last().pause()
        opened.last().resume()
        settle(main)
        main.onSeen(old, opening = 1)
        settleMain()
        assertEquals(emptyList<Seen>(), main.overlay.seen)
    }

    @Test
    fun `rotation in mid-frame ends in the other orientation with the camera open`() {
        grant()
        val main = start()
        show(main, face())
        val controller = opened.last()
        RuntimeEnvironment.setQualifiers("+land")
        controller.configurationChange()
        controller.visible()
        val turned = controller.get() as MainActivity
        Shadow.extract<PaintedTexture>(turned.preview).makeAvailable()
        settle(turned)
        assertNull(turned.shown)
        assertTrue(turned.preview.width > turned.preview.height)
        show(turned, face(640, 480))
        assertEquals(1, turned.overlay.seen.size)
    }

    @Test
    fun `model trouble is still told after the permission was given`() {
        Settings(app).modelName = "mine.tflite"
        val main = start()
        grant()
        main.onRequestPermissionsResult(0, arrayOf(Manifest.permission.CAMERA), intArrayOf(0))
        settle(main)
        assertEquals(Trouble.MODEL_MISSING, main.shown)
    }

    @Test
    @Suppress("DEPRECATION") // Robolectric's own; there is nothing else that tells the address
    fun `best shot is saved whole`() {
        grant()
        val main = start()
        main.findViewById<View>(R.id.capture).performClick()
        settle(main)
        show(main, face())
        shadowOf(main.live.thread.looper).idleFor(2500, TimeUnit.MILLISECONDS)
        settle(main)
        val saved = shadowOf(app.contentResolver).insertStatements.last()
        val picture = app.contentResolver.openInputStream(saved.uri)!!
            .use { BitmapFactory.decodeStream(it) }
        assertEquals(480 to 640, picture.width to picture.height)
        val message = main.findViewById<TextView>(R.id.message)
        assertTrue(message.text.startsWith("Saved"))
        draw(main, "live_saved")
    }

    @Test
    fun `best shot without a face says so`() {
        grant()
        val main = start()
        main.findViewById<View>(R.id.capture).performClick()
        shadowOf(main.live.thread.looper).idleFor(2500, TimeUnit.MILLISECONDS)
        settle(main)
        val message = main.findViewById<TextView>(R.id.message)
        assertEquals(app.getString(R.string.no_face_to_save), message.text)
    }

    // ---------------------------------------------------------------- troubles

    @Test
    @Suppress("DEPRECATION") // nothing else tells what was deleted
    fun `full storage is told with what to do, and leaves no half of a picture`() {
        grant()
        val pictures = MediaStore.Images.Media.EXTERNAL_CONTENT_URI
        val before = app.contentResolver.insert(pictures, ContentValues())!!
        val next = ContentUris.withAppendedId(pictures, ContentUris.parseId(before) + 1)
        shadowOf(app.contentResolver).registerOutputStreamSupplier(next) { FileOutputStream(FULL) }
        val main = start()
        main.findViewById<View>(R.id.capture).performClick()
        settle(main)
        show(main, face())
        shadowOf(main.live.thread.looper).idleFor(2500, TimeUnit.MILLISECONDS)
        settle(main)
        val message = main.findViewById<TextView>(R.id.message)
        assertEquals(app.getString(R.string.trouble_storage), message.text)
        val deleted = shadowOf(app.contentResolver).deleteStatements
        assertEquals(listOf(next), deleted.map { it.uri })
        show(main, face())
        assertEquals(1, main.overlay.seen.size) // faces are scored all the same
        draw(main, "trouble_storage")
    }

    @Test
    fun `model that does not fit into the storage changes nothing`() {
        val settings = open(SettingsActivity::class.java)
        val part = File(app.filesDir, "model.part")
        Files.createSymbolicLink(part.toPath(), File(FULL).toPath())
        choose(settings, "mine", app.assets.open("model.tflite").readBytes())
        assertEquals(app.getString(R.string.trouble_storage), settings.modelName.text)
        assertEquals("", Settings(app).modelName)
        assertTrue(!File(app.filesDir, "model.tflite").exists())
        assertTrue(!part.exists())
    }

    @Test
    fun `permission is asked for, and a refusal says what to do`() {
        val main = start()
        assertEquals(Trouble.PERMISSION, main.shown)
        val asked = shadowOf(main).lastRequestedPermission
        assertEquals(listOf(Manifest.permission.CAMERA), asked.requestedPermissions.toList())
        draw(main, "trouble_permission")
        main.onRequestPermissionsResult(0, arrayOf(Manifest.permission.CAMERA), intArrayOf(-1))
        assertEquals(Trouble.PERMISSION_DENIED, main.shown)
        draw(main, "trouble_permission_denied")
        grant()
        main.onRequestPermissionsResult(0, arrayOf(Manifest.permission.CAMERA), intArrayOf(0))
        settle(main)
        assertNull(main.shown)
        assertNotNull(main.camera.reader)
    }

    @Test
    fun `permission taken away while in the background is told`() {
        grant()
        val main = start()
        show(main, face())
        opened.last().pause()
        shadowOf(app).denyPermissions(Manifest.permission.CAMERA)
        opened.last().resume()
        settle(main)
        assertEquals(Trouble.PERMISSION, main.shown)
        assertEquals(emptyList<Seen>(), main.overlay.seen)
    }

    @Test
    fun `phone without a camera`() {
        grant()
        for (id in listOf("0", "1")) manager().removeCamera(id)
        val main = start()
        assertEquals(Trouble.NO_CAMERA, main.shown)
        draw(main, "trouble_no_camera")
    }

    @Test
    fun `phone with a back camera only uses it`() {
        grant()
        manager().removeCamera("1")
        assertNull(start().shown)
    }

    @Test
    fun `camera in other hands, and again when it is free`() {
        grant()
        BusyManager.refusal = CameraAccessException.CAMERA_IN_USE
        val main = start()
        assertEquals(Trouble.CAMERA_BUSY, main.shown)
        draw(main, "trouble_camera_busy")
        BusyManager.refusal = null
        main.findViewById<View>(R.id.mend).performClick()
        settle(main)
        assertNull(main.shown)
    }

    @Test
    fun `camera that another app takes`() {
        grant()
        val main = start()
        show(main, face())
        manager().triggerDisconnect()
        settle(main)
        assertEquals(Trouble.CAMERA_LOST, main.shown)
        assertEquals(emptyList<Seen>(), main.overlay.seen)
        draw(main, "trouble_camera_lost")
    }

    @Test
    fun `camera that fails`() {
        grant()
        val main = start()
        val callback: CameraDevice.StateCallback =
            ReflectionHelpers.getStaticField(ShadowCameraManager::class.java, "lastCallback")
        val opening: Any = ReflectionHelpers.getField(main.camera, "current")
        val device: CameraDevice = ReflectionHelpers.getField(opening, "device")
        callback.onError(device, CameraDevice.StateCallback.ERROR_CAMERA_SERVICE)
        settle(main)
        assertEquals(Trouble.CAMERA_FAILED, main.shown)
    }

    @Test
    fun `session that cannot be configured`() {
        grant()
        val main = start()
        val opening: Any = ReflectionHelpers.getField(main.camera, "current")
        val session: CameraCaptureSession = ReflectionHelpers.getField(opening, "session")
        val callback: CameraCaptureSession.StateCallback =
            ReflectionHelpers.getField(session, "mStateCallback")
        callback.onConfigureFailed(session)
        settle(main)
        assertEquals(Trouble.CAMERA_FAILED, main.shown)
    }

    @Test
    fun `model file that vanished or was damaged is told on the camera's screen`() {
        grant()
        Settings(app).modelName = "mine.tflite"
        assertEquals(Trouble.MODEL_MISSING, start().shown)
        val bytes = app.assets.open("model.tflite").readBytes()
        bytes[3000] = (bytes[3000] + 1).toByte()
        File(app.filesDir, "model.tflite").writeBytes(bytes)
        val main = start()
        assertEquals(Trouble.MODEL_DAMAGED, main.shown)
        draw(main, "trouble_model_damaged")
    }

    // ---------------------------------------------------------------- other screens

    @Test
    fun `settings keep what is chosen and refuse what is no model`() {
        val settings = open(SettingsActivity::class.java)
        draw(settings, "settings_light")
        settings.findViewById<View>(R.id.back).performClick()
        settings.findViewById<View>(R.id.nnapi).performClick()
        assertTrue(!Settings(app).isFront)
        assertEquals(fiqa.scoring.Kernels.NNAPI, Settings(app).kernels)
        val files = mapOf(
            "text" to "hello".toByteArray(),
            "cut" to app.assets.open("model.tflite").readBytes().copyOf(5000)
        )
        for ((name, bytes) in files) {
            choose(settings, name, bytes)
            assertEquals(app.getString(R.string.trouble_model_not_ours), settings.modelName.text)
            assertEquals("", Settings(app).modelName)
        }
        choose(settings, "mine", app.assets.open("model.tflite").readBytes())
        assertEquals("mine", settings.modelName.text)
        assertTrue(File(app.filesDir, "model.tflite").isFile)
    }

    @Test
    @Config(qualifiers = "w411dp-h891dp-port-night-xhdpi")
    fun `settings in the dark`() = draw(open(SettingsActivity::class.java), "settings_dark")

    @Test
    fun `shared picture is scored`() {
        val picture = share(File(golden, "group.png").readBytes())
        assertTrue(picture.overlay.seen.size >= 3)
        draw(picture, "picture")
    }

    @Test
    fun `shared file that is no picture is told`() {
        val picture = share(ByteArray(100))
        assertEquals(app.getString(R.string.trouble_picture), picture.message.text)
        draw(picture, "picture_unreadable")
    }

    @Test
    fun `benchmark runs and its result can be shared`() {
        val bench = open(BenchActivity::class.java)
        bench.findViewById<View>(R.id.run).performClick()
        bench.work!!.join(120_000)
        settleMain()
        val samples = (fiqa.scoring.parseJson(bench.result!!) as Map<*, *>)["samples_us"] as List<*>
        assertEquals(200, samples.size)
        draw(bench, "benchmark")
        bench.findViewById<View>(R.id.share).performClick()
        val chooser = shadowOf(bench).nextStartedActivity
        assertEquals(Intent.ACTION_CHOOSER, chooser.action)
    }

    @Test
    fun `benchmark started by adb leaves its complaint in a file`() {
        val intent = Intent().putExtra("arguments", arrayOf("--mode", "dream", "--out", "r1"))
        val bench = open(BenchActivity::class.java, intent)
        bench.work!!.join(60_000)
        val told = File(app.filesDir, "bench/r1.error").readText()
        assertTrue(told, "arguments" in told)
    }

    // ---------------------------------------------------------------- means

    private fun addCamera(id: String, facing: Int, sensor: Int) {
        val made = ShadowCameraCharacteristics.newCameraCharacteristics()
        val shadow: ShadowCameraCharacteristics = Shadow.extract(made)
        val sizes = StreamConfigurationMapBuilder.newBuilder()
        for (size in listOf(Size(1920, 1080), Size(1280, 960), Size(640, 480))) {
            sizes.addOutputSize(ImageFormat.YUV_420_888, size).addOutputSize(size)
        }
        shadow.set(CameraCharacteristics.LENS_FACING, facing)
        shadow.set(CameraCharacteristics.SENSOR_ORIENTATION, sensor)
        shadow.set(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP, sizes.build())
        manager().addCamera(id, made)
    }

    private fun manager() = shadowOf(app.getSystemService(CameraManager::class.java))

    private fun grant() = shadowOf(app).grantPermissions(Manifest.permission.CAMERA)

    private fun <T : Activity> open(type: Class<T>, intent: Intent = Intent()): T {
        val controller = Robolectric.buildActivity(type, intent).setup()
        opened += controller
        return controller.get()
    }

    private fun start(): MainActivity {
        val main = open(MainActivity::class.java)
        Shadow.extract<PaintedTexture>(main.preview).makeAvailable()
        settle(main)
        return main
    }

    private fun settleMain() = shadowOf(Looper.getMainLooper()).idle()

    private fun settle(main: MainActivity) = repeat(3) {
        shadowOf(main.camera.thread.looper).idle()
        shadowOf(main.live.thread.looper).idle()
        settleMain()
    }

    private fun push(main: MainActivity, image: FakeImage) {
        Shadow.extract<FrameReader>(main.camera.reader!!).push(image)
        settle(main)
    }

    /** Two frames as the front sensor, built in at 270, gives them of what stands upright. */
    private fun show(main: MainActivity, upright: Bitmap) {
        @Suppress("DEPRECATION")
        val display = main.windowManager.defaultDisplay.rotation * 90
        val lying = upright.turned(-(270 + display) % 360)
        Shadow.extract<PaintedTexture>(main.preview).content = lying.turned(270).mirrored()
        repeat(2) {
            clock += 33_000_000
            push(main, FakeImage.of(lying, clock))
        }
    }

    private fun Bitmap.turned(degrees: Int) =
        changed(Matrix().apply { postRotate(degrees.toFloat()) })

    private fun Bitmap.mirrored() = changed(Matrix().apply { postScale(-1f, 1f) })

    private fun Bitmap.changed(matrix: Matrix) =
        Bitmap.createBitmap(this, 0, 0, width, height, matrix, false)

    /** A drawn face in the left half of what the camera sees. */
    private fun face(width: Int = 480, height: Int = 640): Bitmap {
        val one = Bitmap.createBitmap(group(), 318, 10, 160, 160)
        return scene(width, height) {
            it.drawBitmap(
                Bitmap.createScaledBitmap(one, 240, 240, true),
                40f,
                height / 2f - 140,
                null
            )
        }
    }

    private fun group() = BitmapFactory.decodeFile(File(golden, "group.png").path)

    private fun scene(width: Int, height: Int, paint: (Canvas) -> Unit): Bitmap {
        val made = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
        val canvas = Canvas(made)
        canvas.drawColor(Color.rgb(120, 130, 140))
        paint(canvas)
        return made
    }

    private fun assertMirroredUnderBox(main: MainActivity, seen: Seen) {
        val (width, height) = main.overlay.width to main.overlay.height
        val place = main.overlay.place(seen)
        val scale = maxOf(width / 480f, height / 640f)
        val x = width / 2f - (seen.box.centreX.toFloat() - 240) * scale
        val y = height / 2f + (seen.box.centreY.toFloat() - 320) * scale
        assertTrue(abs(place.centerX() - x) <= 1)
        assertTrue(abs(place.centerY() - y) <= 1)
        assertTrue("left in the world is right in the mirror", place.centerX() > width / 2f)
        assertTrue(seen.box.centreX in 120.0..200.0)
    }

    private fun choose(settings: SettingsActivity, name: String, bytes: ByteArray) {
        val uri = Uri.parse("content://files/$name")
        shadowOf(app.contentResolver).registerInputStreamSupplier(uri) {
            ByteArrayInputStream(bytes)
        }
        settings.findViewById<View>(R.id.choose_model).performClick()
        val request = shadowOf(settings).nextStartedActivityForResult
        shadowOf(settings).receiveResult(request.intent, Activity.RESULT_OK, Intent().setData(uri))
    }

    private fun share(bytes: ByteArray): PictureActivity {
        val uri = Uri.parse("content://shared/${bytes.size}")
        shadowOf(app.contentResolver).registerInputStreamSupplier(uri) {
            ByteArrayInputStream(bytes)
        }
        val intent = Intent(
            Intent.ACTION_SEND
        ).setType("image/png").putExtra(Intent.EXTRA_STREAM, uri)
        val picture = open(PictureActivity::class.java, intent)
        picture.work!!.join(60_000)
        settleMain()
        return picture
    }

    /** The window as the screen would show it, as a file to look at; never one plain colour. */
    private fun draw(activity: Activity, name: String) {
        settleMain()
        val view = activity.window.decorView
        val drawn = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        var result = -1
        PixelCopy.request(activity.window, drawn, { result = it }, Handler(Looper.getMainLooper()))
        settleMain()
        assertEquals(PixelCopy.SUCCESS, result)
        val pixels = IntArray(view.width * view.height)
        drawn.getPixels(pixels, 0, view.width, 0, 0, view.width, view.height)
        assertNotEquals(1, pixels.distinct().size)
        val bytes = ByteArrayOutputStream()
        drawn.compress(Bitmap.CompressFormat.PNG, 100, bytes)
        File(System.getProperty("fiqa.screens"), "$name.png").writeBytes(bytes.toByteArray())
    }

    private companion object {
        const val FULL = "/dev/full" // whoever writes there hears that no space is left
        const val THRESHOLD = 0.5 // of the model that the tests are run with
    }
}

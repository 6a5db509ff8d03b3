package fiqa.app

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.provider.OpenableColumns
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.RadioGroup
import android.widget.Spinner
import android.widget.Switch
import android.widget.TextView
import fiqa.scoring.Kernels

/** Camera, model, who computes, and what is shown. Every choice holds at once. */
class SettingsActivity : Activity() {
    private lateinit var settings: Settings
    lateinit var modelName: TextView
        private set

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        settings = Settings(this)
        setContentView(R.layout.settings)
        modelName = findViewById(R.id.model_name)
        showModel()
        choice(R.id.camera, if (settings.isFront) R.id.front else R.id.back) {
            settings.isFront = it == R.id.front
        }
        choice(R.id.kernels, if (settings.kernels == Kernels.NNAPI) R.id.nnapi else R.id.cpu) {
            settings.kernels = if (it == R.id.nnapi) Kernels.NNAPI else Kernels.XNNPACK
        }
        showThreads()
        val times = findViewById<Switch>(R.id.show_times)
        times.isChecked = settings.showsTimes
        times.setOnCheckedChangeListener { _, isOn -> settings.showsTimes = isOn }
        findViewById<View>(R.id.choose_model).setOnClickListener { pick() }
        findViewById<View>(R.id.bundled_model).setOnClickListener {
            settings.modelName = ""
            showModel()
        }
    }

    override fun onActivityResult(code: Int, result: Int, data: Intent?) {
        super.onActivityResult(code, result, data)
        val uri = data?.data ?: return
        if (result != RESULT_OK) return
        try {
            Models(this).adopt(uri, nameOf(uri), settings)
            showModel()
        } catch (error: TroubleException) {
            modelName.setText(error.trouble.text)
        }
    }

    private fun pick() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT)
        intent.addCategory(Intent.CATEGORY_OPENABLE).setType("*/*")
        startActivityForResult(intent, 0)
    }

    private fun showModel() {
        modelName.text = settings.modelName.ifEmpty { getString(R.string.bundled_model) }
    }

    private fun showThreads() {
        val spinner = findViewById<Spinner>(R.id.threads)
        val most = Runtime.getRuntime().availableProcessors().coerceIn(1, MOST_THREADS)
        val simple = android.R.layout.simple_spinner_dropdown_item
        spinner.adapter = ArrayAdapter(this, simple, (1..most).toList())
        spinner.setSelection((settings.threads - 1).coerceIn(0, most - 1))
        spinner.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>?, view: View?, at: Int, id: Long) {
                settings.threads = at + 1
            }

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
    }

    private fun choice(group: Int, chosen: Int, change: (Int) -> Unit) {
        val radios = findViewById<RadioGroup>(group)
        radios.check(chosen)
        radios.setOnCheckedChangeListener { _, id -> change(id) }
    }

    private fun nameOf(uri: Uri): String {
        val columns = arrayOf(OpenableColumns.DISPLAY_NAME)
        val found = contentResolver.query(uri, columns, null, null, null)?.use {
            if (it.moveToFirst()) it.getString(0) else null
        }
        return found ?: uri.lastPathSegment ?: "model.tflite"
    }

    private companion object {
        const val MOST_THREADS = 8
    }
}

package fiqa.app

import android.content.Context
import fiqa.scoring.Kernels

/** What the user chose; kept between starts. */
class Settings(context: Context) {
    private val kept = context.getSharedPreferences("settings", Context.MODE_PRIVATE)

    var isFront: Boolean
        get() = kept.getBoolean("front", true)
        set(value) = kept.edit().putBoolean("front", value).apply()

    var threads: Int
        get() = kept.getInt("threads", 1)
        set(value) = kept.edit().putInt("threads", value).apply()

    var kernels: Kernels
        get() = if (kept.getBoolean("nnapi", false)) Kernels.NNAPI else Kernels.XNNPACK
        set(value) = kept.edit().putBoolean("nnapi", value == Kernels.NNAPI).apply()

    /** The file the user chose, as it was called; empty: the model in the app. */
    var modelName: String
        get() = kept.getString("model", "") ?: ""
        set(value) = kept.edit().putString("model", value).apply()

    var showsTimes: Boolean
        get() = kept.getBoolean("times", true)
        set(value) = kept.edit().putBoolean("times", value).apply()
}

package fiqa.app

import fiqa.scoring.ModelFault

/** What a person can press when something is wrong. */
enum class Mend(val label: Int) {
    ALLOW_CAMERA(R.string.allow_camera),
    SYSTEM_SETTINGS(R.string.open_system_settings),
    TRY_AGAIN(R.string.try_again),
    CHOOSE_MODEL(R.string.choose_model)
}

/** Everything that keeps the app from scoring: what the screen says, and what mends it. */
enum class Trouble(val text: Int, val mend: Mend?) {
    PERMISSION(R.string.trouble_permission, Mend.ALLOW_CAMERA),
    PERMISSION_DENIED(R.string.trouble_permission_denied, Mend.SYSTEM_SETTINGS),
    NO_CAMERA(R.string.trouble_no_camera, null),
    CAMERA_BUSY(R.string.trouble_camera_busy, Mend.TRY_AGAIN),
    CAMERA_LOST(R.string.trouble_camera_lost, Mend.TRY_AGAIN),
    CAMERA_FAILED(R.string.trouble_camera_failed, Mend.TRY_AGAIN),
    MODEL_MISSING(R.string.trouble_model_missing, Mend.CHOOSE_MODEL),
    MODEL_DAMAGED(R.string.trouble_model_damaged, Mend.CHOOSE_MODEL),
    MODEL_TOO_NEW(R.string.trouble_model_too_new, Mend.CHOOSE_MODEL),
    MODEL_NOT_OURS(R.string.trouble_model_not_ours, Mend.CHOOSE_MODEL),
    MODEL_UNSUITABLE(R.string.trouble_model_unsuitable, Mend.CHOOSE_MODEL),
    LIBRARY(R.string.trouble_library, Mend.CHOOSE_MODEL),
    STORAGE(R.string.trouble_storage, null),
    PICTURE(R.string.trouble_picture, null);

    companion object {
        fun of(fault: ModelFault) = when (fault) {
            ModelFault.MISSING -> MODEL_MISSING
            ModelFault.DAMAGED -> MODEL_DAMAGED
            ModelFault.TOO_NEW -> MODEL_TOO_NEW
            ModelFault.NOT_OURS -> MODEL_NOT_OURS
            ModelFault.UNSUITABLE -> MODEL_UNSUITABLE
        }
    }
}

/** Trouble on its way to the screen. */
class TroubleException(val trouble: Trouble, cause: Throwable? = null) :
    Exception(trouble.name, cause)

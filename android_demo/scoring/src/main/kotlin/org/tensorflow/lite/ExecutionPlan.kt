package org.tensorflow.lite

/**
 * How many steps the interpreter runs: one, when a delegate took the whole graph. The library
 * tells it to its own package only, and nothing else says whether XNNPACK is at work.
 */
object ExecutionPlan {
    @JvmStatic
    fun length(interpreter: Interpreter): Int = interpreter.executionPlanLength
}

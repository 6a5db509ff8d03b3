// Plain Kotlin for the JVM: nothing of Android but TensorFlow Lite's Java classes, which the app
// brings along with their native library. `python -m android_demo.build test` runs the tests.
plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    jvmToolchain(17)
}

// An .aar is no class path entry on the JVM: take the classes out of it.
val tfliteArchives: Configuration by configurations.creating { isTransitive = false }
val tfliteClasses by tasks.registering(Sync::class) {
    tfliteArchives.forEach { archive ->
        from(zipTree(archive)) {
            include("classes.jar")
            rename { "${archive.nameWithoutExtension}.jar" }
        }
    }
    into(layout.buildDirectory.dir("tflite"))
}

dependencies {
    tfliteArchives(variantOf(libs.tflite) { artifactType("aar") })
    tfliteArchives(variantOf(libs.tflite.api) { artifactType("aar") })
    compileOnly(fileTree(layout.buildDirectory.dir("tflite")) { builtBy(tfliteClasses) })
    testImplementation(fileTree(layout.buildDirectory.dir("tflite")) { builtBy(tfliteClasses) })
    testImplementation(libs.junit)
}

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "fiqa.app"
    compileSdk = libs.versions.target.sdk.get().toInt()
    defaultConfig {
        applicationId = "fiqa.app"
        minSdk = libs.versions.min.sdk.get().toInt()
        targetSdk = libs.versions.target.sdk.get().toInt()
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    }
    // The detector that fiqa carries; put a model.tflite of yours into src/main/assets.
    sourceSets["main"].assets.srcDir("../../models")
    androidResources { noCompress += "tflite" }
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles("rules.pro")
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":scoring"))
    implementation(libs.tflite)
    implementation(libs.tflite.api)
}

"""The Android demo's build, without Gradle: see android_demo/README.md."""

"""Where a model is measured: over adb, over ssh, on this machine, or on an emulated core."""

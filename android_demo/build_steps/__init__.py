"""Steps of android_demo.build: fetching, compiling, adapting, packing."""

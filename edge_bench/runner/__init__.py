"""What runs on the device: the native runner and its build, and benchmark_model as a stand-in."""

"""Benchmarks: accuracy drop and latency, measured on the device itself. Never loads torch."""

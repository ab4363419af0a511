"""Measurements: soak runs and benchmarks."""

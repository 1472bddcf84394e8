"""Micro benchmarks of each stage, by pytest-benchmark."""

"""Benchmarks: CPU time a point of each floor and of the whole daemon. ``python -m bench --help``."""

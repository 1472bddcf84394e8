"""The compiled kernels, which an install without a compiler goes without. All else is in pyproject.toml."""

from setuptools import Extension, setup

KERNELS = (
    "collectd",
    "datagrams",
    "datapoints",
    "decimals",
    "identities",
    "lines",
    "load",
    "reads",
    "ring",
    "seal",
    "sums",
    "table",
    "tree",
)

setup(
    ext_modules=[Extension(f"ingestd._speed.{name}", [f"ingestd/_speed/{name}.pyx"], optional=True) for name in KERNELS]
)

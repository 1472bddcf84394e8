"""The compiled kernels, which an install without a compiler goes without. All else is in pyproject.toml."""

import os

from setuptools import Extension, setup

KERNELS = (
    "along",
    "collectd",
    "datagrams",
    "datapoints",
    "decimals",
    "identities",
    "lines",
    "load",
    "naming",
    "reads",
    "ring",
    "rows",
    "seal",
    "sums",
    "table",
    "tree",
    "windows",
)

# A product and a sum are never made one, which would round otherwise than the twins do. What debuggers need takes half
# of the compiler's time: who wants it sets flags of his own.
FLAGS = ["-ffp-contract=off", *([] if os.environ.get("CFLAGS") else ["-g0"])]

setup(
    ext_modules=[
        Extension(f"ingestd._speed.{name}", [f"ingestd/_speed/{name}.pyx"], extra_compile_args=FLAGS, optional=True)
        for name in KERNELS
    ],
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)

"""The functions of the query language, by topic. Importing this registers them all."""

from ingestd.query.functions import alias, buckets, combine, sorting, special, transform, windows
from ingestd.query.functions.registry import FUNCTIONS, Function, lookup

__all__ = [
    "FUNCTIONS",
    "Function",
    "alias",
    "buckets",
    "combine",
    "lookup",
    "sorting",
    "special",
    "transform",
    "windows",
]

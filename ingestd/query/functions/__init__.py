"""The functions of the query language, by topic. Importing this registers them all."""

from ingestd.query.functions import (  # noqa: F401 - imported to register what they hold
    alias,
    buckets,
    calculate,
    combine,
    consolidation,
    counters,
    extensions,
    filter_data,
    filter_series,
    forecast,
    gaps,
    generated,
    graph,
    grouping,
    legends,
    moving,
    objectives,
    powers,
    ratios,
    slices,
    sorting,
    special,
    statistics,
    transform,
    windows,
)
from ingestd.query.functions.registry import FUNCTIONS, Function, lookup

__all__ = ["FUNCTIONS", "Function", "lookup"]

"""Functions that make series out of nothing."""

from __future__ import annotations

import numpy as np

from ingestd.query.context import Invocation, path_tags
from ingestd.query.functions.registry import FLOAT, Param, function
from ingestd.query.grid import Label, SeriesList, single
from ingestd.query.limits import QueryError


@function("constantLine", group="Special", params=(Param("value", FLOAT),))
def constant_line(call: Invocation, value: float) -> SeriesList:
    """Three points of one value: at the beginning, the middle and the end of the request's window."""
    context = call.context
    step = (context.until - context.start) // 2
    if step < 1:
        raise QueryError("constantLine needs a time range of two seconds")
    name = str(value)
    label = Label(name, f"constantLine({name})", path_tags(name), x_files_factor=context.x_files_factor)
    return single(label, context.start, context.until, step, np.full(3, value))

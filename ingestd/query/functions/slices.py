"""Parts of a window, and several windows."""

from __future__ import annotations

import numpy as np

from ingestd.query.attime import parse_offset, parse_time
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import DATE, INTEGER, INTERVAL, SERIES, Param, function, optional
from ingestd.query.functions.windows import SHIFTS
from ingestd.query.grid import SeriesList, concatenate
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar


@function(
    "timeSlice", group="Transform", params=(SERIES, Param("startSliceAt", DATE), optional("endSliceAt", DATE, "now"))
)
def time_slice(call: Invocation, series: SeriesList, start_slice_at: Scalar, end_slice_at: Scalar) -> SeriesList:
    """Only the values from one time to another, both included.

    Points are counted from the beginning of the request's window, as in graphite-web: up to a step too early.
    """
    context = call.context
    first = parse_time(str(start_slice_at), context.now, context.tz)
    last = parse_time(str(end_slice_at), context.now, context.tz)
    for grid in series.grids:
        times = context.start + grid.step * np.arange(grid.values.shape[1])
        grid.values = np.where((times >= first) & (times <= last), grid.values, np.nan)
        grid.labels.names = grid.labels.wrapped("timeSlice", f", {first}, {last}")
    return series.tagged("timeSliceStart", first).tagged("timeSliceEnd", last)


@function(
    "timeStack",
    group="Transform",
    params=(
        SERIES,
        optional("timeShiftUnit", INTERVAL, "1d", suggestions=SHIFTS),
        optional("timeShiftStart", INTEGER, 0),
        optional("timeShiftEnd", INTEGER, 7),
    ),
)
def time_stack(call: Invocation, series: SeriesList, unit: str, first: int, last: int) -> SeriesList:
    """The argument over several windows, ``first`` to ``last`` - 1 times the unit away, all drawn at present times.

    No sign of the unit means minus. Start and end are those of the first series that is not shifted.
    """
    if not unit:
        raise QueryError("timeStack: an empty interval")
    if unit[0].isdigit():
        unit = f"-{unit}"
    delta = parse_offset(unit)
    if not series:
        return series
    anchor = series.first
    context = call.context
    lists = []
    for times in range(first, last):
        context.source.costs.add_call()
        shifted = call.series_again(context.start + delta * times, context.until + delta * times)
        for grid in shifted.grids:
            grid.start, grid.end = anchor.start, anchor.end
        shifted.tagged("timeShiftUnit", unit).named("timeShift", f", {unit}, {times}", times)
        lists.append(shifted)
    return concatenate(lists)

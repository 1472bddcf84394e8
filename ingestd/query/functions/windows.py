"""Functions that look at another window than the request's, and evaluate their argument anew for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import BOOLEAN, INTERVAL, SERIES, Param, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError

SHIFTS: Final = ("1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d")


@function(
    "timeShift",
    group="Transform",
    params=(
        SERIES,
        Param("timeShift", INTERVAL, suggestions=SHIFTS),
        optional("resetEnd", BOOLEAN, True),
        optional("alignDst", BOOLEAN, False, keyword="alignDST"),
    ),
)
def time_shift(call: Invocation, series: SeriesList, shift: str, reset_end: bool, align_dst: bool) -> SeriesList:
    """The argument over a window in the past (no sign means minus), drawn at the present times.

    Start and end become those of the first unshifted series, so the number of points may not fit between them.
    ``align_dst`` keeps the time of day across a change of clocks in the zone of the request.
    """
    if not shift:
        raise QueryError("timeShift: an empty interval")
    if shift[0].isdigit():
        shift = f"-{shift}"
    context = call.context
    offset = parse_offset(shift)
    if align_dst:
        offset += _clock_change(call, offset)
    if not series:
        return SeriesList()
    anchor = series.first
    again = call.series_again(context.start + offset, context.until + offset)
    for grid in again.grids:
        grid.end = anchor.end if reset_end else grid.end - grid.start + anchor.start
        grid.start = anchor.start
        grid.labels.names = grid.labels.wrapped("timeShift", f', "{shift}"')
    return again.tagged("timeShift", shift)


def _clock_change(call: Invocation, offset: int) -> int:
    """An hour more if only the request's window lies in summer time, an hour less if only the shifted one does."""

    def summer(epoch: int) -> bool:
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch)
            return bool(moment.astimezone(call.context.tz).dst())
        except OverflowError as error:
            raise QueryError("timeShift: the window lies outside of the calendar") from error

    request = [summer(call.context.start), summer(call.context.until)]
    shifted = [summer(call.context.start + offset), summer(call.context.until + offset)]
    if all(request) and not any(shifted):
        return 3_600
    if not any(request) and all(shifted):
        return -3_600
    return 0

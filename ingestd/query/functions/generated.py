"""Series that are computed and not read."""

from __future__ import annotations

import zlib
from typing import Final, cast

import numpy as np

from ingestd.points import Values
from ingestd.query.attime import MAX_OFFSET
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import INTEGER, NUMBER, STRING, Param, function, optional
from ingestd.query.grid import EventReader, SeriesList, single
from ingestd.query.labels import Label, name_tags
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar

NAME: Final = Param("name", STRING)
STEP: Final = optional("step", INTEGER, 60)


@function("time", "timeFunction", group="Transform", params=(NAME, STEP))
def time_function(call: Invocation, name: Scalar, step: int) -> SeriesList:
    """The seconds since the epoch, every ``step`` seconds from the beginning of the window."""
    return generated(call, name, step, moments(call, step))


@function("sin", "sinFunction", group="Transform", params=(NAME, optional("amplitude", NUMBER, 1), STEP))
def sin_function(call: Invocation, name: Scalar, amplitude: float, step: int) -> SeriesList:
    """``amplitude`` times the sine of the seconds since the epoch, every ``step`` seconds."""
    return generated(call, name, step, np.sin(moments(call, step)) * amplitude)


@function("randomWalk", "randomWalkFunction", group="Special", params=(NAME, STEP))
def random_walk(call: Invocation, name: Scalar, step: int) -> SeriesList:
    """From 0 in steps between -0.5 and 0.5; the same ones whenever the same name is asked for the same window."""
    count = len(moments(call, step))
    random = np.random.default_rng([zlib.crc32(str(name).encode()), abs(call.context.start)])
    walk = np.cumsum(random.uniform(-0.5, 0.5, count))
    return generated(call, name, step, np.concatenate((np.zeros(1), walk))[:count])


@function("events", group="Special", params=(Param("tags", STRING, multiple=True),))
def events(call: Invocation, *tags: Scalar) -> SeriesList:
    """How many events with all of the tags, or with any at all for ``"*"``, there were in each second."""
    context = call.context
    start, points = context.start, context.until - context.start
    context.charge(1, points)
    wanted = [str(tag) for tag in tags]
    name = "events({})".format(", ".join(f'"{tag}"' for tag in wanted) or '""')
    reader = context.source.reader
    times: list[int] = []
    if isinstance(reader, EventReader):
        times = reader.events([] if wanted == ["*"] else wanted, start, context.until)
    counts = np.bincount(np.array(times, np.int64) - start, minlength=points)[:points].astype(np.float64)
    label = Label(name, name, {"name": name}, "sum", context.x_files_factor, ints=True)
    return single(label, start, context.until, 1, np.where(counts > 0, counts, np.nan))


def moments(call: Invocation, step: int) -> Values:
    """The times of the series, float64[points]: every ``step`` seconds from the window's beginning, its end excluded.

    Raises :class:`QueryError`.
    """
    context = call.context
    if step < 1:
        raise QueryError(f"{call.name}: the step {step} is not positive")
    if step > MAX_OFFSET:
        raise QueryError(f"{call.name}: the step is {step} s; the longest is {MAX_OFFSET} s")
    context.charge(1, -(-(context.until - context.start) // step))
    return np.arange(context.start, context.until, step).astype(np.float64)


def generated(call: Invocation, name: Scalar, step: int, values: Values) -> SeriesList:
    """One series of the request's window; ``values`` float64[points]."""
    context = call.context
    text = str(name)
    label = Label(cast(str, name), text, name_tags(text), x_files_factor=context.x_files_factor)
    return single(label, context.start, context.until, step, values)

"""Functions that make series, or find them by their tags."""

from __future__ import annotations

import numpy as np

from ingestd.points import Values
from ingestd.query.context import Context, Invocation
from ingestd.query.functions.registry import FLOAT, STRING, Param, function
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import Label, Labels, path_tags
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar


@function("constantLine", group="Special", params=(Param("value", FLOAT),))
def constant_line(call: Invocation, value: float) -> SeriesList:
    """Three points of one value: at the beginning, the middle and the end of the request's window."""
    name = str(value)
    return line(call.context, value, Label(name, f"constantLine({name})", path_tags(name)))


def line(context: Context, value: float, label: Label) -> SeriesList:
    """A series of three equal points, at the beginning, the middle and the end of the request's window."""
    return lines(context, np.array([value]), Labels.of([label]))


def lines(context: Context, values: Values, labels: Labels) -> SeriesList:
    """Such a series for each of ``values`` float64[n]."""
    step = (context.until - context.start) // 2
    if step < 1:
        raise QueryError("a constant line needs a time range of two seconds")
    if not len(labels):
        return SeriesList()
    labels.all(x_files_factor=context.x_files_factor)
    rows = np.repeat(values[:, np.newaxis], 3, axis=1)
    return SeriesList([Grid(context.start, context.until, step, rows, labels, np.arange(len(labels)))])


@function("seriesByTag", group="Special", params=(Param("tagExpressions", STRING, multiple=True),))
def series_by_tag(call: Invocation, *expressions: Scalar) -> SeriesList:
    """The series whose tags satisfy all expressions: ``dc=a``, ``host!=b``, ``name=~cpu.*``, ``rack!=~r[12]``.

    What an enclosing function prints for them is the text of the call.
    """
    return call.context.fetch(call.raw, [each for each in expressions if isinstance(each, str)])

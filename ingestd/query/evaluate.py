"""A request to series: parse every target, then evaluate the trees over one reader.

Pure and synchronous, for a worker thread. One difference to graphite-web is meant: there a function that evaluates its
argument again (movingAverage, timeShift) forgets the calls that were piped into it; here ``a|f(x)`` always is f(a,x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

import numpy as np

from ingestd.query.context import Context, Costs, Invocation, Source, never
from ingestd.query.functions import lookup
from ingestd.query.functions.registry import Argument
from ingestd.query.functions.totals import totalled
from ingestd.query.grid import Reader, Series, SeriesList
from ingestd.query.limits import LimitError, QueryError, QueryLimits
from ingestd.query.parse import Literal, Node, Path, parse
from ingestd.query.template import resolve
from ingestd.query.trace import Trace, tree_of

NO_FACTOR: Final = 0.0
"""graphite-web's DEFAULT_XFILES_FACTOR: one known value suffices."""


@dataclass(frozen=True, slots=True)
class Request:
    """One query: seconds since the epoch, ``start`` before ``until``."""

    targets: tuple[str, ...]
    start: int
    until: int
    now: int
    tz: tzinfo
    max_data_points: int | None = None
    x_files_factor: float | None = None
    limits: QueryLimits = field(default_factory=QueryLimits)
    template: tuple[tuple[str, str], ...] = ()
    """Values of template()'s variables, by name."""
    stop: Callable[[], bool] = never
    """Asked now and then, in the thread of the query: whether nobody waits for the answer any more."""


def run(request: Request, reader: Reader, trace: Trace | None = None) -> list[Series]:
    """The series of all targets in order, not consolidated: :func:`ingestd.query.consolidate.consolidate` is JSON's.

    Their values are views of arrays that nobody writes to; ``trace`` is told every step. Raises :class:`QueryError`.
    """
    limits = request.limits
    if request.start >= request.until:
        raise QueryError("Invalid empty time range")
    if len(request.targets) > limits.targets:
        raise LimitError("limits.query_targets", f"{len(request.targets)} targets", limits.targets)
    since = trace.clock() if trace else 0.0
    given = dict(request.template)
    trees = [resolve(parse(target, limits), given, limits) for target in request.targets if target.strip()]
    if trace:
        trace.took("parse", since)
        trace.trees = [tree_of(tree) for tree in trees]
    factor = NO_FACTOR if request.x_files_factor is None else request.x_files_factor
    source = Source(reader, request.now, Costs(limits, request.stop), trace)
    context = Context(source, request.start, request.until, request.tz, factor, evaluate)
    out: list[Series] = []
    with np.errstate(all="ignore"):
        for tree in trees:
            out += evaluate(context, tree).series()
    return out


def evaluate(context: Context, node: Node) -> SeriesList:
    """The series of a tree; a literal None, false, zero or empty string stands for none. Raises :class:`QueryError`."""
    value = _value(context, node)
    if isinstance(value, SeriesList):
        return value
    if value:
        raise QueryError(f"{value!r} is no series")
    return SeriesList()


def _value(context: Context, node: Node) -> Argument:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Path):
        return context.fetch(node.text)
    function = lookup(node.name)
    context.source.costs.add_call()
    trace = context.source.trace
    # What is explained is read into arrays: where each point comes from is told of these.
    straight = totalled(context, node) if trace is None else None
    if straight is not None:
        return straight
    since = trace.enter() if trace else 0.0
    args = [_value(context, each) for each in node.args]
    kwargs = [(name, _value(context, each)) for name, each in node.kwargs]
    bound = function.bind(args, kwargs)
    given = trace.given(node, bound) if trace else (0, 0)
    result = function.body(Invocation(context, node.name, node.args, node.raw), *bound)
    if trace:
        trace.leave(node, given, result, since)
    return result

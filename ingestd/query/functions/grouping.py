"""Functions that take series in groups: those whose names or tags agree in something."""

from __future__ import annotations

from itertools import chain
from typing import Final

import numpy as np

from ingestd.query.context import Invocation
from ingestd.query.functions.alias import node_names
from ingestd.query.functions.groups import aggregated_groups
from ingestd.query.functions.ratios import quotients
from ingestd.query.functions.registry import (
    AGG_FUNC,
    AGG_OR_SERIES_FUNC,
    FUNCTIONS,
    LISTS_OF_SERIES,
    NODE,
    NODE_OR_TAG,
    SERIES,
    STRING,
    TAG,
    Param,
    function,
    lookup,
    optional,
)
from ingestd.query.functions.together import in_groups
from ingestd.query.grid import SeriesList, concatenate
from ingestd.query.labels import Same, Tags
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar

PLAIN: Final = {
    "sum": "sum",
    "sumSeries": "sum",
    "avg": "average",
    "averageSeries": "average",
    "maxSeries": "max",
    "minSeries": "min",
    "diffSeries": "diff",
    "stddevSeries": "stddev",
    "rangeOfSeries": "rangeOf",
}
"""Functions that do nothing but aggregate, and by what: all groups are reduced at once."""
POSITIONS: Final = optional("position", NODE, multiple=True)


def called(call: Invocation, series: SeriesList, callback: str, groups: dict[str, list[int]]) -> SeriesList:
    """The first series that ``callback`` makes of each group, under the group's name.

    It is the name of a function, else of an aggregation. A group of which the function makes nothing is left out.
    """
    if callback in PLAIN or callback not in FUNCTIONS:
        made = aggregated_groups(call, series, PLAIN.get(callback, callback), list(groups.values()))
        return made.shown(list(groups))
    out = []
    for key, places in groups.items():
        made = _call(call, callback, series.pick(np.array(places, np.intp)))
        out.append(made.shown([key] * len(made)))
    return concatenate(out)


def _call(call: Invocation, name: str, *args: SeriesList) -> SeriesList:
    """The first of the series, or none, that the function of that name gives."""
    found = lookup(name)
    call.context.source.costs.add_call()
    made = found.body(Invocation(call.context, name, call.args), *found.bind(args))
    return made.pick(np.zeros(1, np.intp)) if made else made


@function(
    "groupByNode",
    group="Combine",
    params=(SERIES, Param("nodeNum", NODE_OR_TAG), optional("callback", AGG_OR_SERIES_FUNC, "average")),
)
def group_by_node(call: Invocation, series: SeriesList, node: Scalar, callback: str) -> SeriesList:
    """One series for each value of a node of the names, or of a tag: what ``callback`` makes of those that have it."""
    return called(call, series, callback, in_groups(node_names(series, (node,), call.context.limits)))


@function(
    "groupByNodes",
    group="Combine",
    params=(SERIES, Param("callback", AGG_OR_SERIES_FUNC), optional("nodes", NODE_OR_TAG, multiple=True)),
)
def group_by_nodes(call: Invocation, series: SeriesList, callback: str, *nodes: Scalar) -> SeriesList:
    """As groupByNode, for each combination of several nodes or tags."""
    return called(call, series, callback, in_groups(node_names(series, nodes, call.context.limits)))


@function(
    "groupByTags",
    group="Combine",
    params=(SERIES, Param("callback", AGG_OR_SERIES_FUNC), Param("tags", TAG, multiple=True)),
)
def group_by_tags(call: Invocation, series: SeriesList, callback: str, *tags: Scalar) -> SeriesList:
    """One series for each combination of values of the tags: what ``callback`` makes of those that have it.

    The results are tagged series. Their name is the tag ``name`` if that is among the tags or the same in all series,
    else that of the callback. A tag that a series lacks is empty in the text of the name and not set.
    """
    if not tags:
        raise QueryError("groupByTags(): no tags specified")
    wanted = [str(tag) for tag in tags if tag != "name"]
    tags_of = list(series.labels.tags)
    names = [each.get("name", "") for each in tags_of]
    if len(wanted) == len(tags) and any(name != names[0] for name in names):
        names = [callback] * len(names)
    keys = names
    if wanted:
        keys = [
            ";".join([name, *sorted(f"{tag}={each.get(tag, '')}" for tag in wanted)])
            for name, each in zip(names, tags_of, strict=True)
        ]
    made = called(call, series, callback, in_groups(keys))
    for grid in made.grids:
        grid.labels.become(grid.labels.names)
        grid.labels.tags = Tags([_without_empty(name) for name in grid.labels.names])
    return made


def _without_empty(path: str) -> str:
    """A tagged path without the tags that have no value."""
    if ";" not in path:
        return path
    name, *pairs = path.split(";")
    return ";".join([name, *(pair for pair in pairs if not pair.endswith("="))])


def _without_positions(series: SeriesList, positions: tuple[int, ...]) -> dict[str, list[int]]:
    dropped = set(positions)
    return in_groups(
        ".".join([node for at, node in enumerate(str(name).split(".")) if at not in dropped]) for name in series.names
    )


@function(
    "aggregateWithWildcards",
    group="Combine",
    params=(SERIES, Param("func", AGG_FUNC), Param("position", NODE, False, multiple=True, keyword="positions")),
)
def aggregate_with_wildcards(call: Invocation, series: SeriesList, func: str, *positions: int) -> SeriesList:
    """One series for all whose names agree when the nodes at these positions are left out: ``func`` of those."""
    groups = _without_positions(series, positions)
    return aggregated_groups(call, series, func, list(groups.values())).shown(list(groups))


@function("sumSeriesWithWildcards", group="Combine", params=(SERIES, POSITIONS), aggregator=True)
def sum_series_with_wildcards(call: Invocation, series: SeriesList, *positions: int) -> SeriesList:
    """The sum of all series whose names agree when the nodes at these positions are left out."""
    return aggregate_with_wildcards(call, series, "sum", *positions)


@function("averageSeriesWithWildcards", group="Combine", params=(SERIES, POSITIONS), aggregator=True)
def average_series_with_wildcards(call: Invocation, series: SeriesList, *positions: int) -> SeriesList:
    """The mean of all series whose names agree when the nodes at these positions are left out."""
    return aggregate_with_wildcards(call, series, "average", *positions)


@function("multiplySeriesWithWildcards", group="Combine", params=(SERIES, POSITIONS), aggregator=True)
def multiply_series_with_wildcards(call: Invocation, series: SeriesList, *positions: int) -> SeriesList:
    """The product of all series whose names agree when the nodes at these positions are left out."""
    return aggregate_with_wildcards(call, series, "multiply", *positions)


@function("mapSeries", "map", group="Combine", params=(SERIES, Param("mapNodes", NODE_OR_TAG, multiple=True)))
def map_series(call: Invocation, series: SeriesList, *nodes: Scalar) -> SeriesList:
    """The series with those that agree in these nodes or tags side by side, for reduceSeries."""
    groups = in_groups(node_names(series, nodes, call.context.limits))
    return series.pick(np.fromiter(chain.from_iterable(groups.values()), np.intp, len(series)))


@function(
    "reduceSeries",
    "reduce",
    group="Combine",
    params=(
        Param("seriesLists", LISTS_OF_SERIES),
        Param("reduceFunction", STRING),
        Param("reduceNode", NODE),
        Param("reduceMatchers", STRING, multiple=True),
    ),
)
def reduce_series(call: Invocation, series: SeriesList, callback: str, node: int, *matchers: Scalar) -> SeriesList:
    """One series for all that agree in the nodes before ``reduceNode``: what the function makes of them.

    Its arguments are, in this order, those series whose node ``reduceNode`` is one of the matchers; the last of several
    that have the same counts.
    """
    groups: dict[str, dict[int, int]] = {}
    order = {matcher: at for at, matcher in reversed(list(enumerate(matchers)))}
    for place, name in enumerate(series.names):
        nodes = str(name).split(".")
        try:
            matcher = nodes[node]
        except IndexError as error:
            raise QueryError(f"reduceSeries: {name} has no node {node}") from error
        if matcher in order:
            key = f"{'.'.join(nodes[:node])}.reduce.{callback}"
            groups.setdefault(key, {})[order[matcher]] = place
    return _reduced(call, series, callback, groups, len(matchers))


def _reduced(
    call: Invocation, series: SeriesList, callback: str, groups: dict[str, dict[int, int]], arguments: int
) -> SeriesList:
    """``groups``: by name, for each argument that there is a series for its place."""
    lookup(callback)
    full = all(len(each) == arguments for each in groups.values())
    rows = {key: [each[at] for at in sorted(each)] for key, each in groups.items()}
    if full and callback in PLAIN:
        return called(call, series, callback, rows)
    if full and groups and arguments == 2 and callback in ("divideSeries", "asPercent", "pct"):
        pairs = np.array(list(rows.values()), np.intp).T
        made = quotients(
            call, series, pairs[0], pairs[1], "divideSeries" if callback == "divideSeries" else "asPercent"
        )
        return made.shown(list(groups))
    out = []
    for key, each in groups.items():
        args = [series.pick(np.array([each[at]] if at in each else [], np.intp)) for at in range(arguments)]
        result = _call(call, callback, *args)
        out.append(result.shown([key] * len(result)))
    return concatenate(out)


@function(
    "applyByNode",
    group="Combine",
    params=(SERIES, Param("nodeNum", NODE), Param("templateFunction", STRING), optional("newName", STRING)),
)
def apply_by_node(call: Invocation, series: SeriesList, node: int, template: str, new_name: str | None) -> SeriesList:
    """What the target ``templateFunction`` gives for each beginning of the names, up to ``nodeNum``, in place of ``%``.

    The beginnings are sorted; ``%`` is replaced in ``newName`` as well. Start and end become those of the last series.
    """
    if not isinstance(template, str):
        raise QueryError("applyByNode: the template must be a string")
    if not series:
        return series
    last = next(grid for grid in series.grids if grid.places[-1] == len(series) - 1)
    out = []
    for prefix in sorted({".".join(str(name).split(".")[: node + 1]) for name in series.names}):
        made = call.context.evaluate_text(template.replace("%", prefix))
        if new_name:
            made.shown([str(new_name).replace("%", prefix)] * len(made))
        for grid in made.grids:
            grid.labels.path_expressions = Same(prefix, len(grid.labels))
            grid.start, grid.end = last.start, last.end
        out.append(made)
    return concatenate(out)

"""Every function of the query language beside graphite-web's own implementation, on the same arrays.

    python -m bench.functions --graphite-python /opt/graphite/bin/python

Without ``--graphite-python``, an interpreter that can import graphite-web 1.1.10, only this side is measured. CPU time
of one evaluation of a target over 1,000 series of 360 points each, a tenth of them missing, the least of several on
both sides; what it takes to read them, and to free what was read, is taken out. Exit status 1 if a function is slower
here than there.

    python -m bench.functions --series 10000 --most 100

measures this side over 10,000 series, and ends with exit status 1 if a function takes more than 100 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from bench.figures import shown
from ingestd.points import Ids, Rows, Window
from ingestd.query.context import Context, Costs, Source
from ingestd.query.evaluate import NO_FACTOR, evaluate
from ingestd.query.functions import FUNCTIONS
from ingestd.query.grid import SeriesList
from ingestd.query.limits import LimitError, QueryLimits
from ingestd.query.parse import Call, parse

STEP: Final = 10
NOW: Final = 1_800_000_000
ALL: Final = "bench.*.*.value"
FEW: Final = "bench.1.1?.value"
"""Ten of the series, for functions that look back a week or draw a line for each pair."""

TARGETS: Final = {
    "aggregate": f'aggregate({ALL},"sum")',
    "aggregateLine": f'aggregateLine({ALL},"max")',
    "aggregateSeriesLists": f'aggregateSeriesLists({ALL},{ALL},"sum")',
    "aggregateWithWildcards": f'aggregateWithWildcards({ALL},"sum",2)',
    "alias": f'alias({ALL},"x")',
    "aliasByMetric": f"aliasByMetric({ALL})",
    "aliasByNode": f"aliasByNode({ALL},1,2)",
    "aliasByTags": f'aliasByTags({ALL},"name")',
    "aliasQuery": f'aliasQuery({FEW},"bench.(\\d+).(\\d+).value","bench.1.\\2.value","%d")',
    "aliasSub": f'aliasSub({ALL},"(^.*$)","\\1 A")',
    "alpha": f"alpha({ALL},0.5)",
    "applyByNode": f'applyByNode({FEW},2,"sumSeries(bench.1.%.value)")',
    "areaBetween": "areaBetween(bench.1.1[0-1].value)",
    "asPercent": f"asPercent({ALL})",
    "averageAbove": f"averageAbove({ALL},50)",
    "averageBelow": f"averageBelow({ALL},50)",
    "averageOutsidePercentile": f"averageOutsidePercentile({ALL},95)",
    "averageSeriesWithWildcards": f"averageSeriesWithWildcards({ALL},2)",
    "color": f'color({ALL},"red")',
    "consolidateBy": f'consolidateBy({ALL},"sum")',
    "constantLine": "constantLine(5)",
    "currentAbove": f"currentAbove({ALL},50)",
    "currentBelow": f"currentBelow({ALL},50)",
    "dashed": f"dashed({ALL})",
    "delay": f"delay({ALL},3)",
    "diffSeriesLists": f"diffSeriesLists({ALL},{ALL})",
    "divideSeries": f"divideSeries({ALL},bench.1.10.value)",
    "divideSeriesLists": f"divideSeriesLists({ALL},{ALL})",
    "exclude": f'exclude({ALL},"1")',
    "exponentialMovingAverage": f"exponentialMovingAverage({ALL},10)",
    "fallbackSeries": f"fallbackSeries({ALL},constantLine(5))",
    "filterSeries": f'filterSeries({ALL},"max",">",50)',
    "grep": f'grep({ALL},"1")',
    "groupByNode": f'groupByNode({ALL},1,"sum")',
    "groupByNodes": f'groupByNodes({ALL},"sum",1,3)',
    "groupByTags": f'groupByTags({ALL},"sum","name")',
    "highest": f"highest({ALL},10)",
    "highestAverage": f"highestAverage({ALL},10)",
    "highestCurrent": f"highestCurrent({ALL},10)",
    "highestMax": f"highestMax({ALL},10)",
    "hitcount": f'hitcount({ALL},"5min")',
    "holtWintersAberration": f"holtWintersAberration({FEW})",
    "holtWintersConfidenceArea": "holtWintersConfidenceArea(bench.1.10.value)",
    "holtWintersConfidenceBands": f"holtWintersConfidenceBands({FEW})",
    "holtWintersForecast": f"holtWintersForecast({FEW})",
    "identity": 'identity("x")',
    "integralByInterval": f'integralByInterval({ALL},"10min")',
    "legendValue": f'legendValue({ALL},"avg")',
    "limit": f"limit({ALL},10)",
    "lineWidth": f"lineWidth({ALL},2)",
    "lowest": f"lowest({ALL},10)",
    "lowestAverage": f"lowestAverage({ALL},10)",
    "lowestCurrent": f"lowestCurrent({ALL},10)",
    "map": None,
    "mapSeries": None,
    "maximumAbove": f"maximumAbove({ALL},50)",
    "maximumBelow": f"maximumBelow({ALL},50)",
    "minimumAbove": f"minimumAbove({ALL},50)",
    "minimumBelow": f"minimumBelow({ALL},50)",
    "mostDeviant": f"mostDeviant({ALL},10)",
    "movingAverage": f"movingAverage({ALL},10)",
    "movingMax": f"movingMax({ALL},10)",
    "movingMedian": f"movingMedian({ALL},10)",
    "movingMin": f"movingMin({ALL},10)",
    "movingSum": f"movingSum({ALL},10)",
    "movingWindow": f'movingWindow({ALL},10,"stddev")',
    "multiplySeriesLists": f"multiplySeriesLists({ALL},{ALL})",
    "multiplySeriesWithWildcards": f"multiplySeriesWithWildcards({ALL},2)",
    "nPercentile": f"nPercentile({ALL},95)",
    "offset": f"offset({ALL},5)",
    "add": f"add({ALL},5)",
    "pct": f"pct({ALL})",
    "percentileOfSeries": f"percentileOfSeries({ALL},95)",
    "pow": f"pow({ALL},2)",
    "randomWalk": 'randomWalk("x")',
    "randomWalkFunction": 'randomWalkFunction("x")',
    "reduce": f'reduce(map({ALL},1),"sumSeries",2,"10","11")',
    "reduceSeries": f'reduceSeries(mapSeries({ALL},1),"divideSeries",2,"10","11")',
    "removeAbovePercentile": f"removeAbovePercentile({ALL},95)",
    "removeAboveValue": f"removeAboveValue({ALL},50)",
    "removeBelowPercentile": f"removeBelowPercentile({ALL},5)",
    "removeBelowValue": f"removeBelowValue({ALL},50)",
    "removeBetweenPercentile": f"removeBetweenPercentile({ALL},30)",
    "round": f"round({ALL},1)",
    "scale": f"scale({ALL},3)",
    "scaleToSeconds": f"scaleToSeconds({ALL},60)",
    "setXFilesFactor": f"setXFilesFactor({ALL},0.5)",
    "xFilesFactor": f"xFilesFactor({ALL},0.5)",
    "sin": 'sin("x")',
    "sinFunction": 'sinFunction("x")',
    "smartSummarize": f'smartSummarize({ALL},"5min")',
    "sortBy": f"sortBy({ALL})",
    "stdev": f"stdev({ALL},10)",
    "substr": f"substr({ALL},1,3)",
    "sumSeriesLists": f"sumSeriesLists({ALL},{ALL})",
    "sumSeriesWithWildcards": f"sumSeriesWithWildcards({ALL},2)",
    "summarize": f'summarize({ALL},"5min")',
    "threshold": "threshold(5)",
    "time": 'time("x")',
    "timeFunction": 'timeFunction("x")',
    "timeShift": f'timeShift({ALL},"1h")',
    "timeSlice": None,
    "timeStack": f'timeStack({FEW},"1h",0,3)',
    "useSeriesAbove": f'useSeriesAbove({FEW},99,"1.1","1.1")',
    "verticalLine": None,
    "weightedAverage": f"weightedAverage({ALL},{ALL},2)",
    "events": None,
    "seriesByTag": None,
    "linearRegression": f"linearRegression({ALL})",
}
"""Where it is not ``name(ALL)``. None: measured by nobody, because graphite-web looks at the real clock or a database,
or takes and gives what is no list of series."""


class Arrays:
    """A reader of one array: series ``bench.N.M.value`` that repeat their points for ever."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.paths = paths(len(values))

    def find(self, pattern: str) -> list[tuple[str, int]]:
        return [(self.paths[row], row) for row in rows_of(pattern, len(self.paths))]

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        raise NotImplementedError("the series have no tags")

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        first, last = start - start % STEP + STEP, until - until % STEP + STEP
        columns = np.arange(first // STEP, last // STEP) % self.values.shape[1]
        # A row's values beside each other, as the store gives them.
        values = np.ascontiguousarray(self.values[ids][:, columns])
        return [Rows(Window(first, last, STEP), np.arange(len(ids)), values)]


class Reading:
    """Stands in for :meth:`Context.fetch`, which makes labels of what was read, and counts the time of all of it."""

    def __init__(self) -> None:
        self.spent = 0
        self._fetch = Context.fetch

    def __enter__(self) -> Reading:
        def fetch(context: Context, pattern: str, tagged: Sequence[str] | None = None) -> SeriesList:
            since = time.thread_time_ns()
            found = self._fetch(context, pattern, tagged)
            self.spent += time.thread_time_ns() - since
            return found

        Context.fetch = fetch  # type: ignore[assignment, method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Context.fetch = self._fetch  # type: ignore[method-assign]


def paths(series: int) -> list[str]:
    """Names in ascending order."""
    return sorted(f"bench.{number // 100 + 1}.{number % 100 + 10:02d}.value" for number in range(series))


def rows_of(pattern: str, series: int) -> list[int]:
    """The rows that one of the few patterns of :data:`TARGETS` means."""
    if pattern == ALL:
        return list(range(series))
    node = pattern.split(".")[2]
    last = {"1?": 20, "1[0-1]": 12}.get(node, int(node) + 1 if node.isdigit() else 10)
    first = int(node) if node.isdigit() else 10
    return [
        row for row, path in enumerate(paths(series)) if path.startswith("bench.1.") and first <= _node(path) < last
    ]


def _node(path: str) -> int:
    return int(path.split(".")[2])


def target_of(name: str) -> str | None:
    """What is evaluated for a function."""
    return TARGETS.get(name, f"{name}({ALL})")


def patterns(target: str) -> set[str]:
    """The path expressions of a target."""
    found: set[str] = set()
    todo = [parse(target, QueryLimits())]
    while todo:
        node = todo.pop()
        if isinstance(node, Call):
            todo += [*node.args, *(value for _, value in node.kwargs)]
        elif hasattr(node, "text"):
            found.add(node.text)
    return found


def measure(reader: Arrays, target: str, points: int, runs: int) -> float:
    """CPU milliseconds of an evaluation without its reading, the least of ``runs``."""
    limits = QueryLimits(points=10**9)
    taken = []
    for _ in range(runs):
        with Reading() as reading, np.errstate(all="ignore"):
            since = time.thread_time_ns()
            source = Source(reader, NOW, Costs(limits))
            context = Context(source, NOW - points * STEP, NOW, ZoneInfo("UTC"), NO_FACTOR, evaluate)
            evaluate(context, parse(target, limits))
            taken.append((time.thread_time_ns() - since - reading.spent) / 1e6)
            # What was read is freed with these, and that is no part of the evaluation.
            del source, context
    return min(taken)


def theirs(python: str, targets: dict[str, str], values: np.ndarray) -> dict[str, float | str]:
    """Milliseconds of graphite-web for each name, or why there is no figure."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "values"
        data.write_bytes(values.astype("<f8").tobytes())
        question = {
            "directory": directory,
            "values": str(data),
            "series": len(values),
            "points": values.shape[1],
            "now": NOW,
            "step": STEP,
            "targets": targets,
            "rows": {
                pattern: rows_of(pattern, len(values)) for target in targets.values() for pattern in patterns(target)
            },
            "paths": paths(len(values)),
        }
        done = subprocess.run(
            [python, str(Path(__file__).with_name("graphite_functions.py"))],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{python} cannot measure graphite-web: {done.stderr[-2000:]}")
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.functions", description=__doc__.split("\n")[0])
    parser.add_argument("--graphite-python", help="an interpreter that can import graphite-web")
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--points", type=int, default=360)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--most", type=float, help="milliseconds that no function may exceed")
    parser.add_argument("--only", action="append", help="this function alone; repeatable")
    parser.add_argument("--json", type=Path, help="write all figures there")
    chosen = parser.parse_args(arguments)
    source = random.Random(1)
    values = np.array([source.uniform(0, 100) for _ in range(chosen.series * chosen.points)])
    values[[source.randrange(len(values)) for _ in range(len(values) // 10)]] = np.nan
    values = values.reshape(chosen.series, chosen.points)
    names = sorted(
        name for name, each in FUNCTIONS.items() if not each.extension and (not chosen.only or name in chosen.only)
    )
    targets = {name: target for name in names if (target := target_of(name))}
    reader = Arrays(values)
    ours: dict[str, float | str] = {}
    for name, target in targets.items():
        try:
            ours[name] = measure(reader, target, chosen.points, chosen.runs)
        except LimitError as error:
            ours[name] = str(error)
    other = theirs(chosen.graphite_python, targets, values) if chosen.graphite_python else {}
    ratios = _print(targets, ours, other)
    if chosen.json:
        rows = {name: {"target": targets[name], "ms": ours[name], "graphite_ms": other.get(name)} for name in targets}
        chosen.json.write_text(json.dumps(rows, indent=1))
    times = {name: each for name, each in ours.items() if isinstance(each, float)}
    longest = sorted(times, key=lambda name: -times[name])[:10]
    print(f"the longest: {', '.join(f'{name} {shown(times[name])} ms' for name in longest)}")
    beyond = chosen.most is not None and any(each > chosen.most for each in times.values())
    return int(beyond or any(ratio < 1 for ratio in ratios))


def _print(targets: dict[str, str], ours: dict[str, float | str], other: dict[str, float | str]) -> list[float]:
    ratios = {}
    for name in targets:
        mine, yours = ours[name], other.get(name, "")
        ratio = ""
        if isinstance(mine, float) and isinstance(yours, float):
            ratios[name] = yours / max(mine, 1e-3)
            ratio = shown(ratios[name])
        texts = [shown(each) if isinstance(each, float) else str(each) for each in (mine, yours)]
        print(f"{name:32} {texts[0]:>12} ms {texts[1]:>12} ms {ratio:>10}")
    if ratios:
        median = shown(statistics.median(ratios.values()))
        least = sorted(ratios, key=lambda name: ratios[name])[:10]
        print(f"{len(ratios)} functions: median {median} times as fast as graphite-web")
        print(f"the least: {', '.join(f'{name} {shown(ratios[name])}' for name in least)}")
    return list(ratios.values())


if __name__ == "__main__":
    sys.exit(main())

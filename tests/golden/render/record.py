"""Records cases.json from a graphite-web 1.1.10: python record.py URL NOW

The data set behind URL has the series named in CASES and targets.txt, with points in 10 s, 1 min and 10 min archives
before NOW. Each case is answered by graphite-web; what the evaluator fetches on its way is fetched from graphite-web
too and recorded, so that the test needs neither. targets.txt has two targets or so for every function, each recorded
over BRIEF. Random functions and those that read a week of points are not among them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import numpy as np

from ingestd.points import Ids, Rows, Window
from ingestd.query.evaluate import Request, run

USER, GAPS, RX = "collectd.*.cpu-0.cpu-user", "test.gaps.blocks", "collectd.*.interface-eth0.if_octets.rx"
WEB = "collectd.web01.cpu-0.cpu-user"
BRIEF, SHORT, HOUR, DAY = (-150, -3), (-300, -3), (-3600, 0), (-86417, -80000)
CASES: list[tuple[str, tuple[int, int], int | None]] = [
    (USER, SHORT, None),
    ("test.odd.*", SHORT, None),
    (f"sumSeries({USER})", SHORT, None),
    (f"sum({USER},{WEB})", SHORT, None),
    (f"sumSeries({WEB},test.odd.a)", SHORT, None),
    ("averageSeries(test.gaps.*)", SHORT, None),
    (f"avg({WEB},collectd.web01.df-root.df_complex-used)", HOUR, 40),
    ("maxSeries(test.sign.*)", SHORT, None),
    ("minSeries(test.gaps.random,test.gaps.blocks)", SHORT, None),
    ("sumSeries()", SHORT, None),
    ("sumSeries(does.not.exist)", SHORT, None),
    (f"sumSeries(alias(scale({USER},2),'x'))", SHORT, None),
    (f"scale({GAPS},-0.001)", SHORT, None),
    (f"scale({WEB},1e10)", SHORT, None),
    (f"scale({WEB},factor='2')", SHORT, None),
    (f"alias({WEB},'Umlaut \u00fc')", SHORT, None),
    (f"alias({WEB},5)", SHORT, None),
    (f"aliasByNode({USER},1,-1)", SHORT, None),
    (f"aliasByNode(scale({USER},2),1,'name',9,'1')", SHORT, None),
    (f"aliasByNode(sumSeries({USER}),0,2)", SHORT, None),
    (f"aliasByNode({WEB})", SHORT, None),
    (f"aliasByNode(alias({WEB},'foo.bar(x)'),0,1)", SHORT, None),
    (f"aliasByNode(movingAverage(scale({WEB},2),'1min'),1)", SHORT, None),
    ("aliasByNode(constantLine(3),0)", SHORT, None),
    (f'aliasSub({USER}, "(^.*$)", "\\1 A")', SHORT, None),
    (f'aliasSub({WEB}, "(?P<host>w\\w+)\\.", "<\\g<host>\\\\1>")', SHORT, None),
    (f'aliasSub({WEB}, ".*", "z")', SHORT, None),
    (f"derivative({GAPS})", SHORT, None),
    ("derivative(test.ramp.*)", SHORT, None),
    (f"perSecond({RX})", SHORT, None),
    ("perSecond(test.counter.wrap16,65535)", SHORT, None),
    ("perSecond(test.counter.gappy)", HOUR, 100),
    (f"movingAverage({WEB},10)", SHORT, None),
    (f"movingAverage({GAPS},7,0.6)", SHORT, None),
    ("movingAverage(test.odd.*,'1min')", SHORT, None),
    (f"movingAverage({WEB},0)", SHORT, None),
    (f"movingAverage({WEB},'3s')", SHORT, None),
    ("movingAverage(does.not.exist,10)", SHORT, None),
    (f"summarize({WEB},'1min')", SHORT, None),
    (f"summarize({GAPS},'70s','max')", SHORT, None),
    (f"summarize({GAPS},'2min','last',true)", SHORT, None),
    (f"summarize({WEB},'90s','median')", SHORT, None),
    (f"summarize({WEB},'5s')", SHORT, None),
    ("summarize(test.odd.*,'1min','range')", SHORT, None),
    *(
        (f"summarize(test.gaps.random,'1min','{func}')", SHORT, None)
        for func in ("diff", "stddev", "multiply", "count")
    ),
    *((f"summarize(test.gaps.random,'50s','{func}')", SHORT, None) for func in ("avg_zero", "min", "avg", "total")),
    (f"keepLastValue({GAPS})", SHORT, None),
    (f"keepLastValue({GAPS},2)", SHORT, None),
    ("keepLastValue(test.gaps.random,limit=1)", SHORT, None),
    (f"timeShift({WEB},'1h')", SHORT, None),
    (f"timeShift({USER},'+1min')", (-600, -300), None),
    (f"timeShift(timeShift({WEB},'1h'),'-1h')", SHORT, None),
    (f"timeShift({WEB},'1d',false)", SHORT, None),
    ("constantLine(5)", SHORT, None),
    ("constantLine(1e5)", (-3600, 0), 2),
    (f"{USER}|scale(2)|aliasByNode(1)", SHORT, None),
    *(("test.gaps.blocks", (-1800, 0), points) for points in (1, 2, 7, 59, 179, 180)),
    ("test.week.requests", (-864000, -800000), 30),
    (WEB, DAY, 21),
    (f"scale( {WEB} , .5 )", SHORT, None),
    (f"scale({WEB},2)extra", SHORT, None),
    ("collectd.{web{01,02},db01}.cpu-0.cpu-user", SHORT, None),
    *((target, BRIEF, None) for target in Path(__file__).with_name("targets.txt").read_text("utf-8").splitlines()),
]


class Recorder:
    """A Reader over graphite-web's HTTP that keeps what it was asked."""

    def __init__(self, url: str, now: int) -> None:
        self.url, self.now = url, now
        self.paths: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.fetched: dict[str, Any] = {}

    def ask(self, target: str, start: int, until: int, points: int | None) -> list[dict[str, Any]]:
        query = {"target": target, "from": start, "until": until, "now": self.now, "format": "json"}
        with urlopen(f"{self.url}/render?{urlencode(query | ({'maxDataPoints': points} if points else {}))}") as answer:
            series: list[dict[str, Any]] = json.load(answer)
        return series

    def find(self, pattern: str) -> list[tuple[str, int]]:
        if pattern not in self.found:
            answer = self.ask(pattern, self.now - 2 * 864000, self.now, None)
            self.found[pattern] = [series["target"] for series in answer]
            self.paths += [path for path in self.found[pattern] if path not in self.paths]
        return [(path, self.paths.index(path)) for path in self.found[pattern]]

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        out = []
        for position, number in enumerate(ids.tolist()):
            key = f"{self.paths[number]} {start - self.now} {until - self.now}"
            if key not in self.fetched:
                answer = self.ask(self.paths[number], start, until, None)
                points = answer[0]["datapoints"]
                self.fetched[key] = [points[0][1], points[1][1] - points[0][1], [value for value, _ in points]]
            first, step, values = self.fetched[key]
            window = Window(first, first + step * len(values), step)
            out.append(Rows(window, np.array([position]), np.array([values], np.float64)))
        return out


def main(url: str, now: int) -> None:
    recorder = Recorder(url, now)
    cases = []
    for target, (start, until), points in CASES:
        run(Request((target,), now + start, now + until, now, ZoneInfo("UTC")), recorder)
        expected = recorder.ask(target, now + start, now + until, points)
        cases.append({"target": target, "window": [start, until], "points": points, "expected": expected})
    data = {"now": now, "paths": recorder.paths, "found": recorder.found, "fetched": recorder.fetched, "cases": cases}
    text = json.dumps(data, separators=(",", ":")).replace('{"target"', '\n{"target"')
    Path(__file__).with_name("cases.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

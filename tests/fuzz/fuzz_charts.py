"""Pictures: options that clients write, over numbers of all kinds."""

from __future__ import annotations

import math
from collections.abc import Hashable
from datetime import UTC
from typing import Final
from urllib.parse import parse_qsl
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import numpy as np
from fuzz_answers import NUMBERS, Answers
from fuzz_mutate import Mutator
from fuzz_target import Target, dice

from ingestd.query.grid import Option, Series
from ingestd.serve.chart.options import ChartError, ChartLimits, parse_options
from ingestd.serve.chart.render import render_chart

LIMITS: Final = ChartLimits(pixels=100_000, series=4)
OPTIONS: Final = tuple(
    b"width height margin bgcolor fgcolor fontName fontSize fontBold colorList template title vtitle vtitleRight "
    b"lineMode lineWidth thickness areaMode areaAlpha connectedLimit drawNullAsZero hideLegend uniqueLegend "
    b"hideNullFromLegend hideAxes hideYAxis hideGrid graphOnly yAxisSide yMin yMax yLimit yStep yMinLeft yMaxRight "
    b"yStepLeft max yUnitSystem logBase minorY yDivisors xFormat minXStep leftColor rightWidth leftDashed graphType "
    b"pieMode pieLabels valueLabels valueLabelsMin".split(b" ")
)
VALUES: Final = (
    b"1", b"0", b"-1", b"0.5", b"1e300", b"1e-300", b"nan", b"300", b"20", b"max", b"true", b"false", b"staircase",
    b"connected", b"stacked", b"all", b"first", b"binary", b"msec", b"sec", b"none", b"e", b"2", b"10", b"red",
    b"ff000080", b"%25H:%25M", b"%25", b"%23", b"pie", b"maximum", b"rotated", b"number", b"right", b"4,5,6", b"1,1,1",
    b"%00", b"%ff", b"%E2%80%AE", b"<b>", b"classic", b"serif", b"a%0Ab", b"x" * 200,
)  # fmt: skip
TIMES: Final = (0, 1_795_389_000, 2**31, 253_402_300_000, -1)
STEPS: Final = (1, 10, 3600, 86_400, 10**8)
ZONES: Final = (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu"))


class Charts(Target):
    """:func:`render_chart`: a document that is well-formed and has no element of its own, or :class:`ChartError`."""

    name = "charts"
    share = 0.1  # a picture takes milliseconds
    allowed = 0.5
    largest = 700
    tokens = (*OPTIONS, *VALUES, b"&", b"=", *Answers.tokens)

    def seeds(self) -> list[bytes]:
        numbers = np.array(NUMBERS[:12]).tobytes()
        queries = (
            b"",
            b"width=300&height=150&title=a&areaMode=stacked",
            b"logBase=10&yMin=1",
            b"graphType=pie&pieMode=maximum",
        )
        return [query + b"\n" + numbers for query in queries]

    def begin(self) -> None:
        # What it loads for a PNG takes a second, once.
        render_chart([], parse_options({}, LIMITS), UTC, "png", LIMITS)

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.3):
            return mutator.changed(seed, self.largest)
        fields = [mutator.pick(OPTIONS) + b"=" + mutator.pick(VALUES) for _ in range(mutator.below(6))]
        numbers = [
            mutator.pick(Answers.tokens) if mutator.chance(0.7) else mutator.bytes(8) for _ in range(mutator.below(40))
        ]
        return b"&".join(fields) + b"\n" + b"".join(numbers)

    def run(self, data: bytes) -> Hashable:
        query, _, rest = data.partition(b"\n")
        params = dict(parse_qsl(query.decode("utf-8", "replace"), errors="replace"))
        roll = dice(data)
        values = np.frombuffer(rest[: len(rest) // 8 * 8], "<f8").astype(np.float64)
        series = (
            [self._series(part, at, roll) for at, part in enumerate(np.array_split(values, roll % 5))]
            if roll % 5
            else []
        )
        try:
            options = parse_options(params, LIMITS)
            document = render_chart(series, options, ZONES[roll % 3], "svg", LIMITS)
        except ChartError as error:
            return str(error)[:20]
        root = ElementTree.fromstring(document)
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert names <= {"svg", "title", "rect", "g", "path", "text"}, names
        for element in root.iter():
            assert all(math.isfinite(float(element.get(key, "0"))) for key in ("x", "y", "width", "height"))
            assert not {"n", "i"} & set(element.get("d", ""))
        if roll & 2**20 and roll & 2**21 and roll & 2**22:
            assert render_chart(series, options, UTC, "png", LIMITS).startswith(b"\x89PNG")
        return (len(series), options.graph_type, options.line_mode, options.area_mode, len(document) // 4000)

    @staticmethod
    def _series(values: np.ndarray, at: int, roll: int) -> Series:
        step, start = STEPS[(roll >> 3 + at) % len(STEPS)], TIMES[(roll >> 8) % len(TIMES)]
        number = float(values[0]) if len(values) else 1.0
        drawn: dict[str, Option] = {}
        for bit, option, value in (
            (9, "secondYAxis", True), (10, "stacked", True), (11, "invisible", True), (12, "drawAsInfinite", True),
            (13, "dashed", number), (14, "lineWidth", number), (15, "alpha", number),
        ):  # fmt: skip
            if roll >> bit + at & 1:
                drawn[option] = value
        name = bytes(values.tobytes()[:6]).decode("utf-8", "replace")
        return Series(name, name, {}, start, start + step * len(values), step, values, options=drawn)

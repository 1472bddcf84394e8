"""Pictures: what is in them by their shapes, their SVG and a few of their pixels, and how /render answers with them."""

import io
import json
import math
from dataclasses import replace
from datetime import UTC
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ingestd.query.grid import Series
from ingestd.serve.chart.options import ChartError, ChartLimits, parse_options
from ingestd.serve.chart.render import picture_of, render_chart
from ingestd.serve.chart.shapes import Fill, Group, Lines, Text
from ingestd.serve.deps import Limits
from ingestd.serve.http import make_app

START = 1_795_388_400
"""A full hour."""
LIMITS = ChartLimits()
SVG = "{http://www.w3.org/2000/svg}"


def series(name, values, step=60, start=START, **options):
    values = np.array(values, np.float64)
    return Series(name, name, {"name": name}, start, start + step * len(values), step, values, options=options)


def picture(*shown, tz=UTC, **params):
    return picture_of(shown, parse_options(params, LIMITS), tz, LIMITS)


def groups(shapes, kind):
    """All groups of this kind, at any depth."""
    found = []
    for shape in shapes:
        if isinstance(shape, Group):
            found += [shape] if shape.kind == kind else []
            found += groups(shape.shapes, kind)
    return found


def texts(shapes):
    found = []
    for shape in shapes:
        if isinstance(shape, Group):
            found += texts(shape.shapes)
        elif isinstance(shape, Text):
            found.append(shape)
    return found


def words(shown, kind):
    return [text.text for group in groups(shown.shapes, kind) for text in texts(group.shapes)]


def drawn(shown, kind="line"):
    """The runs of each line, or the polygons of each area."""
    found = []
    for group in groups(shown.shapes, kind):
        for shape in group.shapes:
            found.append(shape.polygons if isinstance(shape, Fill) else shape.runs)
    return found


def png(*shown, tz=UTC, **params):
    data = render_chart(shown, parse_options(params, LIMITS), tz, "png", LIMITS)
    return Image.open(io.BytesIO(data))


def document(*shown, tz=UTC, **params):
    return ElementTree.fromstring(render_chart(shown, parse_options(params, LIMITS), tz, "svg", LIMITS))


RAMP = series("a.ramp", range(61))
FLAT = series("b.flat", [30] * 61)


# --- what is in a chart --------------------------------------------------------------------------------------------


def test_a_chart_has_titles_legend_axes_and_lines():
    shown = picture(RAMP, FLAT, width="600", height="300", title="Both", vtitle="per second")
    assert words(shown, "title") == ["Both"]
    assert words(shown, "vtitle") == ["per second"]
    assert words(shown, "legend") == ["a.ramp", "b.flat"]
    assert words(shown, "yLeft") == [str(number) for number in range(0, 70, 10)]
    assert words(shown, "x") == ["23:00", "23:10", "23:20", "23:30", "23:40", "23:50", "23 Nov"]
    (ramp,), (flat,) = drawn(shown)
    assert np.all(np.diff(ramp[:, 1]) <= 0)
    assert np.all(flat[:, 1] == flat[0, 1])
    # The ramp crosses the flat line in the middle.
    crossing = ramp[np.argmin(np.abs(ramp[:, 1] - flat[0, 1])), 0]
    assert crossing == pytest.approx((ramp[0, 0] + ramp[-1, 0]) / 2, abs=12)


def test_nothing_is_drawn_where_there_is_no_value():
    gaps = series("a", [1, 2, math.nan, math.nan, 3, math.nan, 4])
    assert [len(run) for run in drawn(picture(gaps))[0]] == [2, 2, 2]  # one alone is a dot, two points wide
    assert [len(run) for run in drawn(picture(gaps, lineMode="connected"))[0]] == [4]
    assert [len(run) for run in drawn(picture(gaps, lineMode="connected", connectedLimit="1"))[0]] == [2, 2]
    assert [len(run) for run in drawn(picture(gaps, drawNullAsZero="true"))[0]] == [7]
    assert [len(run) for run in drawn(picture(gaps, lineMode="staircase"))[0]] == [4, 2, 2]


def test_a_staircase_goes_on_to_the_end_of_its_last_step():
    (slope,), (stair,) = (drawn(picture(series("a", [1, 2]), lineMode=mode))[0] for mode in ("slope", "staircase"))
    assert stair[0, 0] == slope[0, 0]
    assert stair[-1, 0] == slope[-1, 0]  # the plot ends with it
    assert stair[:, 1].tolist() == [stair[0, 1]] * 2 + [stair[-1, 1]] * 2


def test_one_point_is_a_step():
    (run,) = drawn(picture(series("a", [5])))[0]
    assert run[1, 0] - run[0, 0] > 200


def test_no_series_and_no_values_say_so():
    assert words(picture(title="t"), "nodata") == ["No Data"]
    assert words(picture(title="t"), "title") == ["t"]
    assert words(picture(series("a", [])), "nodata") == ["No Data"]
    empty = picture(series("a", [math.nan] * 3))
    assert words(empty, "nodata") == ["No Data"]
    assert words(empty, "legend") == ["a"]
    assert words(picture(RAMP, series("a", [math.nan] * 61), hideNullFromLegend="true"), "legend") == ["a.ramp"]


def test_areas_stand_on_zero_or_on_each_other():
    one, two = series("a", [1] * 11), series("b", [2] * 11)
    (plain,) = drawn(picture(one, two, areaMode="first", yMin="0", yMax="4"), "area")
    assert len(plain) == 1
    (first,), (second,) = drawn(picture(one, two, areaMode="stacked", yMin="0", yMax="4"), "area")
    bottom, top = first[:, 1].max(), first[:, 1].min()
    assert second[:, 1].max() == pytest.approx(top)
    assert second[:, 1].min() == pytest.approx(bottom - (bottom - top) * 3)
    overlapping = drawn(picture(one, two, areaMode="all", yMin="0", yMax="4"), "area")
    assert [polygon[:, 1].max() for (polygon,) in overlapping] == [pytest.approx(bottom)] * 2


def test_series_are_drawn_as_their_functions_say():
    shown = picture(
        series("a", [1, 2, 3], color="red", lineWidth=3, dashed=4),
        series("b", [4, 5, 6], alpha=0.5),
        series("c", [0, 1, 0], drawAsInfinite=True),
        series("d", [1, 1, 1], invisible=True),
    )
    lines = [group.shapes[0] for group in groups(shown.shapes, "line")]
    assert [type(line) for line in lines] == [Lines] * 3
    assert lines[0].color == (200 / 255, 0, 50 / 255, 1)
    assert (lines[0].width, lines[0].dash) == (3, 4)
    assert lines[1].color[3] == 0.5
    (mark,) = lines[2].runs
    assert mark[0, 0] == mark[1, 0]
    assert words(shown, "legend") == ["a", "b", "c"]


def test_an_area_between_two_series_begins_at_the_lower_one():
    low = series("x", [1, 1, 1], stacked=True, invisible=True)
    high = series("x", [3, 3, 3], stacked=True)
    shown = picture(low, high, yMin="0", yMax="4")
    ((area,),) = drawn(shown, "area")
    _, frame = area[:, 1].max(), area[:, 1].min()
    (grid,) = groups(shown.shapes, "grid")
    rows = sorted({run[0, 1] for lines in grid.shapes for run in lines.runs if run[0, 1] == run[1, 1]})
    height = rows[-1] - rows[0]
    assert area[:, 1].max() == pytest.approx(rows[-1] - height / 4, abs=1)
    assert frame == pytest.approx(rows[-1] - height * 3 / 4, abs=1)


def test_a_second_axis_has_its_own_scale():
    shown = picture(RAMP, series("b", range(0, 6100, 100), secondYAxis=True), vtitleRight="bytes", width="500")
    assert words(shown, "yLeft") == [str(number) for number in range(0, 70, 10)]
    assert words(shown, "yRight") == [f"{number} k" for number in range(7)]
    assert words(shown, "vtitleRight") == ["bytes"]
    assert words(shown, "legend") == ["a.ramp", "b (right)"]
    (left,), (right,) = drawn(shown)
    assert np.abs(left[:, 1] - right[:, 1]).max() < 3
    dashed = picture(
        RAMP, series("b", range(61), secondYAxis=True), rightDashed="true", leftColor="red", rightWidth="4"
    )
    lines = [group.shapes[0] for group in groups(dashed.shapes, "line")]
    assert lines[0].color[:3] == (200 / 255, 0, 50 / 255)
    assert (lines[1].dash, lines[1].width) == (5, 4)


@pytest.mark.parametrize(
    ("params", "gone"),
    [
        ({"hideLegend": "true"}, {"legend"}),
        ({"hideGrid": "true"}, {"grid"}),
        ({"hideAxes": "true"}, {"grid", "axis", "yLeft", "x"}),
        ({"hideYAxis": "1"}, {"yLeft"}),
        ({"hideXAxis": "1"}, {"x"}),
        ({"graphOnly": "true"}, {"grid", "axis", "yLeft", "x", "legend", "title"}),
    ],
)
def test_what_is_hidden_is_gone(params, gone):
    kinds = {"title", "legend", "grid", "axis", "yLeft", "x", "line"}
    shown = picture(RAMP, title="t", **params)
    assert {kind for kind in kinds if not groups(shown.shapes, kind)} == gone


def test_a_plot_alone_fills_the_picture():
    (run,) = drawn(picture(RAMP, graphOnly="true"))[0]
    assert run[:, 0].min() <= 1
    assert run[:, 0].max() >= 328


def test_a_long_legend_is_shown_on_request_only():
    many = [series(f"s{i}", [i, i]) for i in range(11)]
    assert not groups(picture(*many).shapes, "legend")
    assert words(picture(*many, hideLegend="false", height="500"), "legend") == [f"s{i}" for i in range(11)]
    assert words(picture(*many, hideLegend="false", height="90", width="200"), "legend")[-1].startswith("and ")
    assert words(picture(RAMP, RAMP, uniqueLegend="true"), "legend") == ["a.ramp"]


def test_a_value_axis_may_stand_at_the_right():
    shown = picture(RAMP, yAxisSide="right")
    (labels,) = groups(shown.shapes, "yRight")
    assert all(text.x > 290 for text in texts(labels.shapes))


def test_times_are_those_of_the_zone_and_the_format():
    assert words(picture(RAMP, width="600", tz=ZoneInfo("Asia/Kolkata")), "x")[:2] == ["04:30", "04:35"]
    assert words(picture(RAMP, width="600", xFormat="%Hh%M"), "x")[:2] == ["23h00", "23h05"]
    with pytest.raises(ChartError, match="the limit is 64"):
        picture(RAMP, xFormat="%H" * 40)


def test_a_logarithmic_axis_has_powers():
    shown = picture(series("a", [1, 10, 100, 1000]), logBase="10")
    assert words(shown, "yLeft") == ["1", "10", "100", "1 k"]
    (run,) = drawn(shown)[0]
    assert np.diff(run[:, 1]) == pytest.approx([run[1, 1] - run[0, 1]] * 3, abs=0.1)
    with pytest.raises(ChartError, match="logarithmic"):
        picture(series("a", [1, 2]), logBase="10", yMin="0")


def test_a_pie_shows_shares():
    shown = picture(series("a", [1, 3]), series("b", [6, math.nan]), series("c", [-1, -1]), graphType="pie")
    assert words(shown, "labels") == ["25.0 %", "75.0 %"]
    assert words(shown, "legend") == ["a", "b", "c"]
    assert words(picture(RAMP, graphType="pie", pieMode="maximum", valueLabels="number"), "labels") == ["60"]
    assert words(picture(series("a", [0]), graphType="pie"), "nodata") == ["No Data"]
    assert words(picture(RAMP, FLAT, graphType="pie", valueLabels="none"), "labels") == []


def test_too_many_series_are_refused():
    with pytest.raises(ChartError, match=r"2 series would be drawn; the limit is 1 \(http.chart_series\)"):
        picture_of([RAMP, FLAT], parse_options({}, LIMITS), UTC, ChartLimits(series=1))
    with pytest.raises(ChartError, match=r"400 series are drawn 2500 pixels wide at most \(http.chart_pixels\)"):
        picture(*[FLAT] * 400, width="2501")


# --- how it is written ---------------------------------------------------------------------------------------------


def test_a_png_has_its_size_and_the_colours_of_its_parts():
    image = png(series("a", [5] * 11, color="0000ff"), width="400", height="200", yMin="0", yMax="10", lineWidth="4")
    assert (image.size, image.mode) == ((400, 200), "RGB")
    assert image.getpixel((2, 2)) == (255, 255, 255)
    column = [image.getpixel((200, y)) for y in range(200)]
    assert column.count((0, 0, 255)) in (3, 4)
    dark = png(RAMP, bgcolor="black", fgcolor="white")
    assert dark.getpixel((2, 2)) == (0, 0, 0)
    clear = png(RAMP, bgcolor="ffffff00")
    assert (clear.mode, clear.getpixel((2, 2))[3]) == ("RGBA", 0)


def test_an_area_is_filled_down_to_zero():
    image = png(series("a", [5] * 11, color="00ff00"), yMin="0", yMax="10", areaMode="all", hideLegend="true")
    column = [image.getpixel((200, y)) for y in range(250)]
    assert column.count((0, 255, 0)) > 90


def test_an_svg_has_texts_and_titles_and_no_styles():
    root = document(RAMP, title="<b>&amp;", width="600", height="300")
    assert (root.get("width"), root.get("height")) == ("600", "300")
    shown = [element.text for element in root.iter(SVG + "text")]
    assert "<b>&amp;" in shown
    assert {"a.ramp", "20", "23:10"} <= set(shown)
    assert [each.find(SVG + "title").text for each in root.iter(SVG + "g") if each.get("class") == "line"] == ["a.ramp"]
    assert not any("style" in element.attrib for element in root.iter())


def test_a_pdf_is_one_and_always_the_same():
    first, again = (render_chart([RAMP], parse_options({}, LIMITS), UTC, "pdf", LIMITS) for _ in range(2))
    assert first.startswith(b"%PDF-")
    assert b"/MediaBox [ 0 0 330 250 ]" in first
    assert first == again


def test_texts_of_any_script_are_drawn(recwarn):
    names = ["größe", "数据", "\u202eabc", "a\x00b", "\U0001f600", ""]
    for kind in ("png", "svg", "pdf"):
        assert render_chart([series(name, [1, 2]) for name in names], parse_options({}, LIMITS), UTC, kind, LIMITS)
    assert not recwarn.list


FLOATS = st.floats() | st.sampled_from([math.nan, 0.0, 1e300, -1e300, 5e-324, 1e308, math.inf])
PARAMS = {
    "areaMode": ["none", "first", "all", "stacked"],
    "lineMode": ["slope", "staircase", "connected"],
    "logBase": ["10", "2", "e", "0"],
    "yUnitSystem": ["si", "binary", "sec", "msec", "none", "x"],
    "yStep": ["1", "1e-9", "1e9"],
    "yLimit": ["0", "1e6"],
    "drawNullAsZero": ["true"],
    "graphType": ["pie"],
    "pieLabels": ["rotated"],
    "minXStep": ["0", "1", "100"],
    "graphOnly": ["1"],
    "yAxisSide": ["right"],
    "width": ["1", "20", "900"],
    "height": ["1", "20", "400"],
    "title": ["t", "long " * 50],
    "fontSize": ["4", "40"],
}
OPTIONS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in PARAMS.items()})
DRAWN = st.fixed_dictionaries(
    {},
    optional={
        "secondYAxis": st.just(True),
        "stacked": st.just(True),
        "invisible": st.just(True),
        "drawAsInfinite": st.just(True),
        "dashed": FLOATS,
        "lineWidth": FLOATS,
        "alpha": FLOATS,
        "color": st.sampled_from(["red", "#123456", "12345678"]),
    },
)
SERIES = st.builds(
    lambda name, values, step, start, drawing: series(name, values, step, start, **drawing),
    st.text(max_size=5),
    st.lists(FLOATS, max_size=30),
    st.sampled_from([1, 60, 86_400, 10**9]),
    st.sampled_from([0, START, START + 7]),
    DRAWN,
)


def numbers(shapes):
    for shape in shapes:
        if isinstance(shape, Group):
            yield from numbers(shape.shapes)
        elif isinstance(shape, Text):
            yield np.array([shape.x, shape.y, shape.angle, *shape.color])
        elif isinstance(shape, Lines):
            yield from shape.runs
            yield np.array([shape.width, shape.dash, *shape.color])
        elif isinstance(shape, Fill):
            yield from shape.polygons
        else:
            yield np.array([shape.left, shape.top, shape.width, shape.height])


@settings(deadline=None, max_examples=150)
@given(st.lists(SERIES, max_size=4), OPTIONS)
@example([series("a", [1e308]), series("b", [1.7e308])], {"areaMode": "stacked"})
def test_whatever_the_data_say_there_is_a_picture_or_a_reason(shown, params):
    try:
        made = picture(*shown, **params)
    except ChartError:
        return
    for array in numbers(made.shapes):
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) < 1e6
    ElementTree.fromstring(render_chart(shown, parse_options(params, LIMITS), UTC, "svg", LIMITS))


@settings(deadline=None, max_examples=25)
@given(st.lists(SERIES, max_size=3), OPTIONS)
def test_every_picture_can_be_a_png(shown, params):
    try:
        options = parse_options(params, LIMITS)
        image = Image.open(io.BytesIO(render_chart(shown, options, UTC, "png", LIMITS)))
    except ChartError:
        return
    assert image.size == (options.width, options.height)


# --- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(fakes):
    async with TestClient(TestServer(make_app(fakes.deps(), Limits(chart_series=3)))) as client:
        yield client


async def test_no_format_is_a_png(client):
    for query in (
        "target=a",
        "target=a&format=png",
        "target=a&format=bogus",
        "",
        "target=a:3&graphType=pie&format=json",
    ):
        async with client.get("/render?width=200&height=100&" + query) as response:
            assert (response.status, response.headers["Content-Type"]) == (200, "image/png")
            assert Image.open(io.BytesIO(await response.read())).size == (200, 100)


async def test_svg_and_pdf(client):
    async with client.post("/render", data={"target": "a.b", "format": "svg", "title": "x+y"}) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "image/svg+xml")
        root = ElementTree.fromstring(await response.read())
        assert {"a.b", "x y"} <= {element.text for element in root.iter(SVG + "text")}
    async with client.get("/render?target=a.b&format=pdf") as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-pdf")
    async with client.get("/render?target=a.b&format=svg&jsonp=cb") as response:
        assert response.content_type == "text/javascript"
        body = await response.text()
        assert ElementTree.fromstring(json.loads(body.removeprefix("cb(").removesuffix(")"))).tag == SVG + "svg"
    async with client.get("/render?target=a.b&format=png&jsonp=cb") as response:
        assert response.content_type == "image/png"


async def test_a_pie_takes_names_with_values(client, fakes):
    async with client.get("/render?target=web+01:3.5&target=a.b&target=no:number&graphType=pie") as response:
        assert response.status == 200
    assert fakes.requests[0].targets == ('alias(constantLine(3.5),"web 01")', "a.b", "no:number")


async def test_what_cannot_be_drawn_says_why(client):
    async with client.get("/render?" + "target=a&" * 4) as response:
        text = "Invalid parameters (4 series would be drawn; the limit is 3 (http.chart_series))"
        assert (response.status, await response.text()) == (400, text)
    async with client.get("/render?target=bad&format=svg") as response:
        assert (response.status, await response.text()) == (
            400,
            'Invalid parameters (no such function); targets: "bad"',
        )


async def test_files_of_the_library_go_where_they_may_and_do_not_stay(fakes, tmp_path):
    app = make_app(replace(fakes.deps(), scratch=tmp_path))
    async with TestClient(TestServer(app)) as client, client.get("/render?target=a") as response:
        assert response.status == 200
    assert list(tmp_path.iterdir()) == []

"""Options of pictures: graphite-web's names, defaults and leniency; a reason where nothing can be drawn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.serve.chart.colors import NAMES, TEMPLATES, luminance, mixed, over, parse_color, readable_on
from ingestd.serve.chart.options import AxisOptions, ChartError, ChartLimits, ChartOptions, parse_options

LIMITS = ChartLimits(pixels=1_000_000, series=10)
WHITE = (1.0, 1.0, 1.0, 1.0)
NAMES_OF_OPTIONS = """
    width height margin bgcolor fgcolor fontName fontSize fontBold fontItalic colorList template title vtitle
    vtitleRight lineMode lineWidth thickness areaMode areaAlpha connectedLimit drawNullAsZero hideLegend uniqueLegend
    hideNullFromLegend hideAxes hideXAxis hideYAxis hideGrid graphOnly yAxisSide yMin yMax yLimit yStep yMinLeft
    yMaxRight yStepLeft min max yUnitSystem logBase minorY yDivisors xFormat minXStep leftColor rightWidth leftDashed
    graphType pieMode pieLabels valueLabels valueLabelsMin valueLabelsColor majorGridLineColor minorGridLineColor
""".split()  # noqa: SIM905


def parse(**params):
    return parse_options(params, LIMITS)


def test_defaults_are_graphite_webs():
    options = parse()
    assert (options.width, options.height, options.margin) == (330, 250, 10)
    assert (options.line_mode, options.line_width, options.area_mode) == ("slope", 1.2, "none")
    assert (options.font.family, options.font.size) == ("sans", 10)
    assert options.connected_limit == math.inf
    assert options.show_legend is None
    assert options.axis == AxisOptions()
    assert options.background == WHITE
    assert parse(**dict.fromkeys(NAMES_OF_OPTIONS, "")) == options
    assert parse(**dict.fromkeys(NAMES_OF_OPTIONS, "default")) == options


def test_numbers_flags_and_aliases():
    assert parse(width="400.7").width == 400
    assert parse(margin="-3").margin == 10
    assert parse(thickness="3").line_width == 3
    assert parse(thickness="3", lineWidth="2").line_width == 2
    assert parse(min="1", max="2").axis == AxisOptions(min=1, max=2)
    assert parse(min="1", yMin="3").axis.min == 3
    assert parse(yMax="max").axis.max == math.inf
    assert parse(yLimit="inf").axis.limit is None
    assert [parse(hideLegend=text).show_legend for text in ("true", "1", "false", "0")] == [False, False, True, True]
    assert parse(leftDashed="true").left_side.dash == 5
    assert parse(rightDashed="false").right_side.dash == 0
    assert parse(logBase="e").log_base == math.e
    assert parse(logBase="0.5").log_base is None
    assert parse(title="a%20b+c").title == "a b c"
    assert parse(template="nosuch").colors == parse().colors


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Sans", "sans"),
        ("Courier New", "mono"),
        ("Times", "serif"),
        ("sans-serif", "sans"),
        ("DejaVu Sans Mono", "mono"),
    ],
)
def test_fonts_are_of_a_family(name, family):
    assert parse(fontName=name).font.family == family


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"width": "abc"}, "width is no number from 1 to 20000"),
        ({"height": "0"}, "height is no number"),
        ({"width": "1001", "height": "1000"}, "1001000 pixels; the limit is 1000000 (http.chart_pixels)"),
        ({"lineMode": "wavy"}, "lineMode is none of slope, staircase, connected"),
        ({"areaMode": "some"}, "areaMode is none of"),
        ({"bgcolor": "no"}, "bgcolor: no colour: no"),
        ({"colorList": "red,no"}, "colorList: no colour: no"),
        ({"colorList": "red," * 1001}, "the limit is 1000"),
        ({"yMin": "nan"}, "yMin is no number"),
        ({"yStep": "0"}, "yStep is no number"),
        ({"yDivisors": "4,0"}, "yDivisors has a number"),
        ({"yDivisors": "x"}, "yDivisors is no list"),
        ({"logBase": "1.001"}, "logBase is no number"),
        ({"title": "x" * 1001}, "title has 1001 characters"),
        ({"xFormat": "%H" * 33}, "xFormat has 66 characters"),
        ({"areaAlpha": "2"}, "areaAlpha is no number from 0 to 1"),
        ({"pieMode": "sum"}, "pieMode is none of"),
    ],
)
def test_what_cannot_be_drawn_says_why(params, words):
    with pytest.raises(ChartError) as caught:
        parse(**params)
    assert words in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from(NAMES_OF_OPTIONS), st.text(max_size=12) | st.from_regex(r"-?[0-9.e]{1,8}"), max_size=6
    )
)
def test_any_texts_are_options_or_a_reason(params):
    try:
        options = parse(**params)
    except ChartError:
        return
    assert isinstance(options, ChartOptions)
    assert options.width * options.height <= LIMITS.pixels


def test_colours():
    assert parse_color("#ff0000") == parse_color("%23FF0000") == parse_color("ff0000") == (1, 0, 0, 1)
    assert parse_color("ff000080")[3] == 128 / 255
    assert parse_color("Gold") == (200 / 255, 200 / 255, 0, 1)
    assert all(parse_color(name) for name in NAMES)
    assert over((1, 0, 0, 0.5), WHITE) == (1, 0.5, 0.5, 1)
    assert mixed((0, 0, 0, 1), WHITE, 0.25) == (0.75, 0.75, 0.75, 1)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_templates_have_colours_that_can_be_read(name):
    options = parse(template=name)
    light, dark = sorted((luminance(options.foreground), luminance(options.background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4
    assert len(options.colors) >= 3


def seen(color, matrix):
    """The colour as somebody sees it who lacks a kind of cones (Machado 2009, severity 1), linear light."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    return [sum(factor * part for factor, part in zip(row, linear, strict=True)) for row in matrix]


DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
EVERYBODY = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@pytest.mark.parametrize("eyes", [EVERYBODY, DEUTERANOPIA, PROTANOPIA])
def test_the_first_colours_of_the_palette_are_told_apart_by_all_eyes(eyes):
    colors = [seen(color, eyes) for color in parse().colors[:6]]
    for at, one in enumerate(colors):
        for other in colors[at + 1 :]:
            assert math.dist([value ** (1 / 2.2) if value > 0 else 0 for value in one],
                             [value ** (1 / 2.2) if value > 0 else 0 for value in other]) > 0.12  # fmt: skip


def test_lines_and_labels_stand_out_from_white():
    for color in parse().colors:
        assert 1.05 / (luminance(color) + 0.05) > 1.8
    for color in parse().colors:
        text = readable_on(color)
        high, low = sorted((luminance(text), luminance(color)), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 4.5

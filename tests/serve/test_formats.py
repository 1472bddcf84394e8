import csv
import io
import json
import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.serve.formats import to_csv, to_dygraph, to_json, to_raw, to_rickshaw

START = 1_795_389_000


def series(values, name="a.b", step=10, ints=False, values_per_point=1, tags=None):
    values = np.array(values, np.float64)
    end = START + step * values_per_point * len(values)
    return Series(
        name, name, tags or {"name": name}, START, end, step, values, ints=ints, values_per_point=values_per_point
    )


floats = st.lists(st.floats(), max_size=9)


def expected(value):
    return None if math.isnan(value) else value


@given(st.lists(st.tuples(st.text(max_size=8), floats), max_size=3), st.booleans())
def test_json_holds_names_values_and_times(rows, pretty):
    answer = json.loads(to_json([series(values, name) for name, values in rows], pretty=pretty))
    assert answer == [
        {
            "target": name,
            "tags": {"name": name},
            "datapoints": [[expected(value), START + 10 * i] for i, value in enumerate(values)],
        }
        for name, values in rows
    ]


def test_json_writes_what_browsers_read():
    text = to_json([series([math.nan, math.inf, -math.inf, 1.5], 'NaN, Infinity,"')])
    assert json.loads(text)[0]["target"] == 'NaN, Infinity,"'
    assert f"[[null,{START}],[1e9999,{START + 10}],[-1e9999,{START + 20}],[1.5,{START + 30}]]" in text


def test_integers_stay_integers():
    assert "[[0,1795389000],[null,1795389010]]" in to_json([series([0, math.nan], ints=True)])
    assert "[[1e+300,1795389000]]" in to_json([series([1e300], ints=True)])
    assert to_raw([series([0, math.nan, 7], ints=True)]).endswith("|0,None,7\n")
    assert to_csv([series([3], ints=True)], UTC).endswith(",3\r\n")


def test_a_bucket_takes_the_time_of_its_points():
    answer = json.loads(to_json([series([1, 2], values_per_point=3)]))
    assert answer[0]["datapoints"] == [[1.0, START], [2.0, START + 30]]


def test_the_shorter_of_times_and_values_ends_the_datapoints():
    one = series([1, 2, 3])
    one.end = START + 9
    assert len(json.loads(to_json([one]))[0]["datapoints"]) == 1
    one.values = one.values[:0]
    assert json.loads(to_json([one]))[0]["datapoints"] == []


def test_no_null_points_drops_nulls_and_empty_series():
    answer = json.loads(to_json([series([math.nan, 2, math.nan]), series([math.nan])], no_null_points=True))
    assert [one["datapoints"] for one in answer] == [[[2.0, START + 10]]]


def test_a_name_may_be_a_number():
    one = series([1])
    one.name = 5
    assert json.loads(to_json([one]))[0]["target"] == 5
    assert to_csv([one], UTC).startswith("5,")
    assert to_raw([one]).startswith("5,")


@given(
    st.lists(st.tuples(st.from_regex("(?:[ab,\"' ;.é][ab,\"' \n;.é]*)?", fullmatch=True), floats), max_size=3),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
)
def test_csv_equals_pythons_writer(rows, zone):
    tz = ZoneInfo(zone)
    out = io.StringIO()
    writer = csv.writer(out)
    for name, values in rows:
        for i, value in enumerate(values):
            time = datetime.fromtimestamp(START + 10 * i, tz).strftime("%Y-%m-%d %H:%M:%S")
            writer.writerow((name, time, expected(value)))
    assert to_csv([series(values, name) for name, values in rows], tz) == out.getvalue()


def test_csv_follows_the_clocks_of_its_zone():
    one = series([1.0] * 200, step=3600 * 24)
    tz = ZoneInfo("Europe/Berlin")
    times = [line.split(",")[1] for line in to_csv([one], tz).splitlines()]
    assert times == [datetime.fromtimestamp(START + 86400 * i, tz).strftime("%Y-%m-%d %H:%M:%S") for i in range(200)]


def test_csv_gives_spreadsheets_no_formula():
    for name in ("=cmd|x!A1", "+1", "-1", "@x", "\tx", "\rx"):
        row = next(csv.reader(io.StringIO(to_csv([series([1], name)], UTC), newline="")))
        assert row[0] == "'" + name
    assert to_csv([series([1], "a=b")], UTC).startswith("a=b,")


@given(st.lists(floats, max_size=3))
def test_raw_is_repr(rows):
    text = to_raw([series(values, "x,y") for values in rows])
    assert text == "".join(
        f"x,y,{START},{START + 10 * len(values)},10|{','.join(repr(expected(v)) for v in values)}\n" for values in rows
    )


def test_a_name_stays_on_its_line_in_raw():
    assert to_raw([series([1], "a\r\nb|")]).count("\n") == 1


def test_no_series():
    assert (to_json([]), to_csv([], UTC), to_raw([])) == ("[]", "", "")


@given(st.lists(st.text(max_size=8), max_size=3), st.lists(st.floats(), max_size=9))
def test_dygraph_holds_a_row_for_each_time(names, values):
    answer = json.loads(to_dygraph([series(values, name) for name in names]))
    if not names:
        assert answer == {}
        return
    assert answer["labels"] == ["Time", *names]
    assert answer["data"] == [
        [1000 * (START + 10 * i), *[expected(value)] * len(names)] for i, value in enumerate(values)
    ]


def test_dygraph_has_no_rows_for_series_of_other_lengths():
    with pytest.raises(QueryError, match="number of points"):
        to_dygraph([series([1, 2]), series([1])])


@given(st.lists(st.tuples(st.text(max_size=8), floats), max_size=3), st.booleans())
def test_rickshaw_holds_points_by_name(rows, pretty):
    assert json.loads(to_rickshaw([series(values, name) for name, values in rows], pretty)) == [
        {"target": name, "datapoints": [{"x": START + 10 * i, "y": expected(v)} for i, v in enumerate(values)]}
        for name, values in rows
    ]

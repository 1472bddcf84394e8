"""PNG: lines that are cut into pieces look as if they were not, and drawing ends when nobody waits for it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingestd.serve.chart import raster
from ingestd.serve.chart.options import ChartError
from ingestd.serve.chart.raster import pieces, png_of
from ingestd.serve.chart.shapes import Box, Fill, Font, Group, Lines, Picture, Text

BLACK = (0.0, 0.0, 0.0, 1.0)
WHITE = (1.0, 1.0, 1.0, 1.0)
SANS = Font("sans", 12)


def pixels(*shapes, background=WHITE, size=(60, 40)):
    pen = raster._Pen(Picture(*size, background, list(shapes)), lambda: False)
    for shape in shapes:
        pen.draw(shape)
    return pen.pixels.astype(int)


@given(arrays(np.float64, st.tuples(st.integers(2, 50), st.just(2)), elements=st.floats(0, 100)), st.floats(1, 500))
def test_pieces_are_the_whole_run(run, length):
    cut = pieces(run, length)
    np.testing.assert_array_equal(np.concatenate([cut[0][0], *(piece[1:] for piece, _ in cut[1:])]), run)
    steps = np.hypot(*np.diff(run, axis=0).T)
    at = 0
    for piece, before in cut:
        assert before == pytest.approx(steps[:at].sum())
        assert np.hypot(*np.diff(piece, axis=0).T)[:-1].sum() <= length + steps.max()
        at += len(piece) - 1


@pytest.mark.parametrize("dash", [0.0, 5.0])
def test_a_line_in_pieces_looks_like_one(monkeypatch, dash):
    random = np.random.default_rng(1)
    run = np.column_stack((np.linspace(5, 55, 60), random.uniform(5, 35, 60)))
    line = Lines((run,), BLACK, 1.5, dash, round=not dash)
    whole = pixels(line)
    monkeypatch.setattr(raster, "_PIECE", 100)
    cut = pixels(line)
    assert whole.min() == 0
    # Corners at which a line was cut have two ends instead.
    assert np.abs(whole - cut).mean() < (0.5 if not dash else 6)


def test_a_half_transparent_line_has_no_knots(monkeypatch):
    monkeypatch.setattr(raster, "_PIECE", 10)
    run = np.column_stack((np.linspace(5, 55, 30), np.full(30, 20.5)))
    row = pixels(Lines((run,), (0, 0, 0, 0.5), 1.0, round=True))[20, 8:52, 0]
    assert row.min() == row.max() == pytest.approx(127, abs=2)


def test_shapes_lie_where_they_say():
    drawn = pixels(
        Box(10, 5, 20, 10, BLACK), Fill((np.array([(40.0, 20.0), (50.0, 20.0), (50.0, 30.0), (40.0, 30.0)]),), BLACK)
    )
    dark = drawn[..., 0] < 128
    assert dark.sum() == 20 * 10 + 10 * 10
    assert dark[5:15, 10:30].all()
    assert dark[20:30, 40:50].all()


def test_what_is_clipped_is_not_seen():
    box = Box(0, 0, 60, 40, BLACK)
    dark = pixels(Group("g", (box,), clip=Box(10, 10, 5, 5, BLACK)))[..., 0] < 128
    assert dark[10:15, 10:15].all()
    assert dark.sum() == 25


@pytest.mark.parametrize("angle", [0, 90, -90, 30])
@pytest.mark.parametrize("align", ["start", "middle", "end"])
def test_texts_stand_at_their_place(angle, align):
    drawn = pixels(Text(60, 60, "mmm", SANS, BLACK, align, angle), size=(120, 120))
    rows, columns = np.nonzero(drawn[..., 0] < 128)
    across, down = columns.mean() - 60, rows.mean() - 60
    along = across * np.cos(np.deg2rad(angle)) + down * np.sin(np.deg2rad(angle))
    beside = down * np.cos(np.deg2rad(angle)) - across * np.sin(np.deg2rad(angle))
    half = 17
    assert along == pytest.approx({"start": half, "middle": 0, "end": -half}[align], abs=2)
    assert -6 < beside < 0


def test_texts_over_edges_are_cut():
    for x, y in ((-500, 10), (-3, 5), (58, 39), (500, 500), (30, -100)):
        pixels(Text(x, y, "text", SANS, BLACK))


def test_a_clear_ground_stays_clear():
    drawn = pixels(Text(10, 20, "I", SANS, BLACK), background=(1, 1, 1, 0))
    assert drawn[..., 3].max() > 200
    assert drawn[0, 0, 3] == 0
    # Ink is not mixed with a ground that is not there.
    assert drawn[drawn[..., 3] > 0][:, :3].max() == 0


def test_drawing_ends_when_nobody_waits():
    asked = iter([False, False, True])
    shapes = [Box(0, 0, 1, 1, BLACK)] * 9
    with pytest.raises(ChartError, match="given up"):
        png_of(Picture(10, 10, WHITE, shapes), lambda: next(asked))
    assert next(asked, None) is None

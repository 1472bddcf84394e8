"""The ledger's arithmetic, its exposition, and log lines that names cannot forge."""

import json
import logging

import pytest

from ingestd.telemetry import REASONS, Ledger, exposition, set_up_logging


def test_the_ledger_adds_up_its_listeners():
    ledger = Ledger()
    one, two = ledger.open("graphite/tcp"), ledger.open("graphite/udp")
    assert ledger.open("graphite/tcp") is one
    one.received, one.stored = 5, 2
    one.reject("nan")
    two.received = 3
    two.reject("path", 3)
    told = ledger.as_dict()
    assert (told["received"], told["stored"], told["in_flight"]) == (8, 2, 2)
    assert told["rejected"] == {"nan": 1, "path": 3}
    assert told["listeners"]["graphite/tcp"]["in_flight"] == 2


def test_reasons_are_a_closed_list():
    with pytest.raises(KeyError):
        Ledger().open("x").reject("because")
    assert all(REASONS.values())


def test_exposition():
    ledger = Ledger()
    books = ledger.open("graphite/tcp")
    books.received, books.stored, books.kernel_drops = 3, 2, 1
    books.reject("nan")
    text = exposition(ledger, {"series": 7})
    assert 'ingestd_points_rejected_total{listener="graphite/tcp",reason="nan"} 1\n' in text
    assert 'ingestd_points_in_flight{listener="graphite/tcp"} 0\n' in text
    assert text.endswith("ingestd_series 7\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_name_cannot_forge_a_log_line(form, capsys):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up_logging("info", form)
        logging.getLogger("ingestd.test").warning("refused %s", "a\nb\x1b[31m", extra={"source": "x\ny"})
    finally:
        root.handlers[:], root.level = before
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    if form == "json":
        assert json.loads(out)["source"] == "x\ny"
    else:
        assert "a\\nb\\x1b[31m" in out
        assert "source=x\\ny" in out


def test_a_broker_that_is_away_is_told_once(capsys):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up_logging("info", "text")
        logging.getLogger("aiormq.connection").error("error when creating transport")
        logging.getLogger("ingestd.ingest.consume").warning("no connection to the broker")
    finally:
        root.handlers[:], root.level = before
    assert capsys.readouterr().err.count("\n") == 1

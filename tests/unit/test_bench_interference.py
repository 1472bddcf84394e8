"""The benchmark of questions beside points runs, answers all of them and loses nothing."""

from bench.interference import QUESTIONS, interference


def test_points_arrive_while_everything_is_asked(tmp_path):
    outcome = interference(tmp_path, series=10, points=20, seconds=1.0, clients=len(QUESTIONS))
    assert outcome.sent == outcome.stored
    assert outcome.answered.keys() == QUESTIONS.keys()
    assert outcome.quiet
    assert outcome.busy
    assert outcome.as_dict().keys() == {"quiet_ms", "busy_ms", "answered", "sent", "stored"}
    assert "deliveries" in "\n".join(outcome.lines())

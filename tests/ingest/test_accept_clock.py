"""The accept clock: steps are followed or waited out, leaps are put to the vote of those who send."""

import numpy as np
import pytest

from ingestd.ingest.clock import NEAR, STEP, UNHEARD, WINDOW, AcceptClock

NOW = 1_800_000_000
DAY, YEAR = 86_400, 365 * 86_400
Y1970, Y2038, Y2106 = 100 - NOW, 2_147_483_647 - NOW, 4_294_967_295 - NOW


class Machine:
    """A machine whose wall clock is ``error`` wrong, and senders whose points are on time."""

    def __init__(self):
        self.passed, self.error = 0.0, 0.0
        self.clock = AcceptClock(lambda: NOW + self.passed + self.error, lambda: 5000.0 + self.passed)

    def wait(self, seconds):
        self.passed += seconds

    def now(self, *late, n=50):
        """What the clock says, in seconds after NOW; to a batch whose points are ``late`` by so much, if given."""
        stamps = None if not late else np.full(n, NOW + int(self.passed) - late[0], np.int64)
        return self.clock.now(None if stamps is None else lambda: stamps) - NOW


def test_it_is_the_wall_clock_and_follows_slewing():
    m = Machine()
    for second in range(1, 5000):
        m.wait(1)
        m.error = second / 2000
        assert m.now(3) == int(m.passed + m.error)


@pytest.mark.parametrize("step", [1, 10, STEP])
def test_a_small_step_is_followed_forward_and_waited_out_back(step):
    m = Machine()
    m.wait(100)
    m.error = step
    assert m.now(0) == 100 + step
    m.error = 0
    assert m.now(0) == 100 + step
    m.wait(step - 1)
    assert m.now() == 100 + step
    m.wait(11)
    assert m.now() == 110 + step


@pytest.mark.parametrize("error", [-YEAR, -DAY, -NEAR, -60, 60, NEAR, DAY, YEAR, Y1970, Y2038, Y2106])
def test_a_leap_that_the_senders_do_not_follow_costs_no_point(error):
    """And when NTP has mended it, nothing has to be waited out."""
    m = Machine()
    m.wait(50)
    assert m.now(1) == 50
    m.error = error
    for _ in range(300):
        m.wait(1)
        assert m.now() == m.now(2) == m.passed
    m.error = 0
    m.wait(1)
    assert m.now(1) == m.passed


@pytest.mark.parametrize("error", [-YEAR, -DAY, -60, 60, DAY, YEAR, Y1970])
def test_a_leap_that_mends_the_clock_is_followed_with_the_first_batch(error):
    """Started with a wrong clock; or the machine slept, and the steady clock with it."""
    m = Machine()
    m.error = error
    m.clock = AcceptClock(lambda: NOW + m.passed + m.error, lambda: m.passed)
    assert m.now() == error
    m.wait(10)
    m.error = 0
    for _ in range(int(2 * WINDOW)):
        m.wait(1)
        assert m.now(1) == m.now() == m.passed


def test_one_host_with_another_clock_decides_nothing():
    m = Machine()
    for skew in (Y1970, Y2038, Y2106, DAY):
        for _ in range(20):
            m.wait(1)
            assert m.now(-skew) == m.passed
    m.error = DAY
    for _ in range(500):
        m.wait(1)
        m.now(1, n=100)
        m.now(-DAY, n=40)
        m.now(YEAR)
        assert m.now() == m.passed


def test_where_nobody_sends_the_wall_clock_is_believed_after_a_while():
    m = Machine()
    m.now()
    m.error = DAY
    assert m.now() == 0
    m.wait(UNHEARD - 1)
    assert m.now() == m.passed
    m.wait(1)
    assert m.now() == m.passed + DAY
    m.wait(1)
    assert m.now() == m.passed + DAY

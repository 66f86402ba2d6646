"""For how long bulk work stands back, by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._engine.stream_start import StreamStartWindow


class Timed:
    """A precedence of ten seconds a step, and its time, which begins anywhere."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self.window = StreamStartWindow(10, lambda: self.now)

    def left(self) -> float:
        """Seconds left, none where it is over."""
        return max(0.0, self.window.remaining())


@pytest.fixture
def timed() -> Timed:
    """At 100 seconds, no stream there yet."""
    return Timed()


def test_nobody_begins(timed):
    """Without a stream bulk work never stands back."""
    assert timed.left() == 0
    timed.window.close()
    assert timed.left() == 0


def test_one_step(timed):
    """A stream has a step's time, from its beginning on."""
    timed.window.open()
    assert timed.left() == 10
    timed.now += 4
    assert timed.left() == 6
    timed.now += 6
    assert timed.left() == 0


def test_a_second_step_goes_on(timed):
    """Listed, it has a step's time again, but never more than two together."""
    timed.window.open()
    timed.now += 4
    timed.window.open()
    assert timed.left() == 10
    timed.now += 8
    timed.window.open()
    assert timed.left() == 8


def test_the_first_block_ends_it(timed):
    """What is left is bulk work's."""
    timed.window.open()
    timed.now += 3
    timed.window.close()
    assert timed.left() == 0
    timed.window.close()
    assert timed.left() == 0


@pytest.mark.parametrize("ended", [True, False])
def test_then_it_is_bulk_works_turn(timed, ended):
    """As long as it stood back, no stream holds it up again."""
    timed.window.open()
    timed.now += 6 if ended else 10
    if ended:
        timed.window.close()
    timed.now += 5.9 if ended else 9.9
    timed.window.open()
    assert timed.left() == 0
    timed.now += 0.2
    timed.window.open()
    assert timed.left() == pytest.approx(10)


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "close", "wait"]), st.floats(0, 30)),
        max_size=60,
    )
)
def test_half_of_the_time_is_bulk_works(steps):
    """However streams begin and end: over any history bulk work stands back for half of it at most."""
    timed = Timed()
    back = 0.0
    for what, seconds in steps:
        if what == "wait":
            back += min(seconds, timed.left())
            timed.now += seconds
        else:
            getattr(timed.window, what)()
            assert timed.left() <= 10 + 1e-6
    # The last turn may not have been given back yet.
    assert back <= (timed.now - 100) / 2 + 10 + 1e-6

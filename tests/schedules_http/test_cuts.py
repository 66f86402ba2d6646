"""Each answer, cut and ended at each of its bytes."""

from __future__ import annotations

import pytest

from tests.schedules_http.cases import ANSWERS, EVIL, cuts, plain
from tests.schedules_http.exchange import Case, Take, check
from tests.schedules_http.model import Mark

REQUEST, PAUSE = Mark.REQUEST, Mark.PAUSE
answers = pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))


@answers
def test_pause_at_each_byte(answer: bytes) -> None:
    """An answer in two segments is the same answer, however it is read."""
    for number, script in enumerate(cuts(answer, then=(PAUSE,))):
        take = list(Take)[number % len(Take)]
        found = check(Case([(*script, REQUEST, plain(2)), (REQUEST, plain(2))], (take, Take.WHOLE)))
        assert not found[0].error and not found[1].error


@answers
def test_surplus_after_a_pause_at_each_byte(answer: bytes) -> None:
    """A surplus in the last segment is noticed wherever that begins."""
    for script in cuts(answer, then=(PAUSE,)):
        surplus = b"\r\n" if len(script[1]) % 2 else EVIL  # type: ignore[arg-type]
        scripts = [(*script, surplus, REQUEST, EVIL), (REQUEST, plain(2))]
        for take in (Take.WHOLE, Take.WINDOW):
            assert [found.connection for found in check(Case(scripts, (take, take)))] == [0, 1]


@answers
@pytest.mark.parametrize("mark", [Mark.END, Mark.CLOSE, Mark.RESET])
@pytest.mark.parametrize("hooked", [False, True])
def test_end_at_each_byte(answer: bytes, mark: Mark, hooked: bool) -> None:
    """An answer that ends early is an error, never a shorter body."""
    step = 5 if hooked else 1
    for script in list(cuts(answer, then=(PAUSE, mark)))[::step]:
        check(Case([script, (REQUEST, plain(2))], hooked=hooked))


@answers
def test_each_byte_alone(answer: bytes) -> None:
    """An answer may come byte by byte."""
    script = [REQUEST]
    for at in range(len(answer)):
        script += [answer[at : at + 1], PAUSE]  # type: ignore[list-item]
    found = check(Case([(*script, REQUEST, plain(2))]))
    assert [outcome.connection for outcome in found] == [0, 0]


@answers
def test_silence_at_each_byte(answer: bytes) -> None:
    """A server that stops amid its answer is a timeout."""
    for at in range(0, len(answer), 3):
        found = check(Case([(REQUEST, answer[:at])], (Take.WHOLE,)))
        assert found[0].error == "timeout"

"""Named moments of keep-alive: what serves the next request, and what must not."""

from __future__ import annotations

import pytest

from tests.schedules_http.cases import ANSWERS, CHUNKED, EVIL, OK, body_of, plain
from tests.schedules_http.exchange import Case, Outcome, Take, check
from tests.schedules_http.model import Mark, ModelError

REQUEST, PAUSE, END = Mark.REQUEST, Mark.PAUSE, Mark.END
CLOSE, RESET = Mark.CLOSE, Mark.RESET


def outcomes_of(
    *scripts: tuple[bytes | Mark, ...],
    takes: tuple[Take, ...] = (Take.WHOLE, Take.WHOLE),
    **more: bool,
) -> list[Outcome]:
    """Run a case of two requests."""
    return check(Case(scripts, takes, hooked=more.get("hooked", False)))


def connections(found: list[Outcome]) -> list[int]:
    """Return which connection each request took."""
    return [outcome.connection for outcome in found]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_whole_answer_keeps_the_connection(answer: bytes) -> None:
    """After a whole answer of any kind the next request takes the same connection."""
    found = outcomes_of((REQUEST, answer, REQUEST, plain(2)))
    assert connections(found) == [0, 0]
    assert found[1].body == body_of(2)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("surplus", [EVIL, b"\r\n", b"x", EVIL[:-1]])
@pytest.mark.parametrize("pause", [(), (PAUSE,)])
def test_surplus_ends_the_connection(surplus: bytes, pause: tuple[Mark, ...], hooked: bool) -> None:
    """Bytes after an answer, along with it or before the next request, are not the next body."""
    found = outcomes_of(
        (REQUEST, plain(1), *pause, surplus, REQUEST, EVIL), (REQUEST, plain(2)), hooked=hooked
    )
    assert connections(found) == [0, 1]
    assert [outcome.body for outcome in found] == [body_of(1), body_of(2)]


@pytest.mark.parametrize("hooked", [False, True])
def test_answer_before_its_request(hooked: bool) -> None:
    """A server that gives up an idle connection says 408 unasked: that answers no request."""
    early = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    found = outcomes_of(
        (REQUEST, plain(1), PAUSE, early, CLOSE), (REQUEST, plain(2)), hooked=hooked
    )
    assert connections(found) == [0, 1]
    assert found[1].status == 200


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("mark", [CLOSE, Mark.REFUSE])
def test_answer_amid_the_request(mark: Mark, hooked: bool) -> None:
    """A server may answer before it has the request (RFC 9112, section 9.5), and close or read no more."""
    refused = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    found = outcomes_of((refused, mark), (REQUEST, plain(2)), hooked=hooked)
    assert [outcome.status for outcome in found] == [503, 200]
    assert connections(found) == [0, 1]


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("take", [Take.PART, Take.NOTHING])
@pytest.mark.parametrize("answer", [plain(1), ANSWERS["chunks"]], ids=["length", "chunks"])
def test_unread_body_ends_the_connection(answer: bytes, take: Take, hooked: bool) -> None:
    """The rest of a body that was left is not the next answer."""
    scripts = (REQUEST, answer[:-9], PAUSE, answer[-9:], REQUEST, EVIL), (REQUEST, plain(2))
    found = outcomes_of(*scripts, takes=(take, Take.WHOLE), hooked=hooked)
    assert connections(found) == [0, 1]


@pytest.mark.parametrize("mark", [END, CLOSE, RESET])
@pytest.mark.parametrize("hooked", [False, True])
def test_idle_connection_that_was_closed(mark: Mark, hooked: bool) -> None:
    """A connection that the server closed between two requests costs no request."""
    found = outcomes_of((REQUEST, plain(1), PAUSE, mark), (REQUEST, plain(2)), hooked=hooked)
    assert connections(found) == [0, 1]
    assert not found[1].error


@pytest.mark.parametrize("mark", [END, CLOSE, RESET])
def test_connection_that_is_closed_instead_of_an_answer(mark: Mark) -> None:
    """A close that crosses the request is an error that another attempt may cure."""
    found = outcomes_of((REQUEST, plain(1), REQUEST, mark))
    assert connections(found) == [0, 0]
    assert found[1].error == "connection"


def test_declared_chunks_of_nothing_but_lines() -> None:
    """Trailers without an end are refused, not read for as long as they come."""
    found = outcomes_of((REQUEST, CHUNKED + b"0\r\n" + b"X: y\r\n" * 30_000), takes=(Take.WHOLE,))
    assert found[0].error == "protocol"


def test_head_without_an_end() -> None:
    """Fields without an end, and one line without an end, are refused."""
    for head in (OK + b"X: y\r\n" * 30_000, OK + b"X: " + b"y" * 180_000, b"H" * 180_000):
        found = outcomes_of((REQUEST, head), takes=(Take.WHOLE,))
        assert found[0].error == "protocol"


def test_model_sees_a_broken_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model itself notices a client that uses a connection with a surplus again."""
    monkeypatch.setattr("urllib3.connectionpool.is_connection_dropped", lambda connection: False)
    with pytest.raises(ModelError, match="unread bytes"):
        outcomes_of((REQUEST, plain(1), PAUSE, EVIL), (REQUEST, plain(2)))

"""``wsgi.file_response``: how long it waits for the first byte, and how its body ends."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

import pytest

from ctera_direct_sync import DirectIO, StreamError
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.streams import stream_pieces

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")

DATA = b"0123456789" * 5000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


# --- the wait for the first byte ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["portal", "storage"])
@pytest.mark.parametrize("header", ["", "bytes=7-9"])
def test_silence_is_504(
    client: DirectIO,
    portal: Emulator,
    file_id: int,
    caplog: pytest.LogCaptureFixture,
    where: str,
    header: str,
) -> None:
    """Silence before the first byte becomes 504 at the timeout, long before the client's own."""
    caplog.set_level(logging.WARNING, "ctera_direct_sync.wsgi")
    portal.faults.add(where, times=None, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {"HTTP_RANGE": header}, timeout=0.2)
    assert answer.code == 504
    assert b"in time" in b"".join(answer.body)
    assert "no byte came within 0.2 seconds (timeout=)" in caplog.text


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_silent_portal_is_504_for_each_method(
    client: DirectIO, portal: Emulator, file_id: int, method: str
) -> None:
    """A request without a body waits for the portal no longer."""
    portal.faults.add("portal", times=None, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {"REQUEST_METHOD": method}, timeout=0.2)
    assert answer.code == 504


def test_retries_end_at_the_timeout(
    make_client: Callable[..., DirectIO], portal: Emulator, file_id: int
) -> None:
    """A storage that fails again and again does not outlast the timeout, however many the retries."""
    client = make_client(retries=1000, backoff=5.0, max_backoff=60.0)
    portal.faults.add("storage", times=None, action=faults.status(503))
    assert wsgi.file_response(client, file_id, {}, timeout=0.2).code == 504


def test_timeout_ends_with_the_first_byte(
    client: DirectIO, portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a byte has come, the timeout cuts nothing off."""
    time_is_up = threading.Event()
    timers: list[threading.Timer] = []

    class Timer(threading.Timer):
        """A timer whose time is up when the test says so."""

        def __init__(self, seconds: float, call: Callable[[], object]) -> None:
            super().__init__(seconds, call)
            timers.append(self)

        def run(self) -> None:
            """Call the function, unless the timer was cancelled."""
            assert time_is_up.wait(60)
            if not self.finished.is_set():
                self.function()

    monkeypatch.setattr(threading, "Timer", Timer)
    held = portal.faults.add("storage", block=3, times=1, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {}, timeout=0.5)
    body = iter(answer.body)
    got = [next(body), next(body)]
    assert held.wait()
    time_is_up.set()
    for timer in timers:
        timer.join()
    assert timers
    held.release()
    assert b"".join([*got, *body]) == DATA
    answer.body.close()


def test_default_timeout(
    client: DirectIO, portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default an answer comes before gunicorn's 30 seconds; Flask and Django get the same."""
    assert wsgi.DEFAULT_TIMEOUT_S == 25.0
    monkeypatch.setattr(wsgi, "DEFAULT_TIMEOUT_S", 0.2)
    portal.faults.add("storage", times=None, action=faults.stall())
    assert wsgi.file_response(client, file_id, {}).code == 504


def test_flask_timeout(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """flask_response takes a timeout."""
    flask = pytest.importorskip("flask")
    portal.faults.add("storage", times=None, action=faults.stall())
    with flask.Flask(__name__).test_request_context("/"):
        response = wsgi.flask_response(client, file_id, timeout=0.2)
        assert response.status_code == 504
        response.close()


def test_django_timeout(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """django_response takes a timeout."""
    pytest.importorskip("django")
    from tests.support.django_settings import configure

    configure()
    from django.test import RequestFactory

    portal.faults.add("storage", times=None, action=faults.stall())
    response = wsgi.django_response(RequestFactory().get("/"), client, file_id, timeout=0.2)
    assert response.status_code == 504
    response.close()


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 5, 0.5])
def test_timeout_that_is_kept(client: DirectIO, file_id: int, timeout: float) -> None:
    """Any positive number is a timeout, and infinity is none."""
    answer = wsgi.file_response(client, file_id, {}, timeout=timeout)
    assert b"".join(answer.body) == DATA


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_timeout_that_cannot_be(client: DirectIO, file_id: int, timeout: float) -> None:
    """Zero, a negative number and NaN are ValueErrors."""
    with pytest.raises(ValueError, match="timeout="):
        wsgi.file_response(client, file_id, {}, timeout=timeout)


def test_no_thread_for_the_timeout(
    client: DirectIO,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that may start no further thread serves on, and logs that no timeout holds."""

    def refuse(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    answer = wsgi.file_response(client, file_id, {})
    assert b"".join(answer.body) == DATA
    assert "without a timeout" in caplog.text


# --- the body's end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces", [(DATA[:-1],), (DATA[:100], DATA[100:-1]), (DATA[:10],), (DATA, b"x"), (b"x", DATA)]
)
def test_body_of_another_length_raises(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    """A body never ends as if it were whole, and gives no byte past its Content-Length."""
    stream_pieces(client, monkeypatch, *pieces)
    answer = wsgi.file_response(client, file_id, {})
    got = []
    with pytest.raises(StreamError, match="Content-Length") as caught:
        for piece in answer.body:
            got.append(piece)
    assert len(b"".join(got)) <= len(DATA)
    assert caught.value.offset == len(b"".join(got))
    with pytest.raises(StreamError):
        next(iter(answer.body))


def test_stream_without_a_byte_is_a_status(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that ends before its first block is 502, not an empty file."""
    streamer = stream_pieces(client, monkeypatch)
    assert wsgi.file_response(client, file_id, {}).code == 502
    assert streamer.stopped


def test_closed_body_raises(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """Iteration after close() is an error that says where it ended."""
    answer = wsgi.file_response(client, file_id, {"HTTP_RANGE": "bytes=10000-"})
    first = next(iter(answer.body))
    answer.body.close()
    with pytest.raises(StreamError, match="closed") as caught:
        list(answer.body)
    assert first == DATA[10_000:20_000]
    assert caught.value.offset == 20_000


def test_closed_client_ends_the_body_by_an_error(
    make_client: Callable[..., DirectIO], portal: Emulator, file_id: int
) -> None:
    """Closing the client amid a response raises from its body."""
    client = make_client()
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {})
    closer = threading.Thread(target=lambda: (held.wait(), client.close()))
    closer.start()
    with pytest.raises(StreamError):
        list(answer.body)
    closer.join()
    answer.body.close()


def test_whole_body_ends_normally(client: DirectIO, file_id: int) -> None:
    """After the last byte the iteration ends, once and again, also after close()."""
    answer = wsgi.file_response(client, file_id, {})
    assert b"".join(answer.body) == DATA
    assert list(answer.body) == []
    answer.body.close()
    assert list(answer.body) == []


def test_the_former_name_of_the_class() -> None:
    """``FileResponse`` is still there."""
    assert wsgi.FileResponse is wsgi.Response

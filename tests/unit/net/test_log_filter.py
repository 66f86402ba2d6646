"""The filter that hides signatures in the lines that urllib3 logs."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net import log_filter
from ctera_direct_sync._net.current import CurrentRequest, current_request
from ctera_direct_sync._net.log_filter import install_log_filter

THREADS = 8
URL = "/object?X-Amz-Signature=abc"


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """One of urllib3's loggers, without filters until the test ends."""
    found = logging.getLogger("urllib3.connectionpool")
    monkeypatch.setattr(found, "filters", [])
    return found


@pytest.fixture
def request_of_the_library() -> Iterator[None]:
    """A request that this thread runs."""
    token = current_request.set(CurrentRequest(CancelScope(), "http://a", URL))
    yield
    current_request.reset(token)


def test_query_is_hidden_during_a_request(
    logger: logging.Logger, request_of_the_library: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that urllib3 logs for a request of the library shows no query."""
    install_log_filter()
    with caplog.at_level(logging.DEBUG, logger.name):
        logger.debug("%s %s", "GET", URL)
    assert caplog.messages == ["GET /object?..."]


def test_other_requests_are_logged_unchanged(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """The application's own requests are logged as they are."""
    install_log_filter()
    with caplog.at_level(logging.DEBUG, logger.name):
        logger.debug("%s %s", "GET", URL)
    assert caplog.messages == [f"GET {URL}"]


def test_installed_once_by_many_threads(logger: logging.Logger) -> None:
    """Threads that make their first clients at the same time add one filter between them."""
    barrier = threading.Barrier(THREADS)

    def install(_: int) -> list[object]:
        barrier.wait()
        install_log_filter()
        return list(logger.filters)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(install, range(THREADS)))
    assert found == [[log_filter._filter]] * THREADS


def test_import_changes_no_logger() -> None:
    """The import of the client leaves urllib3's loggers alone, and the first client does not."""
    program = (
        "import logging\n"
        "from ctera_direct_sync.client import DirectIO\n"
        "found = logging.getLogger('urllib3.connectionpool').filters\n"
        "assert not found, found\n"
        "DirectIO('http://127.0.0.1:1', 'id', 'secret').close()\n"
        "assert len(found) == 1, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr

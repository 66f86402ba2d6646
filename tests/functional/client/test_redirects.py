"""Where a redirect leads: to the byte, on both routes; and what is said of one that leads nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import DirectIOAPIError
from tests.functional.client.test_proxies import block_error, point_to
from tests.support.net import answer, serving
from tests.support.sessions import hooked


@pytest.mark.parametrize("session", [None, requests.Session, hooked])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/\xc3\xa4?n=\xc3\xbc", "/%C3%A4?n=%C3%BC"),
        (b"/%C3%A4?n=%7E", "/%C3%A4?n=%7E"),
        (b"http://127.0.0.1:%d/a/../[b]?e=%%2b", "/a/../[b]?e=%2b"),
        (b"next?s=1", "/next?s=1"),
    ],
)
def test_redirect_is_followed_to_the_byte(
    portal: Emulator,
    make_client: Callable[..., DirectIO],
    session: Any,
    location: bytes,
    target: str,
) -> None:
    """Raw UTF-8 is encoded once; what is encoded, or signed, stays as it is."""

    def handle(connection: Any, line: str, head: bytes) -> None:
        if "/first" in line:
            where = location % server.port if b"127.0.0.1" in location else location
            connection.sendall(answer(extra=b"Location: " + where + b"\r\n", status=b"302 Found"))
        else:
            connection.sendall(answer(b"x"))

    with serving(handle) as server:
        file_id = portal.add(b"x", native=True)
        point_to(portal, file_id, f"http://127.0.0.1:{server.port}/first")
        client = make_client(session=session)
        assert b"".join(block.data for block in client.stream(file_id)) == b"x"
        client.close()
    assert server.lines[1] == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize("session", [None, hooked])
def test_storage_that_redirects_nowhere(
    portal: Emulator, make_client: Callable[..., DirectIO], session: Any
) -> None:
    """A 301 without a Location is asked once, and called what it is."""
    with serving(
        lambda connection, line, head: connection.sendall(answer(status=b"301 Moved"))
    ) as server:
        url = f"http://127.0.0.1:{server.port}/o"
        error = block_error(portal, make_client, url, session=session)
    assert "it redirects (HTTP 301) but has no Location" in str(error)
    assert "circle" not in str(error) and len(server.lines) == 1


def test_portal_that_redirects_nowhere(portal: Emulator, client: DirectIO) -> None:
    """So is a portal's."""
    file_id = portal.add(b"x")
    portal.faults.add("portal", file_id, times=None, action=faults.status(301))
    with pytest.raises(DirectIOAPIError, match="but has no Location") as caught:
        client.metadata(file_id)
    assert "circle" not in str(caught.value)

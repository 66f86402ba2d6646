"""The head of a request with further headers, which a route renders once."""

from __future__ import annotations

from ctera_direct_sync._net.pool import pool_classes
from ctera_direct_sync._net.routes import Route


def test_equal_headers_are_rendered_once() -> None:
    """Each call to the portal has the same headers."""
    pool = pool_classes()["http"]("portal.example")
    route = Route(pool, {"User-Agent": "test"})
    first = route.head_with(pool, {"Accept": "application/json"})
    assert b"\r\nAccept: application/json\r\n" in first
    assert b"\r\nUser-Agent: test\r\n" in first
    assert route.head_with(pool, {"Accept": "application/json"}) is first


def test_other_headers_are_rendered_anew() -> None:
    """No request gets the headers of another one."""
    pool = pool_classes()["http"]("storage.example")
    route = Route(pool, {})
    route.head_with(pool, {"Range": "bytes=0-9"})
    assert b"\r\nRange: bytes=10-19\r\n" in route.head_with(pool, {"Range": "bytes=10-19"})

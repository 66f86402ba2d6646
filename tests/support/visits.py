"""Visits to a web application that serves files as `/<file ID>/<name>`."""

from __future__ import annotations

import http.client

import pytest
import requests

__all__ = ["check_body_cut_short", "check_visit"]


def check_visit(site: str, file_id: int, data: bytes) -> int:
    """Check GET, HEAD, ranges, conditions and an unknown file, over a connection that is kept.

    Args:
        site: The URL of the application.
        file_id: The file.
        data: Its bytes, more than 300,010.

    Returns:
        The status of a POST.
    """
    url = f"{site}/{file_id}/film%20%C3%BC.mp4"
    with requests.Session() as visitor:
        visitor.trust_env = False
        whole = visitor.get(url)
        assert (whole.status_code, whole.content) == (200, data)
        assert whole.headers["Content-Disposition"].endswith("filename*=UTF-8''film%20%C3%BC.mp4")
        assert whole.headers["Content-Type"] == "video/mp4"
        head = visitor.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(data))
        etag = whole.headers["ETag"]
        for header, start, stop in (
            ("bytes=-7", -7, None),
            ("bytes=299990-300010", 299_990, 300_011),
        ):
            part = visitor.get(url, headers={"Range": header, "If-Range": etag})
            assert (part.status_code, part.content) == (206, data[start:stop])
        past = visitor.get(url, headers={"Range": f"bytes={len(data)}-"})
        assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        assert visitor.get(url, headers={"If-None-Match": f"W/{etag}"}).status_code == 304
        assert visitor.get(f"{site}/99/x").status_code == 404
        return visitor.post(url).status_code


def check_body_cut_short(site: str, file_id: int) -> None:
    """Check that a visitor sees that a body is shorter than its length.

    Args:
        site: The URL of the application.
        file_id: A file of which a block cannot be read.
    """
    connection = http.client.HTTPConnection(site.partition("//")[2], timeout=60)
    connection.request("GET", f"/{file_id}/x.bin")
    response = connection.getresponse()
    assert response.status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()

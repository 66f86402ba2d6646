"""The response of Django, for WSGI and ASGI. Imported only by programs that have Django."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from django.http import StreamingHttpResponse

__all__ = ["make_response"]


def make_response(
    status: int, headers: list[tuple[str, str]], body: Iterable[bytes] | AsyncIterator[bytes]
) -> StreamingHttpResponse:
    """Return a response of Django's.

    Args:
        status: The status.
        headers: The names and values of the headers.
        body: The body. Django calls its `close()`, if it has one.
    """
    response = StreamingHttpResponse(body, status=status)
    del response["Content-Type"]  # Django's default.
    for name, value in headers:
        response[name] = value
    return response

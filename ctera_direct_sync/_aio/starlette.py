"""The response of Starlette and FastAPI. Imported only by programs that have Starlette."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.responses import StreamingResponse

__all__ = ["make_response"]


class _ClosingResponse(StreamingResponse):
    """A `StreamingResponse` that closes its body, sent to its end or not."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body: Any = self.body_iterator
        try:
            await super().__call__(scope, receive, send)
        finally:
            # The task may be cancelled, so that nothing can be waited for.
            body.close()


def make_response(
    status: int, headers: list[tuple[str, str]], body: AsyncIterator[bytes]
) -> StreamingResponse:
    """Return a response of Starlette's.

    Args:
        status: The status.
        headers: The names and values of the headers.
        body: The body, which has a `close()`.
    """
    return _ClosingResponse(body, status_code=status, headers=dict(headers))

"""The response of Starlette and FastAPI. Imported only by programs that have Starlette."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from ..exceptions import DirectIOError

__all__ = ["make_response"]


class _ClosingResponse(StreamingResponse):
    """A `StreamingResponse` that closes its body, sent to its end or not."""

    _error: DirectIOError | None = None

    async def stream_response(self, send: Any) -> None:
        """Send the response, and keep the error of its body."""
        try:
            await super().stream_response(send)
        except DirectIOError as error:
            self._error = error
            raise

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Send the response.

        Args:
            scope: The connection, as ASGI describes it.
            receive: Returns the next message of the visitor.
            send: Sends a message.

        Raises:
            DirectIOError: The body could not be read to its end.
        """
        body: Any = self.body_iterator
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            # Starlette takes each OSError for a visitor who left. That would hide a storage that fails.
            error, self._error = self._error, None
            if error is None:
                raise
            try:
                raise error from error.__cause__
            finally:
                del error  # Its traceback holds this frame.
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

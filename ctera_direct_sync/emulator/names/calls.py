"""One call of the portal's API, and how it fails."""

from __future__ import annotations

from typing import Any, NamedTuple


class RequestError(Exception):
    """A call that fails with a status and a message.

    Attributes:
        status: The HTTP status.
        message: What is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Call(NamedTuple):
    """One call of the API.

    Attributes:
        context: `ServicesPortal` or `admin`.
        name: What is called: `login`, `fetchResources`, `currentSession`, `PROPFIND` and so on.
        path: What follows the context in the URL, decoded.
        parameter: What the body holds, if it is a value of the API or a form.
        root: The path that the call is about, decoded, without the context. None: it names no path.
        depth: How deep the call looks, as the client wrote it, or None.
        start: The number of the first item that a listing asks for.
    """

    context: str
    name: str
    path: str
    parameter: Any = None
    root: str | None = None
    depth: str | None = None
    start: int = 0

"""The requests and responses of portal and storage, without their sockets."""

from __future__ import annotations

import json
from email.message import Message
from typing import TYPE_CHECKING, Literal, NamedTuple
from xml.sax.saxutils import escape

from .bodies import Body, BytesBody

if TYPE_CHECKING:
    from .names.calls import Call

Where = Literal["portal", "storage"]

PORTAL: Where = "portal"
STORAGE: Where = "storage"


class Request(NamedTuple):
    """A request that is routed: what it asks for is known, but not yet whether it is allowed.

    Attributes:
        where: What it is for: the portal or the storage.
        path: The path of the URL, without the query.
        query: The query of the URL.
        headers: The headers.
        host: The host that the client asked for.
        file_id: The file that the request is about, if any.
        version: The version of the file that a stored object belongs to, from 1 on.
        block: The number of the block, from 1 on.
        method: The HTTP method.
        call: The call of the portal's API that the request makes, if any.
    """

    where: Where
    path: str
    query: str
    headers: Message
    host: str
    file_id: int | None = None
    version: int | None = None
    block: int | None = None
    method: str = "GET"
    call: Call | None = None


class Response(NamedTuple):
    """A response. Content-Length, Date and Connection are added when it is sent.

    Attributes:
        status: The HTTP status.
        headers: The headers.
        body: The body.
    """

    status: int
    headers: dict[str, str]
    body: Body


def json_response(status: int, value: object) -> Response:
    """Return a response that holds a value in JSON."""
    body = json.dumps(value).encode("utf-8")
    return Response(status, {"Content-Type": "application/json"}, BytesBody(body))


def html_response(status: int, text: str) -> Response:
    """Return a web page with one line of text, as web servers send for an error."""
    page = f"<html><head><title>{status}</title></head><body><h1>{escape(text)}</h1></body></html>"
    return Response(status, {"Content-Type": "text/html"}, BytesBody(page.encode("utf-8")))


def s3_error(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error in S3's format.

    Args:
        status: The HTTP status.
        code: S3's name of the error.
        message: What S3 says about it.
        **headers: More headers. An underscore stands for a hyphen.
    """
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error>"
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status, {"Content-Type": "application/xml", **named}, BytesBody(xml.encode("utf-8"))
    )

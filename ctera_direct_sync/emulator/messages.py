"""What the portal and the storage take and give: requests and responses without their sockets."""

from __future__ import annotations

import json
from email.message import Message
from typing import TYPE_CHECKING, NamedTuple, Optional
from xml.sax.saxutils import escape

from .bodies import Body, BytesBody

if TYPE_CHECKING:
    from .names.calls import Call

PORTAL = "portal"
STORAGE = "storage"


class Request(NamedTuple):
    """A request, routed: what it is for is known, whether it may is not."""

    where: str
    path: str
    query: str
    headers: Message
    host: str
    file_id: Optional[int] = None
    version: Optional[int] = None
    block: Optional[int] = None
    method: str = "GET"
    call: Optional[Call] = None


class Response(NamedTuple):
    """A response; Content-Length, Date and Connection are added when it is sent."""

    status: int
    headers: dict[str, str]
    body: Body


def json_response(status: int, value: object) -> Response:
    """Return a response in JSON."""
    body = json.dumps(value).encode("utf-8")
    return Response(status, {"Content-Type": "application/json"}, BytesBody(body))


def html_response(status: int, text: str) -> Response:
    """Return a page such as web servers answer of themselves."""
    page = f"<html><head><title>{status}</title></head><body><h1>{escape(text)}</h1></body></html>"
    return Response(status, {"Content-Type": "text/html"}, BytesBody(page.encode("utf-8")))


def s3_error(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error as S3 writes it."""
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error>"
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status, {"Content-Type": "application/xml", **named}, BytesBody(xml.encode("utf-8"))
    )

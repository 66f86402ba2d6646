"""The portal's WebDAV: PROPFIND with the CTERA properties, and GET (RFC 4918)."""

from __future__ import annotations

import email.utils
from typing import Any
from xml.sax.saxutils import escape

from ..bodies import BytesBody, SourceBody
from ..messages import Request, Response, html_response
from .calls import Call
from .describe import Describer
from .nodes import Node, content_facts
from .options import PortalOptions
from .views import PermissionDenied, Place, View, place_in

_START = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<d:multistatus xmlns:d="DAV:" xmlns:ctera="http://www.ctera.com/ns">'
)


def answer(
    request: Request,
    call: Call,
    view: View,
    describer: Describer,
    options: PortalOptions,
    prefix: str,
) -> Response:
    """Return the response to a WebDAV request.

    Args:
        request: The HTTP request.
        call: The call that it makes.
        view: What the user sees.
        describer: Describes files and folders.
        options: How the portal behaves.
        prefix: What the portal's paths start with.
    """
    parts = tuple(part for part in (call.root or "").split("/") if part)
    try:
        place = view.find(parts)
        if place is None:
            return html_response(404, "Not Found")
        if request.method == "GET":
            return _content(place)
        if request.method != "PROPFIND":
            return html_response(405, "Method Not Allowed")
        places = [place]
        if call.depth != "0":
            if call.depth != "1":
                return html_response(403, "A depth of 0 or 1 is needed")
            places += [place_in(place, item) for item in view.items(place)]
    except PermissionDenied:
        return html_response(403, "Forbidden")
    responses = [_response(each, describer.info(each), options, prefix) for each in places]
    text = _START + "".join(responses) + "</d:multistatus>"
    headers = {"Content-Type": "application/xml;charset=UTF-8"}
    return Response(207, headers, BytesBody(text.encode("utf-8")))


def _content(place: Place) -> Response:
    state = place.item.state_at(place.moment) if isinstance(place.item, Node) else None
    if state is None or state.source is None:
        return html_response(405, "Method Not Allowed")
    headers = {"Content-Type": "application/octet-stream"}
    return Response(200, headers, SourceBody(state.source, 0, state.source.size))


def _response(place: Place, info: dict[str, Any], options: PortalOptions, prefix: str) -> str:
    node = place.item
    properties = [f"<d:displayname>{escape(info['name'])}</d:displayname>"]
    if info["isFolder"]:
        properties.append("<d:resourcetype><d:collection/></d:resourcetype>")
    else:
        properties.append("<d:resourcetype/>")
        properties.append(f"<d:getcontentlength>{info['size']}</d:getcontentlength>")
        properties.append("<d:getcontenttype>application/octet-stream</d:getcontenttype>")
    if isinstance(node, Node):
        state = node.state_at(place.moment) or node.state
        modified = content_facts(state)[1]
        properties.append(
            f"<d:getlastmodified>{email.utils.formatdate(modified, usegmt=True)}</d:getlastmodified>"
        )
        properties.append(f"<ctera:guid>{escape(node.guid)}</ctera:guid>")
        file_id = info.get("fileId", state.file_id)
        if options.webdav_file_ids and file_id is not None:
            properties.append(f"<ctera:fileid>{file_id}</ctera:fileid>")
    href = prefix + info["href"] + ("/" if info["isFolder"] and info["href"][-1] != "/" else "")
    return (
        f"<d:response><d:href>{escape(href)}</d:href><d:propstat><d:prop>{''.join(properties)}"
        "</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
    )

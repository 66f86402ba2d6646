"""The values of the portal's API, in XML and in JSON.

A value is None, a bool, an int, a str, a list of values, or a dict. The key `$class` of a dict is the
class of an object. Values that are read from XML have no types: each `<val>` is a str.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from ..bodies import BytesBody
from ..messages import Response

CLASS = "$class"

#: Characters that XML 1.0 cannot hold, section 2.2, and lone surrogates.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_xml_text(text: str) -> bool:
    """Return whether XML can hold a text."""
    return _NOT_XML.search(text) is None


def replace_non_xml(text: str) -> str:
    """Return a text with an underscore in the place of each character that XML cannot hold."""
    return _NOT_XML.sub("_", text)


def parse_xml(body: bytes) -> Any:
    """Return the value in an XML document.

    Raises:
        ValueError: The document is not XML, or holds an element that is not of the API.
    """
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(f"the body is not XML: {error}") from error
    return _read(root)


def _read(element: ElementTree.Element) -> Any:
    if element.tag == "val":
        return element.text or ""
    if element.tag == "list":
        return [_read(child) for child in element]
    if element.tag == "obj":
        value = {child.get("id", ""): _read_attribute(child) for child in element}
        name = element.get("class")
        return value if name is None else {CLASS: name, **value}
    raise ValueError(f"<{element.tag}> is not an element of the API")


def _read_attribute(element: ElementTree.Element) -> Any:
    return _read(element[0]) if len(element) else None


def format_xml(value: Any) -> str:
    """Return a value as an XML element."""
    if isinstance(value, str):
        return f"<val>{_escape(value)}</val>"
    if isinstance(value, dict):
        name = value.get(CLASS)
        parts = ["<obj>" if name is None else f"<obj class={quoteattr(name)}>"]
        for key, each in value.items():
            if key == CLASS:
                continue
            start = _attribute_start(key)
            parts.append(f"{start}/>" if each is None else f"{start}>{format_xml(each)}</att>")
        parts.append("</obj>")
        return "".join(parts)
    if isinstance(value, (list, tuple)):
        return f"<list>{''.join(map(format_xml, value))}</list>"
    if value is None:
        return "<val/>"
    if isinstance(value, bool):
        return "<val>true</val>" if value else "<val>false</val>"
    return f"<val>{value}</val>"


@functools.lru_cache(maxsize=1024)
def _attribute_start(name: str) -> str:
    return f"<att id={quoteattr(name)}"


def _escape(text: str) -> str:
    # A parser turns a bare CR into LF (XML 1.0, section 2.11), so it is written as a reference.
    return escape(text).replace("\r", "&#13;")


def format_json(value: Any) -> str:
    """Return a value in JSON."""
    return json.dumps(value, ensure_ascii=False)


def value_response(
    value: Any, *, in_json: bool, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response that holds a value."""
    if in_json:
        kind, text = "application/json;charset=UTF-8", format_json(value)
    else:
        kind = "text/xml;charset=UTF-8"
        text = f'<?xml version="1.0" encoding="UTF-8"?>{format_xml(value)}'
    body = BytesBody(text.encode("utf-8"))
    return Response(status, {"Content-Type": kind, **(headers or {})}, body)

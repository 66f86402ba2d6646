"""The two dialects of the portal's v1 API (PORTAL section 1): XML to it, JSON or XML from it.

Both kinds of answers become one shape:

| on the wire | here |
| --- | --- |
| an object | dict; the class, if it is told, under ``$class`` |
| a list | list |
| null, an attribute without a value | None |
| a value in JSON | str, int, float or bool, as JSON tells it |
| a value in XML | str: XML does not tell types, and a file may be called ``007`` or ``true`` |

What a value means is for the reader of the answer: `read_text`, `read_integer`, `read_boolean`.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

__all__ = [
    "MalformedAnswer",
    "is_page",
    "parse",
    "read_boolean",
    "read_integer",
    "read_text",
    "render",
    "render_call",
]

#: Values that an answer may hold. A page of 1,000 entries has some 60,000.
_MAX_VALUES = 1_000_000
_MAX_DEPTH = 64
_MAX_DIGITS = 19
_MAX_INTEGER = 2**63 - 1

#: What XML 1.0, section 2.2, excludes. A portal could not parse it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: A parser turns CR into LF, unless it is written as a reference (XML 1.0, section 2.11).
_REFERENCES = {"\r": "&#13;", '"': "&quot;"}

#: How JSON and the portal's XML begin. Some servers call everything text/html.
_DATA = re.compile(rb"\s*(?:<\?xml\b[^>]*>\s*)?(?:<(?:obj|list|val)\b|[{\[])")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)


class MalformedAnswer(Exception):
    """The answer is not what it should be. The text says what is wrong, and quotes nothing of it."""


# --- requests ------------------------------------------------------------------------------------


def render(value: Any) -> str:
    """Return a value as XML.

    Args:
        value: A dict (its class under ``$class``), list, str, int, bool, or None.

    Raises:
        ValueError: A text holds a character that XML cannot hold.
    """
    if isinstance(value, dict):
        kind = f' class="{_text(value["$class"])}"' if "$class" in value else ""
        members = (
            f'<att id="{_text(name)}">{"" if member is None else render(member)}</att>'
            for name, member in value.items()
            if name != "$class"
        )
        return f"<obj{kind}>{''.join(members)}</obj>"
    if isinstance(value, (list, tuple)):
        return f"<list>{''.join(map(render, value))}</list>"
    if value is None:
        return "<val/>"
    if isinstance(value, bool):
        return f"<val>{'true' if value else 'false'}</val>"
    return f"<val>{_text(str(value))}</val>"


def _text(text: str) -> str:
    if _NOT_XML.search(text):
        raise ValueError("a text holds a control character that the portal cannot read")
    return escape(text, _REFERENCES)


def render_call(method: str, parameter: Any, kind: str = "user-defined") -> bytes:
    """Return the body of a call.

    Args:
        method: The name of the method.
        parameter: Its parameter, as `render` takes it.
        kind: "user-defined", or "db" for the portal's generic methods.
    """
    return render({"type": kind, "name": method, "param": parameter}).encode("utf-8")


# --- answers -------------------------------------------------------------------------------------


def is_page(content_type: str, body: bytes) -> bool:
    """Return whether an answer is a web page, such as one that asks to sign in."""
    kind = content_type.partition(";")[0].strip().lower()
    beginning = body[:1024].lstrip(b"\xef\xbb\xbf")
    if kind in ("text/html", "application/xhtml+xml"):
        return _DATA.match(beginning) is None
    return _PAGE.match(beginning) is not None


def parse(body: bytes) -> Any:
    """Return the value that an answer holds, by what it is and not by its Content-Type.

    Raises:
        MalformedAnswer: It is neither JSON nor the portal's XML, or holds too many values.
    """
    beginning = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not beginning:
        raise MalformedAnswer("it is empty")
    if beginning.startswith(b"<"):
        return _XMLReader().read(body)
    return _parse_json(body)


def _parse_json(body: bytes) -> Any:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MAX_VALUES:
        raise MalformedAnswer("it holds too many values")
    # A number of a million digits takes minutes to convert, where Python sets no limit itself.
    parse_int = None if hasattr(sys, "set_int_max_str_digits") else _read_json_integer
    try:
        return json.loads(body, parse_int=parse_int, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    raise MalformedAnswer("it is neither valid JSON nor XML")


def _read_json_integer(text: str) -> int:
    if len(text) > 2 * _MAX_DIGITS:
        raise ValueError("an integer is too long")
    return int(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


class _XMLReader:
    """Reads one XML document. A document type and entities are refused (no "billion laughs")."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        # One frame for each open element: its tag, its container or attribute name, and its value.
        self._stack: list[_Element] = [_Element("", "")]
        self._count = 0

    def read(self, body: bytes) -> Any:
        """Return the value of the document."""
        problem = ""
        try:
            self._parser.Parse(body, True)
        except (expat.ExpatError, ValueError, LookupError):
            problem = "it is not valid XML"
        except MalformedAnswer as caught:
            problem = str(caught)
        if problem:
            raise MalformedAnswer(problem)
        root = self._stack[0]
        if not root.has_value:
            raise MalformedAnswer("its XML holds no value")
        return root.value

    def _refuse(self, *_: Any) -> None:
        raise MalformedAnswer("its XML declares a document type or entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        parent = self._stack[-1]
        self._count += 1
        if self._count > _MAX_VALUES or len(self._stack) > _MAX_DEPTH:
            raise MalformedAnswer("it holds too many values")
        if tag not in _CHILDREN.get(parent.tag, ()):
            raise MalformedAnswer("its XML has an element in the wrong place")
        element = _Element(tag, attributes.get("id", ""))
        if tag == "obj":
            element.value, element.has_value = {}, True
            if "class" in attributes:
                element.value["$class"] = attributes["class"]
        elif tag == "list":
            element.value, element.has_value = [], True
        elif tag == "val":
            element.parts = []
        self._stack.append(element)

    def _characters(self, text: str) -> None:
        element = self._stack[-1]
        if element.parts is not None:
            element.parts.append(text)
        elif text.strip():
            raise MalformedAnswer("its XML has text in the wrong place")

    def _end(self, tag: str) -> None:
        element = self._stack.pop()
        parent = self._stack[-1]
        value = "".join(element.parts) if element.parts is not None else element.value
        if tag == "att":
            parent.value[element.name] = value
        elif parent.tag == "list":
            parent.value.append(value)
        elif parent.has_value:
            raise MalformedAnswer("its XML has two values in one place")
        else:
            parent.value, parent.has_value = value, True


#: What may stand in each element. "" is the document.
_CHILDREN: dict[str, tuple[str, ...]] = {
    "": ("obj", "list", "val"),
    "obj": ("att",),
    "att": ("obj", "list", "val"),
    "list": ("obj", "list", "val"),
}


class _Element:
    """An open XML element."""

    __slots__ = ("has_value", "name", "parts", "tag", "value")

    def __init__(self, tag: str, name: str) -> None:
        self.tag = tag
        self.name = name
        self.value: Any = None
        self.has_value = False
        self.parts: list[str] | None = None


# --- values --------------------------------------------------------------------------------------


def read_text(value: Any) -> str | None:
    """Return a text, or None for null.

    Raises:
        MalformedAnswer: JSON says that it is something else than a text.
    """
    if value is None or isinstance(value, str):
        return value
    raise MalformedAnswer("a text is expected where it has something else")


def read_integer(value: Any) -> int | None:
    """Return an integer from 0 to 2**63 - 1, or None for null and for an empty text.

    Raises:
        MalformedAnswer: It is not an integer. -1, which stands for "none" in places, is None.
    """
    number: Any = value
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        digits = text[1:] if text.startswith("-") else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
            raise MalformedAnswer("a number is expected where it has something else")
        number = int(text)
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if number is None or (number == -1 and not isinstance(number, bool)):
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MAX_INTEGER:
        raise MalformedAnswer("a number is expected where it has something else")
    return number


def read_boolean(value: Any) -> bool | None:
    """Return a boolean, or None for null.

    Raises:
        MalformedAnswer: It is neither.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise MalformedAnswer("true or false is expected where it has something else")

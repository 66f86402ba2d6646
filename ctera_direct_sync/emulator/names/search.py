"""The filters of a search: by name, by extension, by content."""

from __future__ import annotations

from typing import Any, Callable

from .calls import RequestError
from .describe import extension_of
from .nodes import Node

#: The largest file that is read for a search by content, in bytes.
_MAX_SEARCHED_BYTES = 16 * 1024 * 1024

Filter = Callable[[Node], bool]


def parse_filter(value: Any) -> Filter:
    """Return what a SearchFilter accepts.

    Raises:
        RequestError: The portal has no such filter.
    """
    if not isinstance(value, dict):
        raise RequestError(500, "A search filter is an object")
    field, operator = value.get("field"), value.get("operator")
    text = str(value.get("value") or "")
    if field == "name" and operator in ("eq", "neq", "contains"):
        return name_filter(str(operator), text)
    if field == "extension" and operator in ("eq", "neq"):
        return _extension_filter(str(operator), text)
    if field == "content" and operator == "contains":
        return lambda node: _content_contains(node, text)
    raise RequestError(500, f"A search cannot filter {field} by {operator}")


def name_filter(operator: str, text: str) -> Filter:
    """Return what a filter of names accepts. Case does not count."""
    wanted = text.lower()
    if operator == "contains":
        return lambda node: wanted in node.name.lower()
    if operator == "eq":
        return lambda node: node.name.lower() == wanted
    return lambda node: node.name.lower() != wanted


def _extension_filter(operator: str, text: str) -> Filter:
    wanted = text.lower().lstrip(".")

    def accepts(node: Node) -> bool:
        if node.is_folder:
            return False
        return (extension_of(node.name).lower() == wanted) is (operator == "eq")

    return accepts


def _content_contains(node: Node, text: str) -> bool:
    source = node.state.source
    if source is None or source.size > _MAX_SEARCHED_BYTES:
        return False
    return text.encode("utf-8").lower() in bytes(source.read(0, source.size)).lower()

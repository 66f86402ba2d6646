"""The fault matrix of the calls for names: what goes wrong at the portal, and what must come of it.

Each `NamesRow` is a fault. Each call of `CALLS` meets it at the request that its `Call` names, which is not
the first page of a listing if it has several: a listing that is cut there would be a short one.
`names_cells.py` runs the cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Callable, NamedTuple

from ctera_direct_sync import Namespace
from ctera_direct_sync.emulator import faults
from tests.faults.matrix import RECOVERED, RETRIES, soon

SUFFIXES = "0123456789AB"
#: The user's cloud folder. Pages hold five entries, so that most listings have several.
TREE: dict[str, Any] = {
    "many": {f"file {suffix}.txt": b"x" for suffix in SUFFIXES},
    "deep": {
        "a": {f"file {suffix}.txt": b"x" for suffix in SUFFIXES[:7]},
        "b": {f"file {suffix}.txt": b"x" for suffix in SUFFIXES[:7]},
        "c.txt": b"x",
    },
    "old.txt": b"first",
}
PAGE_CAP = 5
#: Cloud folders beside the user's own: the portal gives 50 on a page.
CLOUD_FOLDERS = 60

MANY, DEEP, OLD = "/My Files/many", "/My Files/deep", "/My Files/old.txt"


class Call(NamedTuple):
    """A call of a Namespace, and where it meets a fault."""

    run: Callable[[Namespace], Iterator[Any]]
    """Makes the call, and yields its results."""
    request: str
    """The call of the portal's API that meets the fault."""
    skip: int = 0
    """How many such requests pass before."""
    context: str = "ServicesPortal"
    """The context of the Namespace."""
    path: str | None = None
    """The path that the error of the call names."""


CALLS: dict[str, Call] = {
    "sign-in": Call(lambda names: iter([names.stat(OLD).path]), "login"),
    "stat": Call(lambda names: iter([names.stat(OLD).path]), "fetchResources", path=OLD),
    "listdir": Call(
        lambda names: (entry.path for entry in names.listdir(MANY)), "fetchResources", 1, path=MANY
    ),
    "walk": Call(lambda names: (entry.path for entry in names.walk(DEEP)), "fetchResources", 2),
    "search": Call(
        lambda names: (entry.path for entry in names.search("/My Files/many", name="file")),
        *("fetchResources", 1),
        path=MANY,
    ),
    "versions": Call(
        lambda names: (version.path for version in names.versions(OLD)), "listSnapshots", path=OLD
    ),
    "folders": Call(
        lambda names: (folder.folder_id for folder in names.folders()), "query", 1, "admin"
    ),
}

LISTINGS = ("listdir", "walk", "search")
PAGES = (*LISTINGS, "folders")
RESOURCES = ("stat", *LISTINGS)


class NamesRow(NamedTuple):
    """A fault, and what must come of it."""

    group: str
    """The part of the page."""
    name: str
    """What goes wrong."""
    action: faults.Action
    """What the portal does."""
    times: int | None
    """How many requests meet it, or None for all."""
    outcome: str
    """`recovered`, or the class of the error."""
    by_call: Mapping[str, str] = MappingProxyType({})
    """The outcome of calls that differ."""
    calls: tuple[str, ...] = tuple(CALLS)
    """The calls that meet the fault."""
    xml: bool = False
    """Whether the portal answers in XML alone."""


class NamesCell(NamedTuple):
    """A fault met by one call."""

    row: NamesRow
    call: str


def _both(
    group: str, name: str, action: faults.Action, outcome: str, **more: Any
) -> Iterator[NamesRow]:
    """Return the rows of a passing fault, which is recovered from, and of one that stays."""
    by_call = more.pop("by_call", {})
    once = more.pop("once", {})
    yield NamesRow(group, f"{name}, once", action, 1, RECOVERED, once, **more)
    yield NamesRow(group, f"{name}, always", action, None, outcome, by_call, **more)


# --- the connection ------------------------------------------------------------------------------


def _connection() -> Iterator[NamesRow]:
    group = "Names: the connection"
    refused, late = "NamespaceConnectionError", "NamespaceTimeout"
    for name, action, outcome in (
        ("reset before headers", faults.reset(), refused),
        ("reset mid-body", faults.reset(10), refused),
        ("closed before headers", faults.cut(), refused),
        ("closed mid-body", faults.cut(10), refused),
        ("closed before the last byte", faults.short(1), refused),
        ("chunked, cut", faults.chunked(cut=10), refused),
        ("stall before headers", faults.stall(), late),
        ("stall mid-body", faults.stall(10), late),
        ("garbage for a status line", faults.garbage(), refused),
        ("Content-Length too large", faults.content_length(10**7), refused),
    ):
        yield from _both(group, name, action, outcome)
    for name, action in (
        ("chunked", faults.chunked()),
        ("gzip Content-Encoding", faults.gzip_encoding()),
        ("no Content-Length", faults.content_length(None)),
        ("called text/html", faults.headers({"Content-Type": "text/html"})),
        ("called text/plain", faults.headers({"Content-Type": "text/plain"})),
    ):
        yield NamesRow(group, name, action, None, RECOVERED)


# --- statuses ------------------------------------------------------------------------------------

#: A refused password is never sent again, so a sign-in that meets one of these fails at once.
_REFUSED = {"sign-in": "LoginError"}


def _statuses() -> Iterator[NamesRow]:
    group = "Names: statuses"
    page = "/ServicesPortal/login.html"
    for name, action in (
        ("302 to the login page", faults.redirect(page)),
        ("302 elsewhere", faults.redirect("https://login.example.com/?state=x")),
        ("307 without a Location", faults.status(307)),
        ("401", faults.status(401)),
        ("200 with an HTML page", faults.page()),
    ):
        yield from _both(group, name, action, "LoginError", once=_REFUSED)
    yield NamesRow(group, "403", faults.status(403), None, "AccessDeniedError", _REFUSED)
    for code in (400, 404):
        yield NamesRow(group, f"{code}", faults.status(code), None, "NamespaceError", _REFUSED)
    yield NamesRow(group, "204", faults.status(204), None, "NamespaceError", _REFUSED)
    words = b'<obj class="Error"><att id="msg"><val>It cannot be</val></att></obj>'
    # A listing is asked for once more, in small pages.
    yield NamesRow(group, "500 with a message, always", faults.status(500, {}, words), None,
                   "NamespaceError", _REFUSED)  # fmt: skip
    for code in (429, 500, 502, 503):
        yield from _both(group, f"{code}", faults.status(code), "NamespaceError")
    for name, wait in (("in seconds", "0"), ("as a date", soon())):
        yield NamesRow(group, f"429, Retry-After {name}, once",
                       faults.status(429, {"Retry-After": wait}), 1, RECOVERED)  # fmt: skip
    yield NamesRow(group, "503, Retry-After past the time allowed",
                   faults.status(503, {"Retry-After": "86400"}), None, "NamespaceError")  # fmt: skip


# --- documents -----------------------------------------------------------------------------------

_NESTED = b'{"items": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
_BOMB = b'<!DOCTYPE a [<!ENTITY b "%s">]><val>&b;</val>' % (b"x" * 1000)
#: A sign-in counts by status and cookie: what its body says does not matter.
_BODY = {"sign-in": RECOVERED}


def _padded(body: bytes) -> bytes:
    return b'{"padding": "' + b"x" * 70_000_000 + b'", ' + body.lstrip()[1:]


def _documents() -> Iterator[NamesRow]:
    group = "Names: answers"
    data = tuple(call for call in CALLS if call != "sign-in")
    for name, action in (
        ("truncated JSON", faults.replace(lambda body: body[:-9])),
        ("JSON of another shape", faults.replace(b"7")),
        ("empty body", faults.replace(b"")),
        ("not UTF-8", faults.replace(b'{"items": "\xff\xfe\xfa"}')),
        ("deeply nested", faults.replace(_NESTED)),
        ("a number of 5,000 digits", faults.replace(b'{"items": ' + b"9" * 5000 + b"}")),
        ("too many values", faults.replace(b"[" + b"0," * 1_000_001 + b"0]")),
    ):
        yield from _both(group, name, action, "NamespaceError", by_call=_BODY)
    yield NamesRow(group, "70 MB", faults.replace(_padded), None, "NamespaceError",
                   calls=("stat", "listdir"))  # fmt: skip
    for name, action in (
        ("truncated XML", faults.replace(lambda body: body[:-9])),
        ("XML with entities", faults.replace(_BOMB)),
        ("XML of another shape", faults.replace(b"<val>x</val>")),
    ):
        yield from _both(group, name, action, "NamespaceError", by_call=_BODY, xml=True)
    error = b'<?xml version="1.0"?><obj class="Error"><att id="msg"><val>No</val></att></obj>'
    yield from _both(group, "an error in XML, as 200", faults.replace(error), "NamespaceError",
                     calls=data)  # fmt: skip
    yield NamesRow(group, "unknown members", edited(surprise=[1]), None, RECOVERED, calls=RESOURCES)


def edited(**members: Any) -> faults.Action:
    """Change members of an answer. One that is `...` is left out."""

    def edit(answer: Any) -> Any:
        return {k: v for k, v in {**answer, **members}.items() if v is not ...}

    return faults.answer(edit)


def edited_items(member: str = "items", **members: Any) -> faults.Action:
    """Change members of the first entry of an answer. One that is `...` is left out."""

    def edit(answer: Any) -> Any:
        items = answer[member] or [answer["root"]]
        first = {k: v for k, v in {**items[0], **members}.items() if v is not ...}
        if answer[member]:
            return {**answer, member: [first, *items[1:]]}
        return {**answer, "root": first}

    return faults.answer(edit)


def _entries() -> Iterator[NamesRow]:
    group = "Names: entries"
    error = "NamespaceError"
    for kind, expected in (
        ("DestinationNotExists", "PathNotFoundError"), ("PermissionDenied", "AccessDeniedError"),
        ("Conflict", error), (7, error),
    ):  # fmt: skip
        yield NamesRow(group, f"errorType {kind}", edited(errorType=kind, items=[], hasMore=False),
                       None, expected, calls=RESOURCES)  # fmt: skip
    for name, action in (
        ("hasMore missing", edited(hasMore=...)), ("hasMore null", edited(hasMore=None)),
        ("hasMore a word", edited(hasMore="perhaps")),
    ):  # fmt: skip
        yield from _both(group, name, action, error, calls=PAGES)
    yield from _both(group, "items an object", edited(items={"a": 1}), error, calls=LISTINGS)
    yield from _both(group, "an item that is null", edited(items=[None]), error, calls=LISTINGS)
    for name, action in (
        ("a name that is a number", edited_items(name=7)),
        ("a folder flag that is missing", edited_items(isFolder=...)),
        ("a folder flag that is a number", edited_items(isFolder=1)),
        ("a file ID that is a word", edited_items(fileId="seven")),
        ("a file ID of 2**63", edited_items(fileId=2**63)),
        ("a size that is negative", edited_items(isFolder=False, size=-5)),
    ):
        yield from _both(group, name, action, error, calls=RESOURCES)
    for name, value in (("..", ".."), (".", "."), ("with a slash", "../../etc/passwd")):
        action = edited_items(name=value, href=None)
        yield from _both(group, f"a name {name}", action, error, calls=LISTINGS)
    yield NamesRow(group, "empty pages that promise more", edited(items=[], hasMore=True), None,
                   error, calls=LISTINGS)  # fmt: skip
    yield NamesRow(group, "an empty page that promises more, once", edited(items=[], hasMore=True),
                   1, RECOVERED, calls=LISTINGS)  # fmt: skip


def _rows() -> Iterator[NamesRow]:
    yield from _connection()
    yield from _statuses()
    yield from _documents()
    yield from _entries()


ROWS: tuple[NamesRow, ...] = tuple(_rows())
CELLS: tuple[NamesCell, ...] = tuple(
    NamesCell(row, call) for row in ROWS for call in CALLS if call in row.calls
)


def expected(cell: NamesCell) -> str:
    """Return what must come of a cell."""
    row, call = cell
    if call not in row.calls:
        return "not concerned"
    return row.by_call.get(call, row.outcome)


def name_of(cell: NamesCell) -> str:
    """Return a test's ID for a cell."""
    return f"{cell.row.name}: {cell.call}".replace(" ", "-")


#: Requests after the usual ones that a call may make.
MAX_EXTRA_REQUESTS = 2 * (RETRIES + 1)

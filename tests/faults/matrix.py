"""The fault matrix: what goes wrong, and what must come of it by every way in.

One :class:`Row` per fault. ``outcome`` is ``recovered``, or the exception's class. Where a fault lies
with a block, ``stream`` and file objects wrap it into a StreamError; where it lies with the portal it
is what every call raises. :func:`expected` says it for each cell; ``cells.py`` runs them.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.emulator.bodies import BytesBody
from ctera_direct_sync.emulator.messages import Response
from tests.faults import odd_ranges

RECOVERED = "recovered"

#: The ways in, in the table's order.
WAYS = ("metadata", "blocks", "iter_blocks", "stream", "download", "open", "CLI")

#: Attempts after the first in every cell: so a fault met three times is met for ever.
RETRIES = 2

#: Seconds of silence that are a timeout where something stalls.
TIMEOUT = 0.4

SIZE = 6_000
#: Blocks of lengths of their own, so that one under another's URL is seen.
BLOCK_SIZES = (1000, 1100, 1200, 1300, 1400)
DATA = SyntheticSource(SIZE, seed=11).read(0, SIZE)

NATIVE: dict[str, Any] = {"native": True}
GCM: dict[str, Any] = {"cipher": "AES-GCM"}
GZIP: dict[str, Any] = {"cipher": None, "compression": "GZIP"}
PLAIN: dict[str, Any] = {"cipher": None, "compression": "NONE"}


class World(NamedTuple):
    """What a fault is arranged in: the emulator, the file's ID, and another host's emulator."""

    emulator: Emulator
    file_id: int
    other: Emulator


Arrange = Callable[[World], None]


class Row(NamedTuple):
    """A fault: its group and name, how to arrange it, and what must come of it.

    ``options``: how the file is stored. ``requests``: how many the broken side gets at most by a way
    in that asks once (the listing, or block 2); None where it does not matter. ``secret``: another
    secret access key for the client. ``data``: the file; other than ``DATA``, it is one whose objects go
    in parts, and the fault is one of ranges. ``around``: what is there meanwhile, such as a proxy.
    ``by_way``: outcomes of ways in that differ.
    """

    group: str
    name: str
    arrange: Arrange
    outcome: str
    options: dict[str, Any]
    requests: int | None
    secret: str | None = None
    data: bytes = DATA
    around: Callable[[World], contextlib.AbstractContextManager[object]] | None = None
    by_way: Mapping[str, str] = MappingProxyType({})

    @property
    def ranged(self) -> bool:
        """Whether only requests for a range meet the fault."""
        return self.data is not DATA

    @property
    def at_portal(self) -> bool:
        """Whether the listing itself fails."""
        return self.group.startswith("Portal")


class Cell(NamedTuple):
    """A fault met by one way in."""

    row: Row
    way: str


# --- where a fault is put ------------------------------------------------------------------------------


def on_block(action: faults.Action, times: int | None = None) -> Arrange:
    """Block 2 (of native files, the only one) meets ``action``; ``times`` None: for ever."""

    def arrange(world: World) -> None:
        native = world.emulator.files[world.file_id].blocks == 1
        world.emulator.faults.add(
            "storage", world.file_id, 1 if native else 2, times=times, action=action
        )

    return arrange


def on_listing(action: faults.Action, times: int | None = None) -> Arrange:
    """The portal meets ``action`` when it is asked for the file."""

    def arrange(world: World) -> None:
        world.emulator.faults.add("portal", world.file_id, times=times, action=action)

    return arrange


def edited(edit: Callable[[Any], Any], times: int | None = None) -> Arrange:
    """The listing is changed on its way."""
    return on_listing(faults.listing(edit), times)


def chunk(**members: Any) -> Arrange:
    """Block 2 is listed otherwise; a member that is None is left out."""

    def edit(listing: Any) -> Any:
        listing["chunks"][1].update(members)
        listing["chunks"][1] = {k: v for k, v in listing["chunks"][1].items() if v is not None}
        return listing

    return edited(edit)


def url_of_block(change: Callable[[str], str]) -> Arrange:
    """Block 2's URL is another."""

    def edit(listing: Any) -> Any:
        listing["chunks"][1]["url"] = change(listing["chunks"][1]["url"])
        return listing

    return edited(edit)


def to_another_host(where: str) -> faults.Action:
    """Redirect to the same place under another host name."""

    def run(exchange: Any, _: Any) -> None:
        host = exchange.request.host.replace("127.0.0.1", "localhost")
        location = f"http://{host}{exchange.target}"
        exchange.send(Response(302, {"Location": location}, BytesBody(b"")))

    return faults.Action(f"redirect {where} elsewhere", run)


def closed_port() -> int:
    """A closed port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refused_storage(url: str) -> str:
    """A block's URL at a closed port."""
    return f"http://127.0.0.1:{closed_port()}/" + url.split("/", 3)[3]


def soon() -> str:
    """An HTTP date of the past second: a Retry-After that is over."""
    return email.utils.formatdate(time.time() - 1, usegmt=True)


def other_version(listing: Any) -> Any:
    """A listing of the same file after it was rewritten with other lengths."""
    listing["chunks"][0]["len"] += 1
    return listing


def expired_once(edit: Callable[[Any], Any]) -> Arrange:
    """Block 2's URL is refused once; the listing that follows is changed."""

    def arrange(world: World) -> None:
        on_block(faults.status(403), 1)(world)
        world.emulator.faults.add(
            "portal", world.file_id, skip=1, times=None, action=faults.listing(edit)
        )

    return arrange


def replaced_meanwhile(world: World) -> None:
    """The file is another by the time that a block's URL is refused."""

    def run(exchange: Any, _: Any) -> None:
        with_other_blocks = {"block_size": 777}
        world.emulator.replace(world.file_id, DATA[::-1], **with_other_blocks)
        exchange.send(Response(403, {}, BytesBody(b"")))

    world.emulator.faults.add("storage", world.file_id, 2, action=faults.Action("replace", run))


HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


# --- the table -----------------------------------------------------------------------------------------


def _rows() -> Iterator[Row]:
    yield from _storage_connection()
    yield from _storage_status()
    yield from _storage_body()
    yield from _storage_native()
    yield from odd_ranges.rows()
    yield from _storage_urls()
    # They take from here what rows are made of.
    from tests.faults import networks, own_events, portal_rows

    yield from portal_rows.rows()
    yield from networks.rows()
    yield from own_events.rows()


def both(
    group: str, name: str, action: faults.Action, outcome: str, options: dict[str, Any],
    attempts: int = RETRIES + 1,
) -> Iterator[Row]:  # fmt: skip
    """Return the rows of a passing fault, which is recovered from, and of one that stays."""
    put = on_listing if group.startswith("Portal") else on_block
    yield Row(group, f"{name}, once", put(action, 1), RECOVERED, options, 2)
    yield Row(group, f"{name}, always", put(action), outcome, options, attempts)


def _storage_connection() -> Iterator[Row]:
    group = "Storage: the connection"
    yield Row(group, "connection refused", url_of_block(refused_storage),
              "DownloadConnectionError", {}, 0)  # fmt: skip
    yield Row(group, "no such host",
              url_of_block(lambda url: "http://storage.invalid/" + url.split("/", 3)[3]),
              "DownloadConnectionError", {}, 0)  # fmt: skip
    for name, action, outcome in (
        ("reset before headers", faults.reset(), "DownloadConnectionError"),
        ("reset mid-body", faults.reset(100), "DownloadConnectionError"),
        ("closed before headers", faults.cut(), "DownloadConnectionError"),
        ("closed mid-body", faults.cut(100), "DownloadError"),
        ("stall before headers", faults.stall(), "DownloadTimeout"),
        ("stall mid-body", faults.stall(100), "DownloadTimeout"),
        ("garbage for a status line", faults.garbage(), "DownloadError"),
    ):
        yield from both(group, name, action, outcome, {})


def _storage_status() -> Iterator[Row]:
    group = "Storage: statuses"
    for code in (408, 429, 500, 502, 503, 504):
        yield from both(group, f"{code}", faults.status(code), "DownloadError", {})
    yield Row(group, "429, Retry-After in seconds, once",
              on_block(faults.status(429, {"Retry-After": "0"}), 1), RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "503, Retry-After as a date, once",
              on_block(faults.status(503, {"Retry-After": soon()}), 1), RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "503, Retry-After past the time allowed",
              on_block(faults.status(503, {"Retry-After": "86400"})), "DownloadError", {}, 1)  # fmt: skip
    for code in (400, 401, 403):
        yield Row(group, f"{code}, URL refused once", on_block(faults.status(code), 1),
                  RECOVERED, {}, 2)  # fmt: skip
        yield Row(group, f"{code}, URL refused always", on_block(faults.status(code)),
                  "DownloadError", {}, 4)  # fmt: skip
    yield Row(group, "404", on_block(faults.status(404)), "DownloadError", {}, 1)
    yield Row(group, "204", on_block(faults.status(204)), "DownloadError", {}, 1)
    yield Row(group, "418", on_block(faults.status(418)), "DownloadError", {}, 1)
    yield Row(group, "redirect to another host, once", on_block(to_another_host("storage"), 1),
              RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "redirect loop", on_block(faults.redirect()), "DownloadError", {}, 6)
    for scheme in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/"):
        yield Row(group, f"redirect to {scheme.partition(':')[0]}:",
                  on_block(faults.redirect(scheme)), "DownloadError", {}, 1)  # fmt: skip
    yield Row(group, "redirect without a Location",
              on_block(faults.status(302)), "DownloadError", {}, 1)  # fmt: skip
    yield Row(group, "file changed while it was read", replaced_meanwhile,
              "DownloadError", {}, 1)  # fmt: skip
    yield Row(group, "URL refused, then listed with other lengths", expired_once(other_version),
              "DownloadError", {}, 1)  # fmt: skip


def _storage_body() -> Iterator[Row]:
    group = "Storage: the body"
    yield from both(group, "short body", faults.short(1), "DownloadError", {})
    yield Row(group, "more bytes than Content-Length", on_block(faults.long()), RECOVERED, {}, 1)
    yield from both(group, "Content-Length too small", faults.content_length(150),
                     "DecryptBlockError", {}, 2)  # fmt: skip
    yield from both(group, "Content-Length too large", faults.content_length(2000),
                     "DownloadError", {})  # fmt: skip
    yield from both(group, "Content-Length of 1 TB", faults.content_length(10**12),
                     "BlockValidationException", {}, 2)  # fmt: skip
    yield from both(group, "negative Content-Length", faults.content_length("-5"),
                     "DownloadError", {})  # fmt: skip
    yield Row(group, "no Content-Length", on_block(faults.content_length(None)), RECOVERED, {}, 1)
    yield Row(group, "chunked", on_block(faults.chunked()), RECOVERED, {}, 1)
    yield from both(group, "chunked, cut", faults.chunked(cut=50), "DownloadError", {})
    yield Row(group, "gzip Content-Encoding", on_block(faults.gzip_encoding()), RECOVERED, {}, 1)
    for label in ("br", "aws-chunked", "gzip"):
        yield Row(group, f"the right bytes, labelled {label}",
                  on_block(faults.headers({"Content-Encoding": label})), RECOVERED, {}, 1)  # fmt: skip
    yield from both(group, "a coding that cannot be taken off",
                     faults.replace(lambda body: body[::-1], {"Content-Encoding": "br"}),
                     "DownloadError", {}, 2)  # fmt: skip
    page = faults.replace(HTML, {"Content-Type": "text/html"})
    yield from both(group, "200 with an HTML page", page, "DownloadError", {}, 2)
    yield from both(group, "empty body", faults.replace(b""), "DecryptBlockError", {}, 2)
    for name in ("x-goog-hash", "x-amz-checksum-crc32c", "x-amz-checksum-crc32",
                 "x-amz-checksum-crc64nvme"):  # fmt: skip
        yield from both(group, f"bit flipped, {name}", faults.corrupt(), "DownloadError",
                         {"checksums": (name,)})  # fmt: skip
    yield from both(group, "bit flipped, AES-GCM", faults.corrupt(), "DecryptBlockError", GCM, 2)
    yield from both(group, "bit flipped, AES-CBC padding", faults.corrupt(at=-17),
                     "DecryptBlockError", {}, 2)  # fmt: skip
    yield from both(group, "bit flipped, gzip", faults.corrupt(at=-5), "DecompressBlockError",
                     GZIP, 2)  # fmt: skip
    yield from both(group, "another block's object", faults.swap(3),
                     "BlockValidationException", {}, 2)  # fmt: skip
    yield from both(group, "another block's object, AES-GCM", faults.swap(3),
                     "DecryptBlockError", GCM, 2)  # fmt: skip
    yield from both(group, "inflates past its length", faults.replace(_bomb()),
                     "BlockValidationException", GZIP, 2)  # fmt: skip
    yield from both(group, "more than a block can be", faults.replace(bytes(200_000)),
                     "BlockValidationException", {}, 2)  # fmt: skip


def _bomb() -> bytes:
    import gzip

    return gzip.compress(bytes(20_000_000))


def _storage_native() -> Iterator[Row]:
    group = "Storage: native format"
    for name, action, outcome in (
        ("reset mid-body", faults.reset(100), "DownloadConnectionError"),
        ("stall mid-body", faults.stall(100), "DownloadTimeout"),
        ("short body", faults.short(1), "DownloadError"),
        ("503", faults.status(503), "DownloadError"),
    ):
        yield from both(group, name, action, outcome, NATIVE)
    yield Row(group, "403, URL refused once", on_block(faults.status(403), 1), RECOVERED, NATIVE, 2)
    yield Row(group, "longer than listed", on_block(faults.replace(DATA + b"x")),
              "BlockValidationException", NATIVE, 2)  # fmt: skip
    yield Row(group, "shorter than listed", on_block(faults.replace(DATA[:-1])),
              "BlockValidationException", NATIVE, 2)  # fmt: skip


def _storage_urls() -> Iterator[Row]:
    group = "Storage: listed URLs"
    for name, url in (
        ("file:", "file:///etc/passwd"),
        ("ftp:", "ftp://127.0.0.1/object"),
        ("empty host", "http:///object"),
        ("user:password@", "http://user:password@127.0.0.1/object"),
        ("no scheme", "127.0.0.1/object"),
        ("malformed port", "http://127.0.0.1:port/object"),
        ("malformed host", "http://[::1/object"),
        ("line break in the host", "http://127.0.0.1\r\nX: y/object"),
    ):
        change = url
        yield Row(
            group, name, url_of_block(lambda _, change=change: change), "DownloadError", {}, 0
        )


ROWS: tuple[Row, ...] = tuple(_rows())
CELLS: tuple[Cell, ...] = tuple(Cell(row, way) for row in ROWS for way in WAYS)


def expected(cell: Cell) -> str:
    """What must come of a cell."""
    row, way = cell
    if row.outcome == RECOVERED:
        return RECOVERED
    if not concerned(cell):
        return "not concerned"
    if way in row.by_way:
        return row.by_way[way]
    if way == "CLI":
        return "exit 1"
    if way == "stream" and not row.at_portal:
        return f"StreamError ({row.outcome})"
    return row.outcome


def concerned(cell: Cell) -> bool:
    """Whether the entry point comes across the fault: ``blocks`` asks for whole objects."""
    if cell.way == "metadata":
        return cell.row.at_portal
    return cell.way != "blocks" or not cell.row.ranged


def name_of(cell: Cell) -> str:
    """A test's ID for a cell."""
    side = cell.row.group.partition(":")[0].lower()
    group = "native " if cell.row.options == NATIVE else ""
    group = "range " if cell.row.ranged else group
    return f"{side}: {group}{cell.row.name}: {cell.way}".replace(" ", "-")


assert len({name_of(cell) for cell in CELLS}) == len(CELLS), json.dumps(
    sorted(name_of(cell) for cell in CELLS)
)

"""The matrix's rows for ranges that a storage, or a proxy before it, answers oddly.

The file is one plaintext object of two parts, so every entry point but ``blocks`` asks for ranges. The
faults leave other requests alone.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ctera_direct_sync._protocol.ranges import PART_SIZE
from ctera_direct_sync.emulator import SyntheticSource, faults

if TYPE_CHECKING:
    from tests.faults.matrix import Row

GROUP = "Storage: ranges answered oddly"
SIZE = PART_SIZE + 4321
DATA = SyntheticSource(SIZE, seed=12).read(0, SIZE)

_BROTLI = {"Content-Encoding": "br"}


def of_ranges(action: faults.Action) -> faults.Action:
    """Return the action for requests with a Range; others get the right answer."""

    def run(exchange: faults.Exchange, fault: faults.Fault) -> None:
        if "Range" in exchange.request.headers:
            action.run(exchange, fault)
        else:
            exchange.send(exchange.respond())

    return faults.Action(action.kind, run)


def framed(framing: str, missing: int = 0) -> faults.Action:
    """Answer with the right part, whose end is told by chunks or by the connection's end."""

    def run(exchange: faults.Exchange, _: faults.Fault) -> None:
        faults.send_framed(exchange, exchange.respond(), framing, missing)

    return faults.Action("framed", run)


#: Answers out of which the right bytes can be read with certainty.
HARMLESS: dict[str, faults.Action] = {
    "200 with the whole object": faults.ignore_range(),
    "200, chunked": faults.ignore_range("chunked"),
    "200, to the connection's end": faults.ignore_range("close"),
    "200, gzip, chunked": faults.ignore_range("chunked", coding="gzip"),
    "200, deflate, chunked": faults.ignore_range("chunked", coding="deflate"),
    "200, labelled gzip": faults.ignore_range(headers={"Content-Encoding": "gzip"}),
    "200, labelled aws-chunked": faults.ignore_range(headers={"Content-Encoding": "aws-chunked"}),
    "200, labelled br, chunked": faults.ignore_range("chunked", headers=_BROTLI),
    "206, labelled gzip": faults.headers({"Content-Encoding": "gzip"}),
    "206, labelled aws-chunked": faults.headers({"Content-Encoding": "aws-chunked"}),
    "206, chunked": framed("chunked"),
    "206, to the connection's end": framed("close"),
}

#: Answers that are not the part: an error, once they come as often as the policy allows.
HARMFUL: dict[str, faults.Action] = {
    "200 with an HTML page": faults.page(),
    "200 with an HTML page, chunked": faults.page(framing="chunked"),
    "200 with an HTML page, to the connection's end": faults.page(framing="close"),
    "200, chunked, cut": faults.ignore_range("chunked", cut=1),
    "200, to the connection's end, cut": faults.ignore_range("close", cut=1),
    "200, gzip, chunked, cut": faults.ignore_range("chunked", coding="gzip", cut=1),
    "200, gzip, to the connection's end, cut": faults.ignore_range("close", coding="gzip", cut=1),
    "206, a part that is coded": faults.gzip_encoding(),
    "206, a coded part, labelled br": faults.replace(lambda body: gzip.compress(body, 1), _BROTLI),
    "206, multipart/byteranges": faults.multipart(),
    "206 without Content-Range": faults.headers({"Content-Range": None}),
    "206, another range": faults.headers({"Content-Range": f"bytes 1-{SIZE - 1}/{SIZE}"}),
    "206, another unit": faults.headers({"Content-Range": f"items 0-{SIZE - 1}/{SIZE}"}),
    "206, longer than asked": faults.replace(lambda body: body + b"x"),
    "206, shorter than asked": faults.replace(lambda body: body[:-1]),
    "206, to the connection's end, cut": framed("close", missing=1),
}

#: Those that the matrix also meets once, to see that another attempt cures each way to fail.
_ALSO_ONCE = frozenset(
    {
        "200 with an HTML page, chunked",
        "200, gzip, chunked, cut",
        "206, a part that is coded",
        "206, another range",
        "206, to the connection's end, cut",
    }
)


def rows() -> Iterator[Row]:
    """Yield each answer: the harmless ones always, the others once and always."""
    # Imported here: the matrix is made of these rows, among others.
    from tests.faults.matrix import NATIVE, RECOVERED, RETRIES, Row, on_block

    # Two parts, each with all its attempts, and a third one that another worker may have begun.
    requests = 3 * (RETRIES + 1)
    for name, action in HARMLESS.items():
        yield Row(GROUP, name, on_block(of_ranges(action)), RECOVERED, NATIVE, None, data=DATA)
    for name, action in HARMFUL.items():
        fault = of_ranges(action)
        if name in _ALSO_ONCE:
            once = on_block(fault, 1)
            yield Row(GROUP, f"{name}, once", once, RECOVERED, NATIVE, None, data=DATA)
        yield Row(GROUP, f"{name}, always", on_block(fault), "DownloadError", NATIVE,
                  requests, data=DATA)  # fmt: skip

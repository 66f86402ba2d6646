"""Ranges answered oddly, by both routes: the right bytes or an error, never other bytes."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import requests

from ctera_direct_sync import ByteRange, DirectIO, Settings
from ctera_direct_sync._protocol import answers
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import BlockError, DirectIOError, DownloadError
from tests.faults import odd_ranges, ways

SIZE = 50_000
DATA = SyntheticSource(SIZE, seed=13).read(0, SIZE)
WANTED = ByteRange(1000, 1999)
#: Entry points that ask for the range alone.
EXACT = {"stream": ways.stream, "download": ways.download, "to_file": ways.to_file}


class Session(requests.Session):
    """Not a plain session, so that requests' own route is taken."""


@pytest.fixture(params=[None, Session], ids=["fast", "session"])
def client(request: pytest.FixtureRequest, make_client: Callable[..., DirectIO]) -> DirectIO:
    """A client of either route that tries twice."""
    return make_client(session=request.param, retries=1)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A plaintext object."""
    return portal.add(DATA, native=True)


def always(portal: Emulator, action: faults.Action) -> None:
    """Let every request to the storage meet the action."""
    portal.faults.add("storage", times=None, action=action)


def cause_of(error: BaseException) -> BaseException:
    """The block's error, whether or not a stream's is around it."""
    return error if isinstance(error, BlockError) else error.__cause__ or error


# --- a part ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", EXACT)
@pytest.mark.parametrize("answer", odd_ranges.HARMLESS)
def test_harmless_answer(
    portal: Emulator, client: DirectIO, file_id: int, answer: str, way: str
) -> None:
    """An answer out of which the part can be read with certainty gives it, at the first attempt."""
    always(portal, odd_ranges.HARMLESS[answer])
    assert EXACT[way](client, file_id, WANTED) == {1000: DATA[1000:2000]}
    assert portal.log.total("storage") == 1


@pytest.mark.parametrize("way", EXACT)
@pytest.mark.parametrize("answer", [*odd_ranges.HARMFUL, "206, of another size"])
def test_harmful_answer(
    portal: Emulator, client: DirectIO, file_id: int, answer: str, way: str
) -> None:
    """Any other answer is tried again, and then an error that names the file."""
    total = {"Content-Range": f"bytes 1000-1999/{SIZE + 1}"}
    always(portal, {**odd_ranges.HARMFUL, "206, of another size": faults.headers(total)}[answer])
    with pytest.raises(DirectIOError) as caught:
        EXACT[way](client, file_id, WANTED)
    assert isinstance(cause_of(caught.value), BlockError)
    assert caught.value.filename == file_id
    assert portal.log.total("storage") == 2


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (faults.page(), "HTML page"),
        (faults.page(framing="chunked"), "HTML page"),
        (odd_ranges.HARMFUL["206, a part that is coded"], "Content-Encoding 'gzip'"),
        (odd_ranges.HARMFUL["206, a coded part, labelled br"], "Content-Encoding 'br'"),
        (faults.multipart(), "multipart/byteranges"),
        (faults.headers({"Content-Range": "bytes 0-99/100"}), "'bytes 0-99/100'"),
        (faults.replace(lambda body: body + b"x"), "1001 bytes came, where 1000"),
        (faults.ignore_range("close", cut=1), "ended after 49999 of the object's 50000 bytes"),
    ],
)
def test_the_error_says_what_came(
    portal: Emulator, client: DirectIO, file_id: int, action: faults.Action, told: str
) -> None:
    """The error tells a page from a wrong range, and a coding by its name."""
    always(portal, action)
    with pytest.raises(DownloadError) as caught:
        ways.download(client, file_id, WANTED)
    assert told in str(caught.value)


def test_a_page_of_just_the_length(portal: Emulator, client: DirectIO) -> None:
    """A page as long as the object is refused, where other parts of it were not pages."""
    file_id = portal.add(odd_ranges.DATA, native=True)
    page = faults.page(b"<html>".ljust(odd_ranges.SIZE))
    portal.faults.add("storage", skip=1, times=None, action=page)
    with pytest.raises(DirectIOError) as caught:
        list(client.stream(file_id, max_workers=1))
    assert "HTML page" in str(caught.value)


def test_a_web_page_that_is_the_file(portal: Emulator, client: DirectIO) -> None:
    """A file that is a web page itself is read like any other, whole and in parts."""
    data = b"<html>" + DATA
    file_id = portal.add(data, native=True)
    for action in (faults.headers({}), faults.ignore_range("chunked")):
        page = _typed(action, "text/html")
        portal.faults.clear()
        always(portal, page)
        assert ways.stream(client, file_id) == {0: data}
        assert ways.stream(client, file_id, WANTED) == {1000: data[1000:2000]}


def _typed(action: faults.Action, content_type: str) -> faults.Action:
    """``action``, under another Content-Type."""
    if action.kind == "ignore_range":
        return faults.ignore_range("chunked", headers={"Content-Type": content_type})
    return faults.headers({"Content-Type": content_type})


@pytest.mark.parametrize("session", [None, Session], ids=["fast", "session"])
def test_the_same_over_tls(quick: Settings, session: Any) -> None:
    """Under TLS a body that the connection ends is counted as well, and cut ones are errors."""
    with Emulator(tls=True) as portal:
        file_id = portal.add(DATA, native=True)
        quick.retries = 0
        quick.api.ssl = quick.storage.ssl = str(portal.ca_bundle)
        keys = portal.url, portal.access_key_id, portal.secret_access_key
        with DirectIO(*keys, settings=quick, session=session) as client:
            for action in odd_ranges.HARMLESS.values():
                portal.faults.clear()
                always(portal, action)
                assert ways.stream(client, file_id, WANTED) == {1000: DATA[1000:2000]}
            for action in odd_ranges.HARMFUL.values():
                portal.faults.clear()
                always(portal, action)
                with pytest.raises(DirectIOError):
                    ways.stream(client, file_id, WANTED)


# --- codings: which reading is right -------------------------------------------------------------------


def both_ways() -> tuple[bytes, bytes]:
    """A plaintext, and a gzip member of it that is exactly as long."""
    for count in range(1, 200):
        data = os.urandom(count) + bytes(40)
        packed = gzip.compress(data, mtime=0)
        if len(packed) <= len(data):
            # The comment of a gzip header may have any length (RFC 1952, section 2.3).
            spare = len(data) - len(packed) - 1
            if spare >= 0:
                head = packed[:3] + bytes([0x10]) + packed[4:10]
                return data, head + b"c" * spare + b"\0" + packed[10:]
    raise AssertionError("no such pair")


@pytest.mark.parametrize("whole", [True, False])
def test_two_readings_that_fit(portal: Emulator, client: DirectIO, whole: bool) -> None:
    """Where bytes have the listed length with their coding and without it, neither is delivered."""
    data, packed = both_ways()
    assert (len(packed), gzip.decompress(packed)) == (len(data), data)
    file_id = portal.add(data, native=True)
    label = {"Content-Encoding": "gzip"}
    if whole:
        always(portal, faults.replace(packed, label))
        wanted = None
    else:
        answer = faults.Response(200, label, faults.BytesBody(packed))
        always(portal, faults.Action("both", lambda exchange, _: exchange.send(answer)))
        wanted = ByteRange(1, 20)
    with pytest.raises(DirectIOError, match="gzip"):
        ways.stream(client, file_id, wanted)


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("aws-chunked, gzip", gzip.compress),
        ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
        ("aws-chunked", bytes),
        ("UTF-8", bytes),
        ("binary", bytes),
        ("identity, identity", bytes),
        ("gzip", bytes),
        ("deflate", bytes),
        ("br", bytes),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"native": True},
        {"block_size": 9000},
        {"block_size": 9000, "compression": "GZIP", "cipher": None},
        {"block_size": 9000, "compression": "SNAPPY", "cipher": None},
        {"block_size": 9000, "compression": "NONE"},
        {"block_size": 9000, "cipher": "AES-GCM"},
    ],
    ids=["native", "CBC", "gzip", "snappy", "CBC alone", "GCM"],
)
def test_whole_objects(
    portal: Emulator, client: DirectIO, label: str, code: Callable[[bytes], bytes], options: Any
) -> None:
    """A whole object is read as the label means it, be it a coding or the object's metadata."""
    file_id = portal.add(DATA, **options)
    always(portal, faults.replace(code, {"Content-Encoding": label}))
    assert ways.stream(client, file_id) == {0: DATA}
    assert ways.download(client, file_id) == {0: DATA}


@pytest.mark.parametrize("label", ["gzip", "aws-chunked", "br"])
@pytest.mark.parametrize("options", [{"native": True}, {"block_size": 9000}])
def test_whole_objects_that_fit_no_reading(
    portal: Emulator, client: DirectIO, label: str, options: Any
) -> None:
    """An object that is not the listed one in any reading is an error that names the coding."""
    file_id = portal.add(DATA, **options)
    always(portal, faults.replace(lambda body: body[:-5], {"Content-Encoding": label}))
    with pytest.raises(DownloadError, match=f"Content-Encoding '{label}'"):
        ways.download(client, file_id)


def test_gzip_file_stored_as_gzip(portal: Emulator, client: DirectIO) -> None:
    """A .gz file whose metadata say gzip is delivered as it is stored, whole and in parts."""
    data = gzip.compress(DATA)
    file_id = portal.add(data, native=True)
    always(portal, faults.headers({"Content-Encoding": "gzip"}))
    assert ways.stream(client, file_id) == {0: data}
    assert ways.stream(client, file_id, WANTED) == {1000: data[1000:2000]}


# --- bounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [faults.ignore_range("chunked"), faults.ignore_range(headers={"Content-Encoding": "gzip"})],
)
def test_a_large_object_that_must_be_counted(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
    action: faults.Action,
) -> None:
    """Above a bound a whole object is not read for each of its parts: the error says what is needed."""
    monkeypatch.setattr(answers, "_MAX_COUNTED_BYTES", SIZE - 1)
    always(portal, action)
    with pytest.raises(DownloadError, match="serves ranges"):
        ways.download(client, file_id, WANTED)


def test_a_page_in_place_of_a_large_object(
    portal: Emulator, client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page without a length is called a page, however large the object is."""
    monkeypatch.setattr(answers, "_MAX_COUNTED_BYTES", SIZE - 1)
    always(portal, faults.page(framing="chunked"))
    with pytest.raises(DownloadError, match="HTML page"):
        ways.download(client, file_id, WANTED)


def test_a_block_that_its_object_cannot_hold(portal: Emulator, client: DirectIO) -> None:
    """No memory is set aside for a listed length that the object cannot inflate to."""
    file_id = portal.add(DATA, block_size=SIZE)

    def grow(listing: Any) -> Any:
        listing["chunks"][0]["len"] = 1024 * 1024 * 1024
        return listing

    portal.faults.add("portal", times=None, action=faults.listing(grow))
    error = client.blocks(file_id)[0].exception(30)
    assert "cannot hold a block of 1073741824" in str(error)
    assert getattr(error, "errno", None) == errno.EIO


def test_a_whole_object_beyond_memory(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A whole object that no memory holds is an error of its block that says how to read it."""

    def grow(listing: Any) -> Any:
        listing["chunks"][0]["len"] = 2**50
        return listing

    portal.faults.add("portal", times=None, action=faults.listing(grow))
    always(portal, faults.content_length(2**50))
    error = client.blocks(file_id)[0].exception(30)
    assert isinstance(error, DownloadError)
    assert error.errno == errno.ENOMEM
    assert "in parts" in str(error)

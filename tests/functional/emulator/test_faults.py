"""Every fault, as it looks on the wire."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import zlib
from urllib.parse import urlsplit

import pytest

from ctera_direct_sync.emulator import Emulator, faults

SIZE = 30_000


@pytest.fixture
def fail(emulator, block_url, file_id, receive):
    """Set a fault for block 1, and take what the storage sends for it."""

    def provoke(action, **headers):
        url = block_url(emulator, file_id)
        emulator.faults.add("storage", file_id, 1, action=action)
        return receive(url, **headers)

    return provoke


@pytest.fixture
def right(data):
    """The body without a fault."""
    return data[:SIZE]


def test_no_fault(emulator, block_url, file_id, receive, right):
    """Without a fault the object comes, and the connection ends as asked."""
    got = receive(block_url(emulator, file_id))
    assert got.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 30000" in got.head
    assert (got.body, got.end) == (right, "eof")


@pytest.mark.parametrize("code", [403, 404, 408, 429, 500, 503, 599])
def test_status(fail, emulator, code):
    """Any status, with its headers and body; the log names it and the fault."""
    got = fail(faults.status(code, {"Retry-After": "7"}, b"<html>"))
    assert got.head.startswith(b"HTTP/1.1 %d " % code)
    assert b"\r\nRetry-After: 7\r\n" in got.head
    assert (got.body, got.end) == (b"<html>", "eof")
    record = emulator.requests[-1]
    assert (record.status, record.fault, record.sent) == (code, "status", 6)


def test_status_without_a_body(fail):
    """204 has neither a body nor a Content-Length (RFC 9110, 8.6)."""
    got = fail(faults.status(204))
    assert b"Content-Length" not in got.head
    assert got.body == b""


def test_delay(fail, right):
    """A delayed answer is the right one."""
    assert fail(faults.delay(0.01)).body == right


def test_delay_ends_with_the_emulator(block_url, session):
    """A delay of hours does not keep the emulator from stopping."""
    with Emulator() as emulator:
        url = block_url(emulator, emulator.add(b"x"))
        fault = emulator.faults.add("storage", action=faults.delay(10_000))
        thread = threading.Thread(target=_swallow, args=(session, url))
        thread.start()
        assert fault.entered.wait(30)
    thread.join(30)
    assert not thread.is_alive()


def test_reset_before_headers(fail, emulator):
    """A reset comes instead of a response."""
    assert fail(faults.reset()) == (b"", "reset")
    assert emulator.requests[-1].status is None


@pytest.mark.parametrize("after", [0, 1, 20_000])
def test_reset_in_the_body(fail, right, after):
    """A reset comes after at most that part of the body."""
    got = fail(faults.reset(after))
    assert got.end == "reset"
    assert right[:after].startswith(got.body)


def test_cut_before_headers(fail):
    """The connection is closed instead of a response."""
    assert fail(faults.cut()) == (b"", "eof")


@pytest.mark.parametrize("after", [0, 1, 20_000, 29_999])
def test_cut_in_the_body(fail, right, after):
    """The connection is closed after exactly that part of the promised length."""
    got = fail(faults.cut(after))
    assert b"\r\nContent-Length: 30000" in got.head
    assert (got.body, got.end) == (right[:after], "eof")


def test_stall_before_headers(emulator, block_url, file_id, receive, right):
    """Nothing comes until the fault is released; then the right answer does."""
    hold = emulator.faults.add("storage", action=faults.stall())
    got = []
    url = block_url(emulator, file_id)
    thread = threading.Thread(target=lambda: got.append(receive(url)))
    thread.start()
    assert hold.wait(1)
    assert emulator.requests[-1].status is None
    assert emulator.log.in_flight("storage") == 1
    hold.release()
    thread.join(30)
    assert got[0].body == right


def test_stall_in_the_body(emulator, block_url, file_id, right):
    """A part comes, then nothing until the fault is released, then the rest."""
    hold = emulator.faults.add("storage", action=faults.stall(after=1000))
    parts = urlsplit(block_url(emulator, file_id))
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    response = connection.getresponse()
    assert response.read(1000) == right[:1000]
    assert hold.entered.wait(30)
    assert emulator.requests[-1].sent == 1000
    hold.release()
    assert response.read() == right[1000:]
    connection.close()


def test_stall_counts_whom_it_holds(emulator, block_url, file_id, receive):
    """A test can wait until so many requests are held."""
    hold = emulator.faults.add("storage", times=None, action=faults.stall())
    url = block_url(emulator, file_id)
    threads = [threading.Thread(target=receive, args=(url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert hold.wait(3)
    assert emulator.log.most_in_flight("storage") == 3
    assert not hold.wait(4, timeout=0)
    hold.release()
    for thread in threads:
        thread.join(30)
    assert hold.hits == 3


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_stall_ends_with_the_emulator(block_url, session, data, after):
    """A held request does not keep the emulator from stopping."""
    with Emulator() as emulator:
        url = block_url(emulator, emulator.add(data))
        hold = emulator.faults.add("storage", action=faults.stall(after))
        thread = threading.Thread(target=_swallow, args=(session, url))
        thread.start()
        assert hold.wait(1)
    thread.join(30)
    assert not thread.is_alive()


def test_short(fail, right):
    """The last bytes lack under the full Content-Length."""
    got = fail(faults.short(missing=5))
    assert b"\r\nContent-Length: 30000" in got.head
    assert (got.body, got.end) == (right[:-5], "eof")


def test_long(fail, right):
    """More bytes come than the Content-Length says."""
    got = fail(faults.long(b"more"))
    assert b"\r\nContent-Length: 30000" in got.head
    assert got.body == right + b"more"


@pytest.mark.parametrize("value", [0, 29_999, 30_001, -1, "many", 10**30])
def test_content_length(fail, right, value):
    """Any Content-Length goes, with the whole body."""
    got = fail(faults.content_length(value))
    assert f"\r\nContent-Length: {value}".encode() in got.head
    assert (got.body, got.end) == (right, "eof")


def test_no_content_length(fail, right):
    """A body without a length ends with the connection."""
    got = fail(faults.content_length(None))
    assert b"Content-Length" not in got.head
    assert (got.body, got.end) == (right, "eof")


def test_chunked(emulator, session, block_url, file_id, right):
    """Chunked transfer encoding is understood by a client, and the connection lives on."""
    url = block_url(emulator, file_id)
    emulator.faults.add("storage", action=faults.chunked(size=777))
    replies = [session.get(url) for _ in range(2)]
    assert [reply.content for reply in replies] == [right, right]
    assert replies[0].headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in replies[0].headers
    assert emulator.requests[-1].connection == emulator.requests[-2].connection


def test_chunked_and_cut(fail, right):
    """A chunked body may lack its end."""
    got = fail(faults.chunked(cut=1500, size=1000))
    assert got.body == b"3e8\r\n" + right[:1000] + b"\r\n1f4\r\n" + right[1000:1500] + b"\r\n"
    assert got.end == "eof"


def test_gzip_encoding(fail, right):
    """A content encoding that was not asked for is declared, and holds the body."""
    got = fail(faults.gzip_encoding())
    assert b"\r\nContent-Encoding: gzip\r\n" in got.head
    assert gzip.decompress(got.body) == right


def test_garbage(fail):
    """Bytes that are not HTTP come as they are."""
    assert fail(faults.garbage(b"\0nonsense")) == (b"\0nonsense", "eof")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect(fail, code):
    """A redirect names its target."""
    got = fail(faults.redirect("http://127.0.0.1:1/x", code))
    assert got.head.startswith(b"HTTP/1.1 %d " % code)
    assert b"\r\nLocation: http://127.0.0.1:1/x" in got.head


def test_redirect_to_itself(emulator, session, block_url, file_id):
    """A redirect without a target is a loop, as long as the fault lasts."""
    url = block_url(emulator, file_id)
    emulator.faults.add("storage", times=3, action=faults.redirect())
    reply = session.get(url)
    assert reply.status_code == 200
    assert [each.status_code for each in reply.history] == [302, 302, 302]


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ({}, [15_000]),
        ({"bits": 3}, [5_000, 15_000, 25_000]),
        ({"at": 0}, [0]),
        ({"at": -1}, [29_999]),
    ],
    ids=str,
)
def test_corrupt(fail, right, arguments, changed):
    """Bits are flipped where asked for, and nowhere else."""
    got = fail(faults.corrupt(**arguments)).body
    assert len(got) == SIZE
    assert [at for at in range(SIZE) if got[at] != right[at]] == changed
    assert all(bin(got[at] ^ right[at]).count("1") == 1 for at in changed)


def test_corrupt_large_objects(emulator, session, block_url):
    """A flipped bit of a large body is found wherever the pieces it is sent in are cut."""
    whole = bytes(600_000)
    file_id = emulator.add(whole, native=True)
    emulator.faults.add("storage", action=faults.corrupt(at=262_144))
    got = session.get(block_url(emulator, file_id)).content
    assert (got[:262_144], got[262_144], got[262_145:]) == (bytes(262_144), 1, bytes(337_855))


def test_swap(fail, data):
    """Another block's object comes under the URL."""
    assert fail(faults.swap(3)).body == data[60_000:90_000]


def test_replace(fail, right):
    """Another body, or one made of the right one, comes under its own length."""
    got = fail(faults.replace(b"<html>", {"Content-Type": "text/html"}))
    assert got.body == b"<html>"
    assert b"\r\nContent-Type: text/html\r\n" in got.head
    assert b"\r\nContent-Length: 6" in got.head
    assert fail(faults.replace(lambda body: body[:-1])).body == right[:-1]


def test_headers(fail, right):
    """Headers are added, changed and removed, whatever their case."""
    got = fail(faults.headers({"etag": '"other"', "X-New": "1", "Accept-Ranges": None}))
    assert b'\r\netag: "other"\r\n' in got.head
    assert b"\r\nX-New: 1\r\n" in got.head
    assert b"ETag" not in got.head
    assert b"Accept-Ranges" not in got.head
    assert got.body == right


def test_throttle(fail, right):
    """A throttled body is the right one."""
    assert fail(faults.throttle(3_000_000)).body == right


def test_ignore_range(fail, right):
    """A range request is answered with the whole object and 200."""
    got = fail(faults.ignore_range(), Range="bytes=5-9")
    assert got.head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Range" not in got.head
    assert got.body == right


def test_listing(emulator, listing, file_id):
    """A listing is edited on its way."""

    def edit(document):
        document["chunks"][0]["len"] = -1
        del document["compression_type"]
        return document

    emulator.faults.add("portal", action=faults.listing(edit))
    edited, plain = listing(emulator, file_id), listing(emulator, file_id)
    assert edited["chunks"][0]["len"] == -1
    assert "compression_type" not in edited
    assert plain["chunks"][0]["len"] == SIZE


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.status(503),
        lambda: faults.reset(3),
        lambda: faults.cut(3),
        faults.short,
        lambda: faults.replace(b"[" * 10),
        faults.chunked,
        faults.gzip_encoding,
        lambda: faults.corrupt(at=0),
    ],
)
def test_portal_faults(emulator, file_id, receive, make):
    """Faults are for the portal too."""
    emulator.faults.add("portal", file_id, action=make())
    headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
    url = f"{emulator.url}/directio/{file_id}"
    assert _listed(receive(url, **headers)) is None
    assert _listed(receive(url, **headers))["compression_type"] == "NONE"


def test_only_who_is_meant(emulator, session, block_url, file_id, data):
    """A fault meets only requests of its place, file and block."""
    other = emulator.add(data, cipher=None, compression="NONE", block_size=SIZE)
    emulator.faults.add("storage", file_id, 2, times=None, action=faults.status(500))
    got = {
        (each, block): session.get(block_url(emulator, each, block)).status_code
        for each in (file_id, other)
        for block in (1, 2, 3)
    }
    assert got.pop((file_id, 2)) == 500
    assert set(got.values()) == {200}


def test_skip_and_times(emulator, session, block_url, file_id):
    """A fault lets some pass, meets as many as told, and then is over."""
    url = block_url(emulator, file_id)
    fault = emulator.faults.add("storage", skip=2, times=2, action=faults.status(500))
    got = [session.get(url).status_code for _ in range(6)]
    assert got == [200, 200, 500, 500, 200, 200]
    assert fault.hits == 2


def test_the_first_fault_that_fits(emulator, session, block_url, file_id):
    """Faults are met in the order in which they were added, one by a request."""
    url = block_url(emulator, file_id)
    for code in (500, 503):
        emulator.faults.add("storage", action=faults.status(code))
    assert [session.get(url).status_code for _ in range(3)] == [500, 503, 200]


def test_clear(emulator, session, block_url, file_id):
    """Cleared faults are met no more."""
    url = block_url(emulator, file_id)
    emulator.faults.add(times=None, action=faults.status(500))
    assert session.get(url).status_code == 500
    emulator.faults.clear()
    assert session.get(url).status_code == 200


def test_unknown_place(emulator):
    """A place that is none is refused."""
    with pytest.raises(ValueError, match="'portal', 'storage' or None"):
        emulator.faults.add("moon", action=faults.reset())


def test_a_fault_that_fails_says_so(emulator, session, file_id, caplog):
    """A mistake in a fault's function is logged with its traceback, and answered with 500."""
    emulator.faults.add("portal", action=faults.listing(lambda document: document["no such key"]))
    reply = session.get(f"{emulator.url}/directio/{file_id}")
    assert reply.status_code == 500
    assert "no such key" in caplog.text


def _listed(got):
    """Return the listing that was received, or None where there was none to be read."""
    if not got.head.startswith(b"HTTP/1.1 200") or b"Transfer-Encoding" in got.head:
        return None
    try:
        return json.loads(got.body)
    except ValueError:
        return None


def _swallow(session, url):
    """Get a URL of a server that ends meanwhile."""
    try:
        session.get(url, timeout=20)
    except OSError:
        return


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_ignore_range_with_framing_and_coding(fail, right, framing, coding):
    """A range is answered by the whole object, framed and coded as asked."""
    got = fail(faults.ignore_range(framing, coding, {"X-More": "yes"}), Range="bytes=0-9")
    assert got.head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nX-More: yes" in got.head
    assert (b"Transfer-Encoding: chunked" in got.head) == (framing == "chunked")
    assert (b"Content-Length" in got.head) == (framing == "length")
    if framing != "chunked":
        decode = {None: bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}[coding]
        assert decode(got.body) == right


def test_ignore_range_cut(fail, right):
    """The body may lack its end."""
    assert fail(faults.ignore_range("close", cut=10), Range="bytes=0-9").body == right[:-10]


def test_ignore_range_without_a_known_framing(fail, emulator):
    """A framing that is none of the three is the caller's mistake, and answers nothing."""
    assert b"500" in fail(faults.ignore_range("none")).head


@pytest.mark.parametrize("framing", ["length", "close"])
def test_page(fail, framing):
    """A web page comes in place of the object."""
    got = fail(faults.page(b"<html>", framing))
    assert b"Content-Type: text/html" in got.head
    assert got.body == b"<html>"


def test_multipart(fail, right):
    """A range comes as multipart/byteranges, with its own Content-Range inside."""
    got = fail(faults.multipart(), Range="bytes=0-9")
    assert b"Content-Type: multipart/byteranges; boundary=x" in got.head
    assert b"Content-Range: bytes 0-9/30000\r\n\r\n" + right[:10] in got.body

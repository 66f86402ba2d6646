"""The object storage: signatures, lifetimes, ranges."""

from __future__ import annotations

import threading
from xml.etree import ElementTree

import pytest

from ctera_direct_sync.emulator import Emulator


def error_code(reply) -> str:
    """Return the code of an S3 error."""
    assert reply.headers["Content-Type"] == "application/xml"
    return ElementTree.fromstring(reply.content).findtext("Code")


def test_object(emulator, session, block_url, file_id, data):
    """A signed URL gives the object, the same each time."""
    url = block_url(emulator, file_id, 2)
    replies = [session.get(url) for _ in range(2)]
    assert [reply.content for reply in replies] == [data[30_000:60_000]] * 2
    assert replies[0].headers["ETag"] == replies[1].headers["ETag"]
    assert replies[0].headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url.replace("/1?", "/2?"),
        lambda url: url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
        lambda url: url + "&x=1",
        lambda url: url.replace("X-Amz-Signature", "X-Amz-Signatura"),
        lambda url: url.partition("?")[0],
        lambda url: url + "\u00e4",
    ],
)
def test_bad_signature(emulator, session, block_url, file_id, tamper):
    """A URL of which anything was changed is 403."""
    reply = session.get(tamper(block_url(emulator, file_id)))
    assert reply.status_code == 403
    assert error_code(reply) in ("SignatureDoesNotMatch", "AccessDenied")


def test_lifetime(session, block_url):
    """A URL lives as long as it says, and not a moment longer."""
    now = [1_700_000_000.0]
    with Emulator(expire=2.5, clock=lambda: now[0]) as emulator:
        url = block_url(emulator, emulator.add(b"x"))
        assert "X-Amz-Expires=2.5" in url
        now[0] += 2.499
        assert session.get(url).status_code == 200
        now[0] += 0.001
        reply = session.get(url)
        assert (reply.status_code, error_code(reply)) == (403, "AccessDenied")
        assert "expired" in reply.text
        emulator.expire = 10
        assert "X-Amz-Expires=10" in block_url(emulator, 1001)


def test_expire_urls(emulator, session, block_url, file_id):
    """All URLs listed so far expire at once, those listed later do not."""
    old = block_url(emulator, file_id)
    emulator.expire_urls()
    new = block_url(emulator, file_id)
    assert [session.get(url).status_code for url in (old, new)] == [403, 200]


def test_signatures_are_one_emulators(session, block_url, data):
    """Another emulator's URL is 403."""
    with Emulator() as first, Emulator() as second:
        url = block_url(first, first.add(data))
        second.add(data)
        foreign = url.replace(first.storage_url, second.storage_url)
        assert session.get(foreign).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/blocks/1001/1/5",
        "/blocks/1001/1/0",
        "/blocks/1001/2/1",
        "/blocks/9/1/1",
        "/blocks/x",
        "/blocks/",
    ],
)
def test_no_such_object(emulator, session, file_id, path):
    """A signed name without an object is 404."""
    assert file_id == 1001
    reply = session.get(emulator.storage_url + emulator._signer.sign(path))
    assert (reply.status_code, error_code(reply)) == (404, "NoSuchKey")


def test_authorization_is_refused(emulator, session, block_url, file_id):
    """As on S3, a signed URL with an Authorization header beside it is 400, and recorded."""
    reply = session.get(block_url(emulator, file_id), headers={"Authorization": "Bearer x"})
    assert (reply.status_code, error_code(reply)) == (400, "InvalidArgument")
    assert emulator.log.records(where="storage")[0].had_authorization


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=29999-29999", 29_999, 30_000),
        ("bytes=100-", 100, 30_000),
        ("bytes=100-99999999", 100, 30_000),
        ("bytes=-7", 29_993, 30_000),
        ("bytes=-99999999", 0, 30_000),
    ],
)
def test_range(emulator, session, block_url, file_id, data, asked, start, stop):
    """A range is 206 with its bytes and its Content-Range."""
    reply = session.get(block_url(emulator, file_id), headers={"Range": asked})
    assert reply.status_code == 206
    assert reply.content == data[start:stop]
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/30000"
    assert reply.headers["Content-Length"] == str(stop - start)
    assert emulator.requests[-1].range == asked


@pytest.mark.parametrize("asked", ["bytes=30000-", "bytes=30000-30001", "bytes=-0", "bytes=9-8"])
def test_range_not_satisfiable(emulator, session, block_url, file_id, asked):
    """A range without a byte is 416 with the object's size."""
    reply = session.get(block_url(emulator, file_id), headers={"Range": asked})
    assert (reply.status_code, error_code(reply)) == (416, "InvalidRange")
    assert reply.headers["Content-Range"] == "bytes */30000"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "x"])
def test_range_that_is_none(emulator, session, block_url, file_id, data, asked):
    """What is not one range of bytes is disregarded (RFC 9110, 14.2)."""
    reply = session.get(block_url(emulator, file_id), headers={"Range": asked})
    assert (reply.status_code, reply.content) == (200, data[:30_000])


def test_if_match(emulator, session, block_url, file_id, data):
    """The right ETag passes, alone, in a list or as a star; another one is 412."""
    url = block_url(emulator, file_id)
    etag = session.get(url).headers["ETag"]
    for condition in (etag, f'"x", {etag}', "*"):
        headers = {"If-Match": condition, "Range": "bytes=1-2"}
        assert session.get(url, headers=headers).content == data[1:3]
    reply = session.get(url, headers={"If-Match": '"x"'})
    assert (reply.status_code, error_code(reply)) == (412, "PreconditionFailed")


def test_etags_differ(emulator, session, block_url, file_id, data):
    """Blocks, and versions of a file, differ in their ETag."""
    etags = [session.get(block_url(emulator, file_id, block)).headers["ETag"] for block in (1, 2)]
    emulator.replace(file_id, data)
    etags.append(session.get(block_url(emulator, file_id)).headers["ETag"])
    assert len(set(etags)) == 3


def test_one_encoding_serves_all_who_ask(session, data):
    """A block that many ask for at once is encoded once and sent to each."""
    from ctera_direct_sync.emulator.cache import BlockCache

    cache, entered, go = BlockCache(100), threading.Event(), threading.Event()
    made = []

    def make() -> bytes:
        entered.set()
        assert go.wait(30)
        made.append(1)
        return b"x"

    got = []
    threads = [
        threading.Thread(target=lambda: got.append(cache.get("key", make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert entered.wait(30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert (got, made) == ([b"x"] * 4, [1])


def test_cache_keeps_to_its_budget():
    """The least recently used go; what is larger than the budget is never kept."""
    from ctera_direct_sync.emulator.cache import BlockCache

    cache = BlockCache(10)
    made = []

    def get(key: str, size: int) -> None:
        def make() -> bytes:
            made.append(key)
            return bytes(size)

        assert len(cache.get(key, make)) == size

    for key, size in (
        ("a", 4),
        ("b", 4),
        ("a", 4),
        ("c", 4),
        ("a", 4),
        ("b", 4),
        ("d", 11),
        ("d", 11),
    ):
        get(key, size)
    assert made == ["a", "b", "c", "b", "d", "d"]


def test_cache_forgets_a_failure():
    """What cannot be made raises, and is tried again."""
    from ctera_direct_sync.emulator.cache import BlockCache

    cache = BlockCache(10)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: bytes(1 // 0))
    assert cache.get("key", lambda: b"x") == b"x"

"""The server around portal and storage: connections, threads, TLS, the log, memory."""

from __future__ import annotations

import contextlib
import gc
import http.client
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from urllib.parse import urlsplit

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults


def descriptors() -> set[str]:
    """Return this process's open sockets, without those of clients of earlier tests."""
    gc.collect()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return {target for target in found if target.startswith("socket:")}


def test_keep_alive(emulator, session, block_url, file_id):
    """Many requests, refusals included, come by one connection."""
    urls = [block_url(emulator, file_id, block) for block in (1, 2)]
    for url in [*urls, f"{emulator.url}/nowhere", urls[0][:-1]]:
        session.get(url)
    assert len({record.connection for record in emulator.requests}) == 1
    assert len(emulator.requests) == 6


def test_one_port_or_two(session, listing, data):
    """The storage is behind the portal's port or one of its own, where the portal is not."""
    for separate in (False, True):
        with Emulator(separate_storage=separate) as emulator:
            file_id = emulator.add(data, native=True)
            url = listing(emulator, file_id)["chunks"][0]["url"]
            assert (urlsplit(url).port != urlsplit(emulator.url).port) is separate
            assert session.get(url).content == data
            if separate:
                swapped = url.replace(emulator.storage_url, emulator.url)
                assert session.get(swapped).status_code == 404
                portal = f"{emulator.storage_url}/directio/{file_id}"
                assert session.get(portal).status_code == 403


def test_forward_proxy(data):
    """Absolute request targets are served, so that any host name can be the storage's."""
    with (
        Emulator(storage_url="http://acct.blob.core.windows.net") as emulator,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.proxies = {"http": emulator.url}
        file_id = emulator.add(data, native=True)
        listed = session.get(
            f"http://portal.example/directio/{file_id}",
            headers={"Authorization": f"Bearer {emulator.access_key_id}"},
        ).json()
        url = listed["chunks"][0]["url"]
        assert url.startswith("http://acct.blob.core.windows.net/blocks/")
        assert session.get(url).content == data
        assert [record.host for record in emulator.requests] == [
            "portal.example",
            "acct.blob.core.windows.net",
        ]


@pytest.mark.parametrize("separate", [False, True])
def test_tls(session, data, separate):
    """Over TLS, the certificate is trusted by the bundle and by nothing else."""
    with Emulator(tls=True, separate_storage=separate) as emulator:
        assert emulator.url.startswith("https://127.0.0.1:")
        assert emulator.storage_url.startswith("https://127.0.0.1:")
        file_id = emulator.add(data, native=True)
        url = f"{emulator.url}/directio/{file_id}"
        headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
        with pytest.raises(requests.exceptions.SSLError):
            session.get(url, headers=headers)
        session.verify = bundle = emulator.ca_bundle
        listed = session.get(url, headers=headers).json()
        assert session.get(listed["chunks"][0]["url"]).content == data
    assert not os.path.exists(bundle)
    assert emulator.ca_bundle is None


def test_tls_faults(data, block_url, session):
    """Resets and cuts work below TLS; a client that never shakes hands holds up no other."""
    with Emulator(tls=True) as emulator:
        session.verify = emulator.ca_bundle
        file_id = emulator.add(data, native=True)
        url = block_url(emulator, file_id)
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port)):
            for action in (faults.reset(), faults.reset(100), faults.cut(100)):
                emulator.faults.add("storage", action=action)
                with pytest.raises(requests.RequestException):
                    session.get(url)
            assert session.get(url).content == data


def test_tls_needs_trustme(monkeypatch):
    """Without the package that makes certificates, the error names it and the extra."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(RuntimeError, match=r"trustme.*\[emulator\]"):
        Emulator(tls=True).start()


def test_checksums_need_awscrt(emulator, monkeypatch):
    """Without the package that computes them, a checksum's error names it and the extra."""
    monkeypatch.setitem(sys.modules, "awscrt", None)
    file_id = emulator.add(b"x", checksums=["x-amz-checksum-crc32c"])
    version = emulator._catalog.listed(file_id)
    with pytest.raises(RuntimeError, match=r"awscrt.*\[emulator\]"):
        emulator._catalog.stored(file_id, version.number, 1)


@pytest.mark.parametrize("options", [{}, {"tls": True}, {"separate_storage": True}], ids=str)
def test_stop_leaves_nothing(options, data, block_url):
    """No thread and no socket is left, with idle, held and half-open connections."""
    threads, sockets = set(threading.enumerate()), descriptors()
    emulator = Emulator(**options).start()
    file_id = emulator.add(data)
    hold = emulator.faults.add("storage", action=faults.stall(100))
    with requests.Session() as idle, requests.Session() as held:
        for each in (idle, held):
            each.trust_env = False
            each.verify = emulator.ca_bundle or True
        headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
        url = idle.get(f"{emulator.url}/directio/{file_id}", headers=headers).json()["chunks"][0][
            "url"
        ]
        parts = urlsplit(url)
        reply = held.get(url, stream=True)
        assert hold.wait(1)
        with socket.create_connection((parts.hostname, parts.port)):
            emulator.stop()
            assert set(threading.enumerate()) <= threads
        reply.close()
    assert descriptors() <= sockets
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection((parts.hostname, parts.port)),
    ):
        pass


def test_stop_twice_and_start_again(session, block_url, data):
    """A stopped emulator stops again without harm, and starts again under the same URLs."""
    emulator = Emulator(separate_storage=True)
    emulator.stop()
    with emulator:
        file_id = emulator.add(data, native=True)
        url, portal = block_url(emulator, file_id), emulator.url
        with pytest.raises(RuntimeError, match="runs"):
            emulator.start()
    emulator.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = emulator.url
    with emulator:
        assert emulator.url == portal
        assert session.get(url).content == data


def test_port_that_is_taken(emulator):
    """A port that is taken raises, and leaves nothing."""
    threads, sockets = set(threading.enumerate()), descriptors()
    for options in ({}, {"separate_storage": True}):
        with pytest.raises(OSError, match="in use"):
            Emulator(port=urlsplit(emulator.url).port, **options).start()
    assert set(threading.enumerate()) <= threads
    assert descriptors() <= sockets


def test_other_methods(emulator):
    """What is not GET is 501."""
    parts = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("POST", "/directio/1", body=b"x")
    assert connection.getresponse().status == 501
    connection.close()


def test_body_of_a_get_is_no_next_request(emulator, session, block_url, file_id, data):
    """A GET with a body is answered, and its connection closed."""
    url = block_url(emulator, file_id)
    reply = session.get(url, data=b"GET / HTTP/1.1\r\n\r\n")
    assert (reply.content, reply.headers["Connection"]) == (data[:30_000], "close")


def test_log(emulator, session, block_url, file_id):
    """Each request leaves a record without its query, and counts."""
    session.get(f"{emulator.url}/directio/{file_id}")
    session.get(block_url(emulator, file_id, 2), headers={"Range": "bytes=1-5"})
    refused, listed, stored = emulator.requests
    assert (refused.status, listed.status, stored.status) == (401, 200, 206)
    assert (refused.had_authorization, listed.had_authorization) == (False, True)
    assert [record.number for record in emulator.requests] == [1, 2, 3]
    assert (stored.where, stored.method, stored.path) == (
        "storage",
        "GET",
        f"/blocks/{file_id}/1/2",
    )
    assert (stored.file_id, stored.block, stored.range, stored.sent) == (file_id, 2, "bytes=1-5", 5)
    assert emulator.log.records(where="portal", status=200) == [listed]
    assert (emulator.log.total("portal"), emulator.log.total("storage")) == (2, 1)
    emulator.log.clear()
    assert (emulator.requests, emulator.log.total("portal")) == ([], 0)


def test_most_in_flight_is_never_too_many(emulator, block_url, file_id):
    """Clients that each have one request at a time are never seen with more together."""
    url = block_url(emulator, file_id)
    go = threading.Barrier(3)

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            go.wait(30)
            for _ in range(40):
                # A new connection each time: no thread of the server orders these requests.
                assert session.get(url, headers={"Connection": "close"}).status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 1 <= emulator.log.most_in_flight("storage") <= 3
    assert emulator.log.total("storage") == 120


def test_pace(emulator, session, block_url, file_id, data):
    """Latency and rate may be set at any time, and change nothing of the answers."""
    emulator.latency = 0.001
    emulator.rate = 10_000_000
    assert (emulator.latency, emulator.rate) == (0.001, 10_000_000)
    assert session.get(block_url(emulator, file_id)).content == data[:30_000]


def test_silence(emulator, session, block_url, file_id, capfd, caplog):
    """Nothing goes to stderr, no log line holds a key or a query, and none is above debug."""
    caplog.set_level(logging.DEBUG)
    url = block_url(emulator, file_id)
    emulator.faults.add("storage", action=faults.reset())
    with pytest.raises(requests.ConnectionError):
        session.get(url)
    session.get(url[:-1])
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"\xff\xfe nonsense\r\n\r\n")
        connection.recv(100)
    emulator.stop()
    assert capfd.readouterr() == ("", "")
    ours = [record for record in caplog.records if record.name.startswith("ctera_direct_sync")]
    assert ours
    assert {record.levelno for record in ours} == {logging.DEBUG}
    text = "\n".join(record.getMessage() for record in ours)
    for secret in (parts.query[-64:], emulator.access_key_id, emulator.secret_access_key):
        assert secret not in text


def test_repr_shows_no_secret(emulator):
    """The emulator's repr says where it is and how many files it has."""
    assert repr(emulator) == f"<Emulator {emulator.url}, 0 files>"


@pytest.mark.parametrize("tls", [False, True])
def test_fork_keeps_no_connection(data, block_url, session, tls):
    """A forked child holds no copy of a connection: what the parent resets is reset."""
    with Emulator(tls=tls) as emulator:
        session.verify = emulator.ca_bundle or True
        url = block_url(emulator, emulator.add(data))
        assert session.get(url).status_code == 200
        emulator.faults.add("storage", action=faults.reset())
        with forked(), pytest.raises(requests.ConnectionError) as caught:
            session.get(url, timeout=10)  # a child's copy would keep it open: ReadTimeout
        assert not isinstance(caught.value, requests.Timeout)


@contextlib.contextmanager
def forked():
    """Fork a child that lives, and does nothing, until the block is left."""
    end, start = os.pipe()
    with warnings.catch_warnings():
        # Threads of the emulator are running: what a child may do then is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(start)
        os.read(end, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(start)
        os.close(end)
        os.waitpid(child, 0)


def test_large_native_object(emulator, session, listing):
    """A native object far larger than memory is served by ranges."""
    source = SyntheticSource(1 << 40, kind="random")
    file_id = emulator.add(source, native=True)
    (chunk,) = listing(emulator, file_id)["chunks"]
    assert chunk["len"] == 1 << 40
    start = (1 << 39) + 5
    reply = session.get(chunk["url"], headers={"Range": f"bytes={start}-{start + 999}"})
    assert reply.content == source.read(start, 1000)


LARGE = """
import http.client, json, resource, sys, urllib.parse
from ctera_direct_sync.emulator import Emulator, SyntheticSource

def read(connection, target, headers={}):
    connection.request('GET', target, headers=headers)
    response = connection.getresponse()
    size = 0
    while piece := response.read(65536):
        size += len(piece)
        yield piece
    assert response.status == 200

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with Emulator(cache=16 << 20) as emulator:
    file_id = emulator.add(SyntheticSource(3 << 27))
    url = urllib.parse.urlsplit(emulator.url)
    connection = http.client.HTTPConnection(url.hostname, url.port)
    before = peak()
    listing = json.loads(b''.join(read(connection, f'/directio/{file_id}', {
        'Authorization': f'Bearer {emulator.access_key_id}'})))
    for chunk in listing['chunks']:
        for piece in read(connection, chunk['url'].replace(emulator.url, '')):
            pass
    connection.close()
print(sum(chunk['len'] for chunk in listing['chunks']), peak() - before)
"""


@pytest.mark.slow
def test_large_file_in_bounded_memory(record_property):
    """A file of 384 MiB is encoded and served in less than 100 MB on top of what Python takes."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    served, growth = map(int, done.stdout.split())
    record_property("growth", growth)
    assert served == 3 << 27
    assert growth < 100e6


def test_handshake_failure_is_no_error(data, caplog):
    """A client that speaks plain HTTP to a TLS port, or trusts no authority, is let go quietly."""
    caplog.set_level(logging.DEBUG, "ctera_direct_sync")
    with Emulator(tls=True) as emulator:
        parts = urlsplit(emulator.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            connection.recv(100)
        context = ssl.create_default_context()
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            socket.create_connection((parts.hostname, parts.port)) as connection,
        ):
            context.wrap_socket(connection, server_hostname="127.0.0.1")
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}

"""The way to the portal: TLS, proxies, netrc, content codings, and answers that are cut."""

from __future__ import annotations

import socket

import pytest

from ctera_direct_sync import Namespace, NamespaceConnectionError, NamespaceTimeout, Settings
from ctera_direct_sync.emulator import Emulator, faults


@pytest.fixture
def secure():
    """A portal with a certificate of its own authority."""
    with Emulator(tls=True, tree={"a": b"a"}) as emulator:
        yield emulator


def test_tls(secure, quick):
    """A portal's certificate is verified, by the CA bundle of the settings."""
    quick.api.ssl = secure.ca_bundle
    with Namespace(secure.url, secure.username, secure.password, settings=quick) as names:
        assert names.exists("/My Files/a")


def test_tls_that_is_not_trusted(secure, quick):
    """A certificate of an unknown authority is told with what to do, and nothing is sent."""
    names = Namespace(secure.url, secure.username, secure.password, settings=quick)
    with names, pytest.raises(NamespaceConnectionError, match=r"settings\.api\.ssl"):
        names.stat("/")
    assert secure.log.total("portal") == 0


def test_netrc_is_ignored(portal, names, tmp_path, monkeypatch):
    """A netrc file adds no login to a request."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert names.exists("/My Files")
    assert not any(record.had_authorization for record in portal.requests)


def test_proxy_that_is_not_there(portal, names, monkeypatch):
    """A proxy of the environment is used, and named in the error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(NamespaceConnectionError, match="HTTPS_PROXY"):
            names.stat("/")
    assert portal.log.total("portal") == 0


def test_proxy(portal, names, monkeypatch):
    """A portal is reached by way of a proxy; the emulator takes a proxy's requests itself."""
    monkeypatch.setenv("http_proxy", portal.url)
    assert names.exists("/My Files/readme.txt")


def test_compressed_answers(portal, names):
    """An answer may be compressed."""
    portal.faults.add("portal", call="fetchResources", times=None, action=faults.gzip_encoding())
    assert len(list(names.listdir("/My Files"))) == 4
    assert portal.log.records(call="fetchResources")[0].fault is not None


CUTS = {
    "cut": faults.cut(20),
    "reset": faults.reset(20),
    "chunked and cut": faults.chunked(cut=20),
    "garbage": faults.garbage(),
    "page of a proxy": faults.status(502, {"Content-Type": "text/html"}, b"<html>bad gateway"),
}


@pytest.mark.parametrize("action", CUTS.values(), ids=CUTS)
def test_answers_that_are_cut(portal, names, action):
    """An answer that is cut or malformed is asked for again, and never taken for a short listing."""
    portal.faults.add("portal", call="fetchResources", action=action)
    assert len(list(names.listdir("/My Files"))) == 4
    assert len(portal.log.records(call="fetchResources")) == 2


def test_no_answer(portal, make_names):
    """A portal that does not answer is a NamespaceTimeout that names the setting."""
    settings = Settings(retries=1, backoff=0.0)
    settings.api.timeout = (5, 0.05)
    names = make_names(settings=settings)
    portal.faults.add("portal", call="login", times=None, action=faults.stall())
    with pytest.raises(NamespaceTimeout, match=r"settings\.api\.timeout"):
        names.stat("/")
    assert len(portal.log.records(call="login")) == 2


def test_portal_that_is_not_there(quick):
    """A portal that cannot be reached is told with its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        names = Namespace(url, "alice", "pw", settings=quick)
        with names, pytest.raises(NamespaceConnectionError, match=url):
            names.stat("/")


def test_mocked_requests(quick):
    """A mock that replaces requests' adapters sees the calls, and answers them."""
    responses = pytest.importorskip("responses")

    with responses.RequestsMock() as mock:
        root = "https://portal.example.com/ServicesPortal/api"
        mock.post(
            f"{root}/login", "<val>Login succeed</val>", headers={"Set-Cookie": "JSESSIONID=1"}
        )
        folder = {"name": "", "href": "/ServicesPortal/webdav", "isFolder": True}
        mock.post(root, json={"root": folder, "items": [], "hasMore": False, "errorType": None})
        mock.post(f"{root}/logout", "")
        with Namespace("https://portal.example.com", "a", "b", settings=quick) as names:
            assert names.stat("/").is_dir
        assert [call.request.headers.get("Cookie") for call in mock.calls] == [
            None,
            "JSESSIONID=1",
            "JSESSIONID=1",
        ]

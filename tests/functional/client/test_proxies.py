"""Behind a proxy: who is blamed, whom it trusts, what it gets to see, and when it is not asked."""

from __future__ import annotations

import hashlib
import hmac
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.emulator.tls import Certificates
from ctera_direct_sync.exceptions import (
    BlockListConnectionError,
    DirectIOError,
    DownloadConnectionError,
)
from tests.faults import ways
from tests.faults.matrix import closed_port
from tests.support.net import SOCKS, Server, answer, proxy_handler, serving
from tests.support.sessions import hooked

DATA = bytes(range(256)) * 40
HTTPS_PORTAL = "https://portal.example.com"
HTTP_PORTAL = "http://portal.example.com"


def point_to(portal: Emulator, file_id: int, url: str) -> None:
    """Have the portal list ``url`` for every block of the file."""

    def edit(listing: Any) -> Any:
        for chunk in listing["chunks"]:
            chunk["url"] = url
        return listing

    portal.faults.add("portal", file_id, times=None, action=faults.listing(edit))


def listing_error(settings: Settings, url: str) -> DirectIOError:
    """What comes of listing a file of a portal."""
    with DirectIO(url, "key", "c2VjcmV0", settings=settings) as client:
        with pytest.raises(DirectIOError) as caught:
            client.metadata(1)
        return caught.value


def block_error(
    portal: Emulator, make_client: Callable[..., DirectIO], url: str, **more: Any
) -> BaseException:
    """What comes of a block that is listed at ``url``."""
    file_id = portal.add(b"x", native=True)
    point_to(portal, file_id, url)
    error = make_client(**more).blocks(file_id)[0].exception(30)
    assert error is not None
    return error


def use_proxy(monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str = "127.0.0.1") -> None:
    """Have the environment name a proxy for all but the emulator."""
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("https_proxy", url)
    monkeypatch.setenv("no_proxy", no_proxy)


# --- who is blamed -------------------------------------------------------------------------------------

BROKEN = {
    "unknown host": ("http://proxy.invalid:3128", "the proxy's host name does not resolve"),
    "no host": ("http://", "the proxy cannot be used: its URL is malformed"),
    "port": ("http://proxy:port", "the proxy cannot be used: its URL is malformed"),
    "space": ("http://my proxy:80", "the proxy cannot be used: its URL is malformed"),
    "bracket": ("http://[::1", "the proxy cannot be used: its URL is malformed"),
    "scheme": ("ftp://127.0.0.1:21", "its URL's scheme is 'ftp': http, https or socks5 is wanted"),
}


@pytest.mark.parametrize("url", [HTTP_PORTAL, HTTPS_PORTAL])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_proxy_is_blamed_for_a_listing(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, case: str, url: str
) -> None:
    """A proxy that is unknown or malformed is named; the portal's URL is not to be checked."""
    proxy, reason = BROKEN[case]
    use_proxy(monkeypatch, proxy)
    error = listing_error(quick, url)
    assert isinstance(error, BlockListConnectionError)
    assert reason in str(error) and "HTTPS_PROXY" in str(error)
    assert "Check its URL" not in str(error)


@pytest.mark.parametrize("session", [None, requests.Session])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_refuses_is_blamed_for_a_block(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    session: Any, scheme: str,
) -> None:  # fmt: skip
    """If the proxy's port is closed, the block's error names the proxy, not the storage."""
    proxy = f"http://127.0.0.1:{closed_port()}"
    use_proxy(monkeypatch, f"http://user:c0ffee@{proxy[7:]}")
    error = block_error(portal, make_client, f"{scheme}://storage.example/o", session=session)
    assert isinstance(error, DownloadConnectionError)
    assert "the proxy cannot be used: connection refused" in str(error) and proxy in str(error)
    assert "c0ffee" not in str(error) + repr(error)


@pytest.mark.parametrize("session", [None, requests.Session])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_wants_a_login_is_asked_once(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    session: Any, scheme: str,
) -> None:  # fmt: skip
    """A 407, to CONNECT or to a GET, is final, and says that the proxy wants a login."""
    with serving(proxy_handler(login="user:c0ffee")) as proxy:
        use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}")
        error = block_error(portal, make_client, f"{scheme}://storage.example/o", session=session)
    assert "the proxy wants a user name and a password (HTTP 407)" in str(error)
    assert isinstance(error, DownloadConnectionError)
    assert len(proxy.lines) == 1


@pytest.mark.parametrize(("status", "attempts"), [(b"403 No", 1), (b"503 Busy", 4)])
def test_connect_that_is_refused(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    status: bytes, attempts: int,
) -> None:  # fmt: skip
    """A refused CONNECT names the status; it is tried again where the status may pass."""
    with serving(proxy_handler(connect=status)) as proxy:
        use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}")
        error = block_error(portal, make_client, "https://storage.example/o")
    assert f"the proxy refuses the connection (HTTP {status[:3].decode()})" in str(error)
    assert len(proxy.lines) == attempts


def test_other_failures_name_the_proxy_on_the_way(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is not HTTP may be the proxy's, so the message says that there is one."""
    with serving(lambda connection, line, head: connection.sendall(b"SSH-2.0\r\n\r\n")) as proxy:
        use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}")
        error = block_error(portal, make_client, "http://storage.example/o")
    assert f"by way of the proxy http://127.0.0.1:{proxy.port}" in str(error)


# --- SOCKS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [None, requests.Session])
def test_socks_without_pysocks(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    session: Any,
) -> None:  # fmt: skip
    """Without PySocks the error says what to install."""
    monkeypatch.setitem(sys.modules, "socks", None)
    use_proxy(monkeypatch, "socks5h://127.0.0.1:1080")
    error = block_error(portal, make_client, "http://storage.example/o", session=session)
    assert 'pip install "ctera-direct-sync[socks]"' in str(error)


@pytest.fixture
def socks() -> Iterator[Callable[..., SOCKS]]:
    """Makes SOCKS proxies."""
    made: list[SOCKS] = []

    def make(refuse: int = 0) -> SOCKS:
        made.append(SOCKS(refuse))
        return made[-1]

    yield make
    for server in made:
        server.close()


def test_socks(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, socks: Callable[..., SOCKS]
) -> None:
    """A file comes by way of a SOCKS proxy, listing and blocks."""
    pytest.importorskip("socks")
    server = socks()
    use_proxy(monkeypatch, f"socks5h://127.0.0.1:{server.port}", no_proxy="")
    with Emulator() as emulator:
        file_id = emulator.add(DATA, block_size=1000)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=quick) as client:
            assert ways.joined(ways.stream(client, file_id)) == DATA
    assert server.asked


@pytest.mark.parametrize(("refuse", "reason"), [(None, "cannot be used: connection refused"),
                                                (5, "could not connect")])  # fmt: skip
def test_socks_that_fails(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, socks: Callable[..., SOCKS],
    refuse: Any, reason: str,
) -> None:  # fmt: skip
    """A SOCKS proxy that is not there, or that cannot connect, is blamed itself."""
    pytest.importorskip("socks")
    port = closed_port() if refuse is None else socks(refuse).port
    use_proxy(monkeypatch, f"socks5h://127.0.0.1:{port}")
    assert f"the SOCKS proxy {reason}" in str(listing_error(quick, HTTP_PORTAL))


# --- a proxy over TLS ----------------------------------------------------------------------------------


@pytest.fixture
def certificates() -> Iterator[Certificates]:
    """Of an unknown authority."""
    made = Certificates("127.0.0.1")
    yield made
    made.remove()


@pytest.fixture
def tls_proxy(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A proxy over TLS that the environment names for everything."""
    with serving(proxy_handler(), certificates.context) as proxy:
        use_proxy(monkeypatch, f"https://127.0.0.1:{proxy.port}", no_proxy="")
        yield proxy


@pytest.mark.parametrize("trust", ["settings", "environment", "nothing verified"])
@pytest.mark.parametrize("session", [None, requests.Session])
@pytest.mark.parametrize("tls", [False, True])
def test_proxy_over_tls(
    tls_proxy: Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    trust: str, session: Any, tls: bool,
) -> None:  # fmt: skip
    """The CA bundle of the settings or the environment vouches for the proxy as for the servers."""
    with Emulator(tls=tls) as emulator:
        bundle = tmp_path / "ca.pem"
        servers = Path(emulator.ca_bundle).read_bytes() if emulator.ca_bundle else b""
        bundle.write_bytes(Path(certificates.bundle).read_bytes() + servers)
        settings = Settings(retries=0)
        settings.api.ssl = settings.storage.ssl = {
            "settings": str(bundle), "environment": True, "nothing verified": False}[trust]  # fmt: skip
        if trust == "environment":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        file_id = emulator.add(DATA, block_size=1000)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=settings, session=session) as client:
            assert ways.joined(ways.stream(client, file_id)) == DATA
    assert tls_proxy.lines


def test_proxy_whose_authority_is_unknown(tls_proxy: Server, quick: Settings) -> None:
    """The proxy is what is not trusted, and a CA bundle is what helps."""
    error = listing_error(quick, HTTP_PORTAL)
    assert "the proxy's certificate is not trusted" in str(error)
    assert "settings.api.ssl" in str(error) and tls_proxy.connections == 1


def test_proxy_that_does_not_speak_tls(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain proxy under an https:// URL is told apart from an unknown authority."""
    with serving(proxy_handler()) as proxy:
        use_proxy(monkeypatch, f"https://127.0.0.1:{proxy.port}")
        error = listing_error(quick, HTTPS_PORTAL)
    assert "the proxy cannot be used" in str(error) and "does not speak TLS" in str(error)
    assert "-k" not in str(error)


# --- signed URLs ---------------------------------------------------------------------------------------


def sign(target: str) -> str:
    """A signature over the spelling of a target."""
    return hmac.new(b"k", target.encode(), hashlib.sha256).hexdigest()


def strict_storage(connection: Any, line: str, head: bytes) -> None:
    """Answer a target whose signature fits its spelling."""
    target = line.split(" ")[1]
    path, _, signature = target.rpartition("&sig=")
    fits = hmac.compare_digest(signature, sign(path))
    connection.sendall(answer(b"x") if fits else answer(status=b"403 Forbidden"))


TARGETS = (
    "/a%7Eb?e=1",
    "/a?e=2026-01-01T00%3a00%3a00Z",
    "/a%2bb?e=a+b",
    "/a/../b/./c?e=1",
    "/a[1]?e=[2]",
    "//a//b?e=1",
    "/a?e=1?f='\"|^`{}",
    "/a?",
    "/a;p=1?e&&f=",
    "/%zz?e=%",
)
ROUTES = ("direct", "proxy", "SOCKS", "session", "session and proxy", "session used before")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("target", TARGETS)
def test_signed_url_is_sent_as_it_was_listed(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    socks: Callable[..., SOCKS], route: str, target: str,
) -> None:  # fmt: skip
    """A signature covers a URL's spelling, so no route changes it."""
    session = hooked if "session" in route else None
    with serving(strict_storage) as storage, serving(proxy_handler()) as proxy:
        origin = f"http://127.0.0.1:{storage.port}"
        if "proxy" in route:
            use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}", no_proxy="")
        elif route == "SOCKS":
            pytest.importorskip("socks")
            use_proxy(monkeypatch, f"socks5://127.0.0.1:{socks().port}", no_proxy="")
        elif route == "session used before":
            used = hooked()
            used.get(f"{origin}/before").close()
            session = lambda: used  # noqa: E731
        file_id = portal.add(b"x", native=True)
        point_to(portal, file_id, f"{origin}{target}&sig={sign(target)}")
        client = make_client(session=session, retries=0)
        assert b"".join(block.data for block in client.stream(file_id)) == b"x"
        client.close()
        assert len(proxy.lines) == (2 if "proxy" in route else 0)


def test_signed_url_by_connect(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the tunnel through a proxy, the spelling is kept as well."""
    target = "/a%7Eb/../[c]?e=%2b"
    certificates = Certificates("127.0.0.1")
    quick.storage.ssl = certificates.bundle
    try:
        with (
            Emulator() as portal,
            serving(strict_storage, certificates.context) as storage,
            serving(proxy_handler()) as proxy,
        ):
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            file_id = portal.add(b"x", native=True)
            url = f"https://127.0.0.1:{storage.port}{target}&sig={sign(target)}"
            point_to(portal, file_id, url)
            keys = portal.access_key_id, portal.secret_access_key
            with DirectIO(portal.url, *keys, settings=quick) as client:
                assert b"".join(block.data for block in client.stream(file_id)) == b"x"
            assert proxy.lines == [f"CONNECT 127.0.0.1:{storage.port} HTTP/1.0"] or proxy.lines
    finally:
        certificates.remove()


def test_url_that_a_session_changes_on_purpose(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """What a session's own parameters or auth add to a URL is sent."""

    def factory() -> requests.Session:
        session = requests.Session()
        session.params = {"extra": "1"}
        return session

    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as storage:
        file_id = portal.add(b"x", native=True)
        point_to(portal, file_id, f"http://127.0.0.1:{storage.port}/a%7Eb?e=1")
        client = make_client(session=factory)
        assert b"".join(block.data for block in client.stream(file_id)) == b"x"
        client.close()
    assert storage.lines == ["GET /a~b?e=1&extra=1 HTTP/1.1"]


# --- NO_PROXY ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [None, requests.Session])
@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "*.0.0.1, 127.0.0.0/8", "127.0.0.1"])
def test_no_proxy(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    session: Any, form: str,
) -> None:  # fmt: skip
    """A host that NO_PROXY names is asked directly, by listing and by blocks."""
    port = portal.url.rpartition(":")[2]
    use_proxy(monkeypatch, "http://proxy.invalid:1", no_proxy=form.format(port=port))
    file_id = portal.add(DATA, block_size=1000)
    client = make_client(session=session)
    assert ways.joined(ways.stream(client, file_id)) == DATA


def test_no_proxy_of_another_port(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry with a port is for that port alone."""
    use_proxy(monkeypatch, "http://proxy.invalid:1", no_proxy="127.0.0.1:1")
    with pytest.raises(BlockListConnectionError, match="the proxy's host name"):
        make_client().metadata(1)


# --- netrc ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "hooked", "something else"])
@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("redirected", [False, True])
def test_netrc_login_never_goes_to_the_storage(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, kind: str, through: bool, redirected: bool,
) -> None:  # fmt: skip
    """A user's login for a host is not sent with a signed URL, on no route and after no redirect."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    class Getter:
        def get(self, url: str, **options: Any) -> requests.Response:
            return requests.get(url, **options)

        def close(self) -> None:
            pass

    def handle(connection: Any, line: str, head: bytes) -> None:
        if redirected and "/first" in line:
            extra = b"Location: /second?s=1\r\n"
            connection.sendall(answer(extra=extra, status=b"302 Found"))
        else:
            connection.sendall(answer(b"x"))

    factory: Any = {"plain": requests.Session, "hooked": hooked, "something else": Getter}[kind]
    with serving(handle) as storage, serving(proxy_handler()) as proxy:
        if through:
            use_proxy(monkeypatch, f"http://127.0.0.1:{proxy.port}", no_proxy="")
        file_id = portal.add(b"x", native=True)
        point_to(portal, file_id, f"http://127.0.0.1:{storage.port}/first?s=1")
        client = make_client(session=factory)
        assert b"".join(block.data for block in client.stream(file_id)) == b"x"
        client.close()
    assert len(storage.heads) == 1 + redirected
    assert not any(b"authorization" in head.lower() for head in storage.heads)

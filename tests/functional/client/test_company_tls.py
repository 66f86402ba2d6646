"""TLS in companies: client certificates, and the operating system's trust store."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from ctera_direct_sync import DirectIO, Namespace, Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.exceptions import DirectIOError
from ctera_direct_sync.settings import Endpoint
from tests.support.net import proxy_handler, serving
from tests.support.sessions import hooked

DATA = bytes(range(256)) * 40


class MutualTLS(Emulator):
    """An emulator that wants a client certificate of an authority, for everything."""

    def __init__(self, authority: trustme.CA) -> None:
        self._authority = authority
        super().__init__(tls=True)

    def _listen(self, address: Any, *roles: Any) -> Any:
        if self._certificates is not None:
            self._authority.configure_trust(self._certificates.context)
            self._certificates.context.verify_mode = ssl.CERT_REQUIRED
        return super()._listen(address, *roles)


@pytest.fixture
def authority() -> trustme.CA:
    """The authority of client certificates."""
    return trustme.CA()


@pytest.fixture
def pem(authority: trustme.CA, tmp_path: Path) -> str:
    """A client certificate with its key."""
    issued = authority.issue_cert("client@example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return str(tmp_path / "client.pem")


def read(emulator: Emulator, endpoint: Endpoint, session: Any = None) -> bytes:
    """Read a file of an emulator, with an endpoint for portal and storage."""
    file_id = emulator.add(DATA, block_size=1000)
    settings = Settings(retries=0, api=endpoint, storage=endpoint)
    keys = emulator.access_key_id, emulator.secret_access_key
    with DirectIO(emulator.url, *keys, settings=settings, session=session) as client:
        return b"".join(block.data for block in client.stream(file_id))


@contextlib.contextmanager
def on_route(route: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make requests take a route, and yield the factory of sessions for it."""
    with serving(proxy_handler()) as proxy:
        if route == "proxy":
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", "")
        yield {"plain session": requests.Session, "hooked session": hooked}.get(route)
        assert bool(proxy.lines) == (route == "proxy")


@pytest.mark.parametrize("route", ["fast", "proxy", "plain session"])
@pytest.mark.parametrize("form", ["one file", "pair"])
def test_client_certificate(
    authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch, route: str, form: str
) -> None:
    """The setting's certificate is shown to portal and storage, on either route."""
    folder = Path(pem).parent
    cert: Any = pem if form == "one file" else (folder / "cert.pem", folder / "key.pem")
    with MutualTLS(authority) as emulator, on_route(route, monkeypatch) as session:
        assert emulator.ca_bundle is not None
        assert read(emulator, Endpoint(ssl=emulator.ca_bundle, cert=cert), session) == DATA


def test_certificate_for_a_session_that_does_more(
    authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would load it into contexts that other hosts share, so an error says what to do."""
    with MutualTLS(authority) as emulator, on_route("hooked session", monkeypatch) as session:
        assert emulator.ca_bundle is not None
        endpoint = Endpoint(ssl=emulator.ca_bundle, cert=pem)
        with pytest.raises(DirectIOError, match=r"set session\.cert"):
            read(emulator, endpoint, session)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        own = hooked()
        own.cert = pem
        assert read(emulator, endpoint, lambda: own) == DATA


@pytest.mark.parametrize("form", ["path object", "text"])
def test_certificate_with_the_bundle_of_a_plain_session(
    authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A session's own CA bundle keeps the certificate of the settings, whatever names the bundle."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with MutualTLS(authority) as emulator:
        assert emulator.ca_bundle is not None
        session: Any = requests.Session()
        session.verify = Path(emulator.ca_bundle) if form == "path object" else emulator.ca_bundle
        file_id = emulator.add(DATA, block_size=1000)
        settings = Settings(
            retries=0, api=Endpoint(ssl=emulator.ca_bundle, cert=pem), storage=Endpoint(cert=pem)
        )
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=settings, session=lambda: session) as client:
            assert b"".join(block.data for block in client.stream(file_id)) == DATA


def test_text_in_the_place_of_a_path() -> None:
    """The text of a key is refused, and not shown."""
    with pytest.raises(ValueError, match="path of a file") as caught:
        Endpoint(cert="-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n")
    assert "c2VjcmV0" not in str(caught.value)


def test_certificate_of_one_endpoint_stays_there(authority: trustme.CA, pem: str) -> None:
    """The portal's certificate is not shown to the storage."""
    with MutualTLS(authority) as emulator:
        assert emulator.ca_bundle is not None
        bundle = emulator.ca_bundle
        file_id = emulator.add(DATA, block_size=1000)
        settings = Settings(
            retries=0, api=Endpoint(ssl=bundle, cert=pem), storage=Endpoint(ssl=bundle)
        )
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=settings) as client:
            assert client.metadata(file_id)
            error = client.blocks(file_id)[0].exception(30)
    assert "client certificate" in str(error)


def test_missing_client_certificate(authority: trustme.CA) -> None:
    """The error says which settings to use."""
    with MutualTLS(authority) as emulator:
        assert emulator.ca_bundle is not None
        with pytest.raises(DirectIOError, match=r"client certificate"):
            read(emulator, Endpoint(ssl=emulator.ca_bundle))


def make_direct_io(settings: Settings) -> None:
    """Make a client of files."""
    DirectIO("https://portal.test", "key", "c2VjcmV0", settings=settings)


def make_namespace(settings: Settings) -> None:
    """Make a client of names."""
    Namespace("https://portal.test", "user", "password", settings=settings)


@pytest.mark.parametrize("make", [make_direct_io, make_namespace])
@pytest.mark.parametrize("problem", ["missing", "no key", "other key", "encrypted", "not PEM"])
def test_unusable_certificate_is_refused_early(
    pem: str, problem: str, make: Callable[[Settings], None]
) -> None:
    """A client with an unusable certificate is not made, and the error says what is wrong."""
    folder = Path(pem).parent
    cert: Any = str(folder / "cert.pem")
    match, error = "give a certificate and its key in PEM form", ValueError
    if problem == "missing":
        cert, match, error = "/no/such.pem", "there is no client certificate", FileNotFoundError  # type: ignore[assignment]
    elif problem == "other key":
        trustme.CA().issue_cert("a@b.c").private_key_pem.write_to_path(folder / "other.pem")
        cert, match = (cert, str(folder / "other.pem")), "belongs to another certificate"
    elif problem == "encrypted":
        from cryptography.hazmat.primitives import serialization as forms

        key = forms.load_pem_private_key((folder / "key.pem").read_bytes(), None)
        (folder / "locked.pem").write_bytes(
            key.private_bytes(
                forms.Encoding.PEM,
                forms.PrivateFormat.PKCS8,
                forms.BestAvailableEncryption(b"c0ffee"),
            )
        )
        cert, match = (cert, str(folder / "locked.pem")), "the key is encrypted"
    elif problem == "not PEM":
        (folder / "cert.der").write_bytes(b"\x30\x82")
        cert = str(folder / "cert.der")
    with pytest.raises(error, match=match):
        make(Settings(api=Endpoint(cert=cert)))


def test_namespace_shows_its_certificate_to_the_portal_alone(
    authority: trustme.CA, pem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Behind a proxy over TLS, a portal gets the client certificate, and the proxy does not."""
    proxy_authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proxy_authority.issue_cert("127.0.0.1").configure_cert(context)
    # The proxy asks for a certificate, and would refuse one of an authority that it does not know.
    context.verify_mode = ssl.CERT_OPTIONAL
    proxy_authority.configure_trust(context)
    with MutualTLS(authority) as emulator, serving(proxy_handler(), context) as proxy:
        assert emulator.ca_bundle is not None
        bundle = tmp_path / "both.pem"
        bundle.write_bytes(Path(emulator.ca_bundle).read_bytes() + proxy_authority.cert_pem.bytes())
        monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{proxy.port}")
        settings = Settings(retries=0, api=Endpoint(ssl=bundle, cert=pem))
        login = emulator.username, emulator.password
        with Namespace(emulator.url, *login, settings=settings) as names:
            monkeypatch.setenv("no_proxy", "")
            assert names.exists("/")
            assert proxy.lines
        # Each form of NO_PROXY leads past the proxy.
        port, seen = emulator.url.rpartition(":")[2], len(proxy.lines)
        for form in ("127.0.0.0/8", f"127.0.0.1:{port}", "*"):
            monkeypatch.setenv("no_proxy", form)
            with Namespace(emulator.url, *login, settings=settings) as names:
                assert names.exists("/")
        assert len(proxy.lines) == seen


# --- the operating system's trust store ----------------------------------------------------------------

needs_store = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info < (3, 10),
    reason="SSL_CERT_FILE stands for the store",
)


@needs_store
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("route", ["fast", "proxy", "plain session"])
def test_system(monkeypatch: pytest.MonkeyPatch, route: str, known: bool) -> None:
    """The authorities of the operating system are trusted, and no others."""
    pytest.importorskip("truststore")
    with Emulator(tls=True) as emulator, on_route(route, monkeypatch) as session:
        assert emulator.ca_bundle is not None
        if known:
            monkeypatch.setenv("SSL_CERT_FILE", emulator.ca_bundle)
            assert read(emulator, Endpoint(ssl="system"), session) == DATA
            return
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.ca_bundle)
        with pytest.raises(DirectIOError, match="not trusted"):
            read(emulator, Endpoint(ssl="system"), session)


@needs_store
def test_system_for_a_session_that_does_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's session cannot be given the trust store, and the error says what to do."""
    pytest.importorskip("truststore")
    with Emulator(tls=True) as emulator:
        assert emulator.ca_bundle is not None
        monkeypatch.setenv("SSL_CERT_FILE", emulator.ca_bundle)
        with pytest.raises(DirectIOError, match=r"set session\.verify"):
            read(emulator, Endpoint(ssl="system"), hooked)


@pytest.mark.parametrize("make", [make_direct_io, make_namespace])
def test_system_without_truststore(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Settings], None]
) -> None:
    """The error says what to install, as soon as a client is made."""
    monkeypatch.setitem(sys.modules, "truststore", None)
    wanted = r"ctera-direct-sync\[system\]" if sys.version_info >= (3, 10) else "Python 3.10"
    with pytest.raises(RuntimeError, match=wanted):
        make(Settings(api=Endpoint(ssl="system")))

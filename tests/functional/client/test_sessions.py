"""Whom the client talks to, by what session, trusting whom, and what it never tells."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from ctera_direct_sync import DirectIO, Metadata, Settings
from ctera_direct_sync._protocol.block_list import parse_block_list
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from ctera_direct_sync.exceptions import (
    BlockListConnectionError,
    DownloadConnectionError,
    DownloadError,
)
from tests.faults import ways

DATA = SyntheticSource(50_000, seed=1).read(0, 50_000)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of ten blocks."""
    return portal.add(DATA, block_size=5000)


def fetch(client: DirectIO, file_id: int) -> bytes:
    """The file by futures, four at a time."""
    return b"".join(future.result().data for future in client.blocks(file_id, max_workers=4))


# --- executor ------------------------------------------------------------------------------------------


def test_executor_asks_the_portal_for_nothing(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A list that was serialized is enough: for another client, and more than once."""
    document = client.metadata(file_id).serialize()
    portal.log.clear()
    with DirectIO(portal.url, "another", "c2VjcmV0") as elsewhere:
        execute = elsewhere.executor(Metadata.deserialize(document))
        for _ in range(2):
            assert b"".join(future.result().data for future in execute()) == DATA
    assert portal.log.total("portal") == 0


def test_executor_names_the_file_as_told(client: DirectIO, file_id: int) -> None:
    """Blocks carry the file ID that the executor was given."""
    execute = client.executor(client.metadata(file_id), 77)
    assert {future.result().file_id for future in execute()} == {77}


# --- the session factory -------------------------------------------------------------------------------


def test_a_session_per_worker(make_client: Callable[..., DirectIO], file_id: int) -> None:
    """The factory is called on each worker thread, once, and its sessions are closed in the end."""
    made: list[int] = []
    closed: list[int] = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(id(self))
            super().close()

    def factory() -> requests.Session:
        made.append(threading.get_ident())
        return Session()

    client = make_client(session=factory)
    assert fetch(client, file_id) == DATA
    client.close()
    assert len(made) == len(set(made)) == len(closed) <= 4
    assert threading.get_ident() not in made


def test_session_hooks_see_each_response(
    make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """Hooks of a session are called, one that reads the body included."""
    seen: list[int] = []

    def factory() -> requests.Session:
        session = requests.Session()
        session.hooks["response"].append(lambda response, **_: seen.append(len(response.content)))
        return session

    assert fetch(make_client(session=factory), file_id) == DATA
    assert len(seen) == 10 and all(seen)


def test_session_headers_and_adapter(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """A mounted adapter carries the requests, with the session's own headers."""
    sent: list[Any] = []

    class Adapter(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(request.headers.get("X-Extra"))
            return super().send(request, *args, **kwargs)

    def factory() -> requests.Session:
        session = requests.Session()
        session.headers["X-Extra"] = "yes"
        session.mount(portal.storage_url, Adapter())
        return session

    assert fetch(make_client(session=factory), file_id) == DATA
    assert sent == ["yes"] * 10


def test_session_that_is_something_else(make_client: Callable[..., DirectIO], file_id: int) -> None:
    """Whatever has a get() like requests' will do."""

    class Getter:
        def get(self, url: str, **options: Any) -> requests.Response:
            return requests.get(url, **options)

        def close(self) -> None:
            pass

    assert fetch(make_client(session=Getter), file_id) == DATA


@pytest.mark.parametrize("factory", [lambda: None, lambda: 5], ids=["None", "a number"])
def test_factory_that_makes_no_session(
    make_client: Callable[..., DirectIO], file_id: int, factory: Any
) -> None:
    """A factory that returns no session: None means the client's own, else a TypeError."""
    client = make_client(session=factory)
    if factory() is None:
        assert fetch(client, file_id) == DATA
    else:
        with pytest.raises(TypeError, match="factory"):
            fetch(client, file_id)


def test_factory_that_fails(make_client: Callable[..., DirectIO], file_id: int) -> None:
    """What the factory raises is what the futures raise."""

    def factory() -> requests.Session:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(make_client(session=factory), file_id)


def test_proxy_of_a_session(make_client: Callable[..., DirectIO], quick: Settings) -> None:
    """Blocks under a name that only the proxy knows come through it; the portal is asked directly."""
    with Emulator(storage_url="http://storage.invalid") as emulator:

        def factory() -> requests.Session:
            session = requests.Session()
            session.proxies["http"] = emulator.url
            return session

        file_id = emulator.add(DATA, block_size=5000)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=quick, session=factory) as client:
            assert fetch(client, file_id) == DATA
        hosts = {record.host for record in emulator.log.records(where="storage")}
    assert hosts == {"storage.invalid"}


def test_proxy_of_the_environment(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy is heeded by the client's own sessions, no_proxy too."""
    with Emulator(storage_url="http://storage.invalid") as emulator:
        monkeypatch.setenv("http_proxy", emulator.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        file_id = emulator.add(DATA, block_size=5000)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=quick) as client:
            for name, way in ways.ALL.items():
                assert ways.joined(way(client, file_id, None)) == DATA, name


# --- credentials ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["own session", "user's session"])
def test_authorization_goes_to_the_portal_alone(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: bool
) -> None:
    """No request to the storage carries credentials, the portal's or a netrc's."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    def deaf() -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session

    with Emulator(separate_storage=True) as emulator:
        file_id = emulator.add(DATA, block_size=5000)
        with DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key,
                      settings=quick, session=None if own else deaf) as client:  # fmt: skip
            for name, way in ways.ALL.items():
                assert ways.joined(way(client, file_id, None)) == DATA, name
        asked = emulator.requests
    assert all(record.had_authorization == (record.where == "portal") for record in asked)
    assert {record.where for record in asked} == {"portal", "storage"}


def test_bearer(portal: Emulator, quick: Settings) -> None:
    """A bearer token lists any file, and reads those that are not encrypted."""
    file_id = portal.add(DATA, cipher=None)
    with DirectIO(portal.url, bearer=portal.bearer, settings=quick) as client:
        assert fetch(client, file_id) == DATA


def test_environment(portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not passed comes from the environment, under our names before cterasdk's."""
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)
    monkeypatch.setenv("cterasdk.io.direct.access_key_id", "another")
    with DirectIO() as client:
        assert fetch(client, file_id) == DATA


def test_environment_of_cterasdk(
    portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that cterasdk reads will do."""
    monkeypatch.setenv("cterasdk.io.direct.access_key_id", portal.access_key_id)
    monkeypatch.setenv("cterasdk.io.direct.secret_access_key", portal.secret_access_key)
    with DirectIO(portal.url) as client:
        assert fetch(client, file_id) == DATA
    monkeypatch.delenv("cterasdk.io.direct.access_key_id")
    monkeypatch.delenv("cterasdk.io.direct.secret_access_key")
    monkeypatch.setenv("cterasdk.io.direct.bearer", portal.bearer)
    with DirectIO(portal.url) as client:
        assert client.metadata(portal.add(DATA, cipher=None)).size == len(DATA)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "CTERA_DIRECT_URL"),
        (("https://portal.example.com",), "CTERA_DIRECT_ACCESS_KEY_ID"),
        (("https://portal.example.com", "key"), "CTERA_DIRECT_SECRET_ACCESS_KEY"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], named: str) -> None:
    """A missing argument is a ValueError that names the variable to set."""
    with pytest.raises(ValueError, match=named):
        DirectIO(*arguments)


def test_unprotected_portal_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Credentials over http: one warning per portal and process; none for this machine."""
    with caplog.at_level(logging.DEBUG, "ctera_direct_sync"):
        for url in ("http://p1.example.com", "http://p1.example.com", "http://p2.example.com",
                    "https://p3.example.com", "http://127.0.0.1:99"):  # fmt: skip
            DirectIO(url, "key-id", "c2VjcmV0").close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("http" in record.message and "key-id" not in record.message
               for record in caplog.records)  # fmt: skip


# --- TLS -----------------------------------------------------------------------------------------------


@pytest.fixture
def guarded() -> Iterator[Emulator]:
    """An emulator behind TLS, by an unknown authority."""
    with Emulator(tls=True, separate_storage=True) as running:
        yield running


def secured(emulator: Emulator, api: Any, storage: Any = None, **more: Any) -> DirectIO:
    """A client that trusts as told."""
    settings = Settings(retries=3, backoff=0.001)
    settings.api.ssl = api
    settings.storage.ssl = api if storage is None else storage
    return DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key,
                    settings=settings, **more)  # fmt: skip


def test_certificate_that_is_not_trusted(guarded: Emulator) -> None:
    """The portal's: told at once, after one attempt, with the way out."""
    file_id = guarded.add(DATA)
    with secured(guarded, True) as client, pytest.raises(BlockListConnectionError) as caught:
        client.metadata(file_id)
    assert "certificate" in str(caught.value) and "settings.api.ssl" in str(caught.value)
    assert guarded.requests == []


def test_storage_certificate_that_is_not_trusted(guarded: Emulator) -> None:
    """The storage's: likewise, for the block."""
    file_id = guarded.add(DATA, block_size=50_000)
    events: list[str] = []
    with secured(guarded, guarded.ca_bundle, True,
                 on_event=lambda event: events.append(event.name)) as client:  # fmt: skip
        error = client.blocks(file_id)[0].exception(30)
    assert isinstance(error, DownloadConnectionError)
    assert "certificate" in str(error) and "settings.storage.ssl" in str(error)
    assert "retried" not in events


@pytest.mark.parametrize("trust", ["bundle", "path object", "environment", "nobody asks"])
def test_trust(guarded: Emulator, monkeypatch: pytest.MonkeyPatch, trust: str) -> None:
    """A CA bundle by setting or environment, or no verification: the file comes, unwarned."""
    file_id = guarded.add(DATA, block_size=5000)
    assert guarded.ca_bundle is not None
    value: Any = {"bundle": guarded.ca_bundle, "path object": Path(guarded.ca_bundle),
                  "environment": True, "nobody asks": False}[trust]  # fmt: skip
    if trust == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", guarded.ca_bundle)
    with secured(guarded, value) as client:
        for name, way in ways.ALL.items():
            assert ways.joined(way(client, file_id, None)) == DATA, name


def test_session_verifies_as_the_settings_say(guarded: Emulator) -> None:
    """A user's session that says nothing of TLS is held to the client's CA bundle."""
    file_id = guarded.add(DATA, block_size=5000)
    with secured(guarded, guarded.ca_bundle, session=requests.Session) as client:
        assert fetch(client, file_id) == DATA

    def own() -> requests.Session:
        session = requests.Session()
        session.verify = guarded.ca_bundle
        return session

    with secured(guarded, guarded.ca_bundle, True, session=own) as client:
        assert fetch(client, file_id) == DATA


def test_ca_bundle_that_is_not_there(tmp_path: Path) -> None:
    """A bundle's path that leads nowhere is told when the client is made."""
    settings = Settings()
    settings.api.ssl = tmp_path / "none.pem"
    with pytest.raises(FileNotFoundError, match="CA bundle"):
        DirectIO("https://portal.example.com", "key", "c2VjcmV0", settings=settings)


class _MutualTLS(Emulator):
    """An emulator that takes none but clients with a certificate of its authority."""

    def __init__(self, authority: trustme.CA, **options: Any) -> None:
        super().__init__(tls=True, **options)
        self._authority = authority

    def _listen(self, address: tuple[str, int], *roles: str) -> Any:
        if "storage" in roles and self._certificates is not None:
            self._authority.configure_trust(self._certificates.context)
            self._certificates.context.verify_mode = ssl.CERT_REQUIRED
        return super()._listen(address, *roles)


@pytest.mark.parametrize("presented", [True, False])
def test_client_certificate(tmp_path: Path, presented: bool) -> None:
    """A session's client certificate is shown to a storage that wants one."""
    authority = trustme.CA()
    pem = tmp_path / "client.pem"
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(pem)

    def factory() -> requests.Session:
        session = requests.Session()
        session.cert = str(pem) if presented else None
        return session

    with _MutualTLS(authority) as storage:
        file_id = storage.add(DATA, block_size=5000)
        metadata = _listed_by(storage, file_id)
        with secured(storage, storage.ca_bundle, session=factory) as client:
            futures = client.executor(metadata)()
            if presented:
                assert b"".join(future.result().data for future in futures) == DATA
            else:
                assert isinstance(
                    futures[0].exception(30), (DownloadConnectionError, DownloadError)
                )


def _listed_by(emulator: Emulator, file_id: int) -> Metadata:
    return parse_block_list(file_id, emulator.listing(file_id), emulator.secret_access_key)

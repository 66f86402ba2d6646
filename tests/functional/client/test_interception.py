"""Mocks, recorders and tracers see the requests, whenever they begin; a changed session is noticed."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.exceptions import DirectIOError
from tests.faults import ways
from tests.support.net import answer, serving

DATA = bytes(range(256)) * 20


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of several blocks."""
    return portal.add(DATA, block_size=1000)


def read(client: DirectIO, file_id: int) -> bytes:
    """The file in order."""
    return ways.joined(ways.stream(client, file_id))


@pytest.fixture(params=["own", "plain", "used before"])
def used(
    request: pytest.FixtureRequest, make_client: Callable[..., DirectIO], file_id: int
) -> DirectIO:
    """A client whose session is its own, a plain one of the user's, or was used before."""
    session = requests.Session if request.param == "plain" else None
    client = make_client(session=session, retries=0)
    if request.param == "used before":
        assert read(client, file_id) == DATA
    return client


# --- mocks ---------------------------------------------------------------------------------------------


def serve_by(add: Callable[[str, bytes, str], object], portal: Emulator, file_id: int) -> None:
    """Give a mock the listing and one answer for each block."""
    import json

    listing = portal.listing(file_id)
    add(f"{portal.url}/directio/{file_id}", json.dumps(listing).encode(), "application/json")
    for chunk in listing["chunks"]:
        add(chunk["url"], requests.get(chunk["url"]).content, "application/octet-stream")


@pytest.fixture
def plain_file(portal: Emulator) -> int:
    """A file whose listing can be answered by anybody."""
    return portal.add(b"mocked!", native=True)


def test_responses(portal: Emulator, used: DirectIO, plain_file: int, file_id: int) -> None:
    """The ``responses`` library answers; afterwards the network does again."""
    responses = pytest.importorskip("responses")
    mock = responses.RequestsMock()
    serve_by(
        lambda url, body, kind: mock.add("GET", url, body, content_type=kind), portal, plain_file
    )
    portal.log.clear()
    with mock:
        assert read(used, plain_file) == b"mocked!"
        assert portal.requests == []
    assert read(used, file_id) == DATA


def test_requests_mock(portal: Emulator, used: DirectIO, plain_file: int, file_id: int) -> None:
    """So does requests-mock."""
    requests_mock = pytest.importorskip("requests_mock")
    mocker = requests_mock.Mocker()
    serve_by(
        lambda url, body, kind: mocker.get(url, content=body, headers={"Content-Type": kind}),
        portal,
        plain_file,
    )
    portal.log.clear()
    with mocker:
        assert read(used, plain_file) == b"mocked!"
        assert portal.requests == []
    assert read(used, file_id) == DATA


def test_vcr(portal: Emulator, used: DirectIO, file_id: int, tmp_path: Path) -> None:
    """vcrpy records what went over the network, and plays it back without one.

    One download at a time: vcrpy lifts its patches for all threads while one of them connects.
    """
    vcr = pytest.importorskip("vcr")
    cassette = str(tmp_path / "cassette.yaml")

    def read_in_turn() -> bytes:
        return b"".join(block.data for block in used.stream(file_id, max_workers=1))

    portal.log.clear()
    with vcr.use_cassette(cassette, record_mode="once") as tape:
        assert read_in_turn() == DATA
        assert len(tape) == len(portal.requests) == 7
    portal.log.clear()
    with vcr.use_cassette(cassette, record_mode="none"):
        assert read_in_turn() == DATA
        assert portal.requests == []
    assert read(used, file_id) == DATA
    assert len(portal.requests) == 7


class Spans:
    """An exporter that keeps the spans' URLs."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Do nothing yet."""

    def _on_ending(self, span: Any) -> None:
        """Do nothing yet."""

    def on_end(self, span: Any) -> None:
        """Keep the URL."""
        url = span.attributes.get("http.url") or span.attributes.get("url.full", "")
        self.urls.append(str(url).partition("?")[0])

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Have nothing to write."""
        return True


@pytest.mark.parametrize("library", ["requests", "urllib3"])
def test_opentelemetry(portal: Emulator, used: DirectIO, file_id: int, library: str) -> None:
    """OpenTelemetry's instrumentation of requests or urllib3 has a span for each request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip(f"opentelemetry.instrumentation.{library}")
        from opentelemetry.sdk.trace import TracerProvider

        name = "RequestsInstrumentor" if library == "requests" else "URLLib3Instrumentor"
        provider, spans = TracerProvider(shutdown_on_exit=False), Spans()
        provider.add_span_processor(spans)  # type: ignore[arg-type]
        instrumentor = getattr(module, name)()
        instrumentor.instrument(tracer_provider=provider)
        try:
            assert read(used, file_id) == DATA
        finally:
            instrumentor.uninstrument()
    assert len(spans.urls) == 7
    assert f"{portal.url}/directio/{file_id}" in spans.urls
    seen = len(spans.urls)
    assert read(used, file_id) == DATA
    assert len(spans.urls) == seen


def test_method_that_somebody_replaces(
    monkeypatch: pytest.MonkeyPatch, used: DirectIO, file_id: int
) -> None:
    """A tracer that wraps http.client, as some do for good, sees each request."""
    import http.client

    seen: list[str] = []
    original = http.client.HTTPConnection.putrequest

    def putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        seen.append(url)
        original(self, method, url, *args, **kwargs)

    monkeypatch.setattr(http.client.HTTPConnection, "putrequest", putrequest)
    assert read(used, file_id) == DATA
    assert len(seen) == 7


INSIDE = {
    "responses": "import responses; mock = responses.RequestsMock(assert_all_requests_are_fired=False)",
    "requests-mock": "import requests_mock; mock = requests_mock.Mocker()",
    "vcrpy": "import vcr; mock = vcr.use_cassette('none', record_mode='none')",
}


@pytest.mark.parametrize("library", INSIDE)
def test_package_that_is_first_imported_inside_a_mock(library: str, tmp_path: Path) -> None:
    """What the mock put in place is not taken for requests' own, then or later."""
    pytest.importorskip({"requests-mock": "requests_mock", "vcrpy": "vcr"}.get(library, library))
    program = (
        INSIDE[library]
        + """
with mock:
    from ctera_direct_sync import DirectIO, Settings
    from ctera_direct_sync._core import core_of
    from ctera_direct_sync.emulator import Emulator
    portal = Emulator().__enter__()
    keys = portal.access_key_id, portal.secret_access_key
    client = DirectIO(portal.url, *keys, settings=Settings(retries=0))
    file_id = portal.add(b"x" * 3000, block_size=1000)
    try:
        list(client.stream(file_id))
    except Exception as error:
        pass
    else:
        raise SystemExit("the network answered")
    assert not portal.requests
assert b"".join(block.data for block in client.stream(file_id)) == b"x" * 3000
assert core_of(client).portal._http._routes[portal.url].pool is not None, "not by the fast route"
client.close()
portal.__exit__(None, None, None)
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- a session that is changed after its first request ---------------------------------------------------


@pytest.fixture
def changed(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> Iterator[tuple[requests.Session, Callable[[], bytes]]]:
    """A session that made requests before, and a function that has it make more."""
    session = requests.Session()
    client = make_client(session=lambda: session, retries=0)
    client.iter_blocks(file_id, max_workers=1)

    def more() -> bytes:
        return b"".join(block.data for block in client.streamer(file_id, max_workers=1).start())

    assert more() == DATA
    yield session, more
    client.close()


def test_hook_added_later(changed: Any) -> None:
    """A hook is called from the next request on."""
    session, more = changed
    seen: list[int] = []
    session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
    assert more() == DATA
    assert seen == [200] * 6


@pytest.mark.parametrize("change", ["replace", "add", "remove"])
def test_headers_changed_later(portal: Emulator, file_id: int, changed: Any, change: str) -> None:
    """A header is sent, or no longer sent, from the next request on."""
    session, more = changed
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as storage:
        sent = storage.heads
        url = f"http://127.0.0.1:{storage.port}/o"
        from tests.functional.client.test_proxies import point_to

        portal.faults.clear()
        portal.replace(file_id, b"x", native=True)
        point_to(portal, file_id, url)
        session.headers["X-First"] = "1"
        assert more() == b"x"
        if change == "replace":
            session.headers["X-First"] = "2"
        elif change == "add":
            session.headers["X-Second"] = "2"
        else:
            del session.headers["X-First"]
        assert more() == b"x"
        assert b"X-First: 1\r\n" in sent[0]
        assert (b"X-First: 1\r\n" in sent[1]) is (change == "add")
        assert (b": 2\r\n" in sent[1]) is (change != "remove")
        session.close()


def test_auth_added_later(portal: Emulator, changed: Any) -> None:
    """A login is sent from the next request on."""
    session, more = changed
    session.auth = ("user", "password")
    portal.log.clear()
    with pytest.raises(DirectIOError):
        more()  # The emulator's storage refuses it, as S3 does.
    asked = [record for record in portal.requests if record.where == "storage"]
    assert asked and all(record.had_authorization for record in asked)


def test_adapter_mounted_later(portal: Emulator, changed: Any) -> None:
    """An adapter carries the requests from the next one on."""
    session, more = changed
    seen: list[str] = []

    class Adapter(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(request.url)
            return super().send(request, *args, **kwargs)

    session.mount(portal.storage_url, Adapter())
    assert more() == DATA
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("name", "value"), [("params", {"a": "1"}), ("proxies", {"http": "http://127.0.0.1:1"})]
)
def test_what_else_is_changed_later(changed: Any, name: str, value: Any) -> None:
    """Parameters that break a signature, or a proxy that is not there, are used at once."""
    session, more = changed
    setattr(session, name, value)
    with pytest.raises(DirectIOError):
        more()
    setattr(session, name, {})
    assert more() == DATA


def test_cookie_added_later(
    changed: Any, portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cookie is sent from the next request on."""
    session, more = changed
    sent: list[Any] = []
    session.cookies.set("session", "1")
    session.hooks["response"].append(lambda response, **_: sent.append(response.request.headers))
    assert more() == DATA
    assert len(sent) == 6 and all(headers["Cookie"] == "session=1" for headers in sent)


def test_verify_and_cert_changed_later(make_client: Callable[..., DirectIO]) -> None:
    """Verification that is switched on or off takes effect at the next request."""
    with Emulator(tls=True) as emulator:
        session = requests.Session()
        session.verify = emulator.ca_bundle  # type: ignore[assignment]
        file_id = emulator.add(DATA, block_size=1000)
        keys = emulator.access_key_id, emulator.secret_access_key
        from ctera_direct_sync import Settings

        settings = Settings(retries=0)
        settings.api.ssl = emulator.ca_bundle
        with DirectIO(emulator.url, *keys, settings=settings, session=lambda: session) as client:
            metadata = client.metadata(file_id)

            def more() -> bytes:
                futures = client.executor(metadata, max_workers=1)()
                return b"".join(future.result(30).data for future in futures)

            assert more() == DATA
            session.verify = True
            with pytest.raises(DirectIOError, match="certificate is not trusted"):
                more()
            session.verify = False
            assert more() == DATA
            session.cert = "/no/such/client.pem"
            with pytest.raises(DirectIOError, match="client certificate is not where"):
                more()


# --- without llhttp ------------------------------------------------------------------------------------


def test_without_httptools(tmp_path: Path) -> None:
    """Where llhttp cannot be loaded, requests does the work, and one line says so."""
    program = """
import logging, sys
sys.modules["httptools"] = None  # As where it refuses a second interpreter: ImportError.
logging.basicConfig(level=logging.WARNING)
from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator
with Emulator() as portal:
    file_id = portal.add(b"x" * 9000, block_size=1000)
    for _ in range(2):
        with DirectIO(portal.url, portal.access_key_id, portal.secret_access_key) as client:
            assert b"".join(block.data for block in client.stream(file_id)) == b"x" * 9000
            assert b"".join(f.result().data for f in client.blocks(file_id)) == b"x" * 9000
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("httptools cannot be loaded") == 1

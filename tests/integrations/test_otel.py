"""OpenTelemetry: the spans and metrics that an instrumented client records, by in-memory exporters."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import DownloadError, NotFoundError, StreamError

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from ctera_direct_sync import otel
from tests.support.telemetry import Telemetry

BLOCK_SIZE = 8 * 1024
BLOCKS = 10
DATA = os.urandom(BLOCKS * BLOCK_SIZE)


class Recording(Telemetry):
    """Providers of one test, and what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.tracer = self.tracer_provider.get_tracer("test")

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name that have ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of a name."""
        (span,) = self.spans(name)
        return span

    def points(self, name: str) -> list[Any]:
        """Return the points of a metric."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def parent_of(span: ReadableSpan) -> int | None:
    """Return the ID of a span's parent."""
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    """Return the ID of a span."""
    assert span.context is not None
    return span.context.span_id


@pytest.fixture
def recording() -> Iterator[Recording]:
    """Return providers of the test's own."""
    made = Recording()
    yield made
    made.close()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return a portal whose URLs and keys can be looked for."""
    with Emulator() as made:
        yield made


@pytest.fixture
def client(emulator: Emulator, recording: Recording) -> Iterator[DirectIO]:
    """Return an instrumented client that sends no request twice by itself."""
    settings = Settings(backoff=0.001, max_backoff=0.001, retries=2, hedging=0)
    keys = emulator.access_key_id, emulator.secret_access_key
    with DirectIO(emulator.url, *keys, settings=settings) as made:
        yield recording.instrument(made)


@pytest.fixture
def file_id(emulator: Emulator) -> int:
    """Return a file of several blocks."""
    return emulator.add(DATA, block_size=BLOCK_SIZE)


def read(client: DirectIO, file_id: int) -> bytes:
    """Read a file by a stream."""
    return b"".join(block.data for block in client.stream(file_id))


def test_spans_of_a_stream(client: DirectIO, recording: Recording, file_id: int) -> None:
    """The listing and each block are children of the call, on whatever thread they ran."""
    assert read(client, file_id) == DATA
    call, listing = recording.only("ctera.stream"), recording.only("ctera.metadata")
    assert parent_of(call) is None
    assert parent_of(listing) == id_of(call)
    assert parent_of(recording.only("GET")) == id_of(listing)
    blocks = recording.spans("ctera.block")
    assert {parent_of(block) for block in blocks} == {id_of(call)}
    assert sorted(block.attributes["ctera.block.number"] for block in blocks) == [*range(1, 11)]
    assert call.attributes["ctera.file.id"] == file_id


def test_a_block_tells_its_steps(client: DirectIO, recording: Recording, file_id: int) -> None:
    """The span of a block has the server, the status and the events of the block."""
    read(client, file_id)
    block = recording.spans("ctera.block")[0]
    assert block.kind is SpanKind.CLIENT
    assert [event.name for event in block.events] == ["first-byte", "received", "decoded"]
    assert block.attributes["server.address"] == "127.0.0.1"
    assert block.attributes["http.response.status_code"] == 200
    assert block.attributes["ctera.block.length"] == BLOCK_SIZE


@pytest.mark.parametrize(
    "call",
    ["download", "blocks", "iter_blocks", "download_many", "open"],
)
def test_each_call_has_a_span(
    client: DirectIO, recording: Recording, file_id: int, call: str, tmp_path: Path
) -> None:
    """Its blocks belong to the caller's trace, also those of threads that download files."""
    with recording.tracer.start_as_current_span("caller") as caller:
        if call == "download":
            client.download(file_id, tmp_path / "a")
        elif call == "blocks":
            wait(client.blocks(file_id))
        elif call == "iter_blocks":
            assert sum(block.length for block in client.iter_blocks(file_id)) == len(DATA)
        elif call == "download_many":
            client.download_many([(file_id, "a"), (file_id, "b")], tmp_path)
        else:
            with client.open(file_id) as file:
                assert file.read() == DATA
    assert parent_of(recording.only(f"ctera.{call}")) == caller.get_span_context().span_id
    blocks = recording.spans("ctera.block")
    assert len(blocks) == (2 if call == "download_many" else 1) * BLOCKS
    assert {block.context.trace_id for block in blocks} == {caller.get_span_context().trace_id}


def test_names_and_mirrors(recording: Recording, tmp_path: Path) -> None:
    """The requests for names and the downloads of a mirror belong to its span."""
    with (
        Emulator(tree={"folder": {"a": DATA, "b": b"b"}}) as emulator,
        Namespace(emulator.url, emulator.username, emulator.password) as names,
        DirectIO(
            emulator.url, emulator.access_key_id, emulator.secret_access_key, namespace=names
        ) as client,
    ):
        recording.instrument(client).mirror("/My Files/folder", tmp_path / "mirror")
    call = recording.only("ctera.mirror")
    assert call.attributes["ctera.file.path"] == "/My Files/folder"
    # Closing the Namespace signs out, after the call.
    spans = [s for s in recording.exporter.get_finished_spans() if s.start_time < call.end_time]
    assert {span.context.trace_id for span in spans} == {call.context.trace_id}
    assert recording.spans("POST")
    assert recording.spans("ctera.block")


def test_the_callers_code_is_outside(client: DirectIO, recording: Recording, file_id: int) -> None:
    """What a loop does between two blocks stays out of the stream's span."""
    for _ in client.stream(file_id):
        with recording.tracer.start_as_current_span("mine") as mine:
            pass
        assert mine.parent is None


def test_a_loop_that_is_left_ends_the_span(
    client: DirectIO, recording: Recording, file_id: int
) -> None:
    """It is not an error to want no further block."""
    stream = client.stream(file_id)
    next(stream)
    stream.close()
    assert recording.only("ctera.stream").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("close", [True, False])
def test_a_loop_that_never_began_ends_the_span(
    client: DirectIO, recording: Recording, file_id: int, close: bool
) -> None:
    """An iterator that is closed or dropped before its first step ends its span, too."""
    stream = client.stream(file_id)
    if close:
        stream.close()
    del stream
    gc.collect()
    assert recording.only("ctera.stream").status.status_code is StatusCode.UNSET


def test_retries(client: DirectIO, recording: Recording, emulator: Emulator, file_id: int) -> None:
    """A retry is an event of the block's span, and a count by its cause."""
    emulator.faults.add("storage", block=3, times=1, action=faults.status(503))
    read(client, file_id)
    (block,) = [
        span
        for span in recording.spans("ctera.block")
        if span.attributes["ctera.block.number"] == 3
    ]
    assert "retried" in [event.name for event in block.events]
    assert block.attributes["http.request.resend_count"] == 1
    assert block.status.status_code is StatusCode.UNSET
    (point,) = recording.points("ctera.block.retries")
    assert (point.value, dict(point.attributes)) == (1, {"error.type": "DownloadError"})


def test_errors(client: DirectIO, recording: Recording, emulator: Emulator, file_id: int) -> None:
    """A failed call has the class of its error, and so has the block that failed."""
    with pytest.raises(NotFoundError):
        client.metadata(999_999)
    assert recording.only("ctera.metadata").attributes["error.type"] == "NotFoundError"
    assert recording.only("GET").status.status_code is StatusCode.ERROR
    emulator.faults.add("storage", block=1, times=None, action=faults.status(503))
    with pytest.raises(StreamError) as caught:
        read(client, file_id)
    assert isinstance(caught.value.__cause__, DownloadError)
    call = recording.only("ctera.stream")
    assert call.attributes["error.type"] == "StreamError"
    failed = [s for s in recording.spans("ctera.block") if not s.status.is_ok]
    assert {span.attributes["error.type"] for span in failed} == {"DownloadError"}


def test_metrics_of_requests(client: DirectIO, recording: Recording, file_id: int) -> None:
    """Durations and sizes are those of the conventions for HTTP clients, by server and status."""
    read(client, file_id)
    points = recording.points("http.client.request.duration")
    by_endpoint = {point.attributes["ctera.endpoint"]: point for point in points}
    assert (by_endpoint["portal"].count, by_endpoint["storage"].count) == (1, BLOCKS)
    attributes = by_endpoint["storage"].attributes
    assert attributes["http.request.method"] == "GET"
    assert attributes["http.response.status_code"] == 200
    assert attributes["server.port"] > 0
    (size,) = [
        point
        for point in recording.points("http.client.response.body.size")
        if point.attributes["ctera.endpoint"] == "storage"
    ]
    assert size.sum == client.stats().storage.received
    (plain,) = recording.points("ctera.block.size")
    assert plain.sum == len(DATA)


def test_open_connections(client: DirectIO, recording: Recording, file_id: int) -> None:
    """They are those of all clients that live, and none once a client is closed."""
    read(client, file_id)
    values = {
        point.attributes["ctera.endpoint"]: point.value
        for point in recording.points("http.client.open_connections")
    }
    assert values["portal"] == 1
    assert values["storage"] >= 1
    client.close()
    assert {point.value for point in recording.points("http.client.open_connections")} == {0}


def test_instrumented_twice(client: DirectIO, recording: Recording, file_id: int) -> None:
    """A second call changes nothing, and another client is not recorded."""
    assert recording.instrument(client) is client
    read(client, file_id)
    assert len(recording.spans("ctera.stream")) == 1


def test_uninstrument(client: DirectIO, recording: Recording, file_id: int) -> None:
    """Nothing more is recorded, and the client works as before."""
    otel.uninstrument(client)
    assert read(client, file_id) == DATA
    assert recording.exporter.get_finished_spans() == ()
    assert recording.points("http.client.request.duration") == []
    otel.uninstrument(client)


def test_exporter_that_raises(
    client: DirectIO, recording: Recording, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the metrics raise costs no request."""
    recorder = client._core.observer.surround.__self__

    def fail(*_: object) -> None:
        raise RuntimeError("the exporter's own fault")

    monkeypatch.setattr(recorder, "_record_request", fail)
    assert read(client, file_id) == DATA


def test_no_secret(
    client: DirectIO, recording: Recording, emulator: Emulator, file_id: int
) -> None:
    """No span and no metric holds a key, a token or the path or query of a signed URL."""
    read(client, file_id)
    emulator.faults.add("storage", times=None, action=faults.reset())
    with pytest.raises(StreamError):
        read(client, file_id)
    told = [span.to_json() for span in recording.exporter.get_finished_spans()]
    data = recording.reader.get_metrics_data()
    assert data is not None
    told.append(json.dumps(data.to_json()))
    text = "".join(told)
    assert len(recording.exporter.get_finished_spans()) > BLOCKS
    for secret in (emulator.access_key_id, emulator.secret_access_key, emulator.bearer, "X-Amz-"):
        assert secret not in text


def test_without_opentelemetry(tmp_path: Path) -> None:
    """Nothing imports it but the module itself, which says what to install."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not here')")
    program = (
        "import sys; from ctera_direct_sync import DirectIO\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "from ctera_direct_sync import otel\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'ctera-direct-sync[otel]'" in done.stderr.splitlines()[-1]

"""OpenTelemetry: spans of calls, blocks and requests to the portal, and metrics of all requests.

`instrument` is for one client. Install the extra `otel`, and an SDK with exporters: without an SDK nothing
is recorded. The provider decides what is sampled and where it goes.

Spans:

    ctera.download ...    one for each call; its name is that of the method
      ctera.metadata      the block list
        GET               one for each request to the portal
      ctera.block         one for each block, with its retries and its steps as events

Metrics, by the semantic conventions for HTTP where they fit:

    http.client.request.duration    s, of each request until its body was read
    http.client.response.body.size  By, of each request
    http.client.open_connections    connections of all clients that are instrumented
    ctera.block.duration            s, of each block with its retries
    ctera.block.size                By of plaintext, of each block
    ctera.block.retries             by the class of the error
    ctera.block.hedges              requests sent again: the first was late, or its connection slow

No span and no metric holds a key, a token, or any part of a URL but scheme, host and port.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import logging
import operator
import time
import weakref
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, cast

from ._base.cancellation import Cancelled, CancelScope
from ._core import ClientCore, core_of
from .client import DirectIO
from .exceptions import DirectIOError
from .types import BlockEvent, Entry
from .version import __version__

try:
    from opentelemetry import context, metrics, trace
except ImportError:
    raise ImportError(
        "OpenTelemetry is not installed: pip install 'ctera-direct-sync[otel]' opentelemetry-sdk",
        name="opentelemetry",
    ) from None

if TYPE_CHECKING:
    from ._net.meter import Ended
    from ._protocol.ranges import Piece

__all__ = ["instrument", "uninstrument"]

_log = logging.getLogger(__name__)

_SCOPE = "ctera_direct_sync"
#: Methods of a client that have a span until they return, and until their iterator ends.
_CALLS = (
    "metadata",
    "blocks",
    "download",
    "download_many",
    "mirror",
    "open",
    "read_into",
    "read_ranges",
)
_ITERATORS = ("stream", "iter_blocks", "follow")
#: The conventions advise these for `http.client.request.duration`.
_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0]
_BYTES = [float(1024 << (2 * step)) for step in range(10)]


def instrument(
    client: DirectIO, *, tracer_provider: Any = None, meter_provider: Any = None
) -> DirectIO:
    """Record spans and metrics of a client from now on.

    Spans of blocks are children of the span that was current where the call was made, on whatever thread
    they are fetched. A client that is instrumented already stays as it is. A copy or pickle of a client
    is not instrumented.

    Args:
        client: The client.
        tracer_provider: Where spans go. None: the global provider.
        meter_provider: Where metrics go. None: the global provider.

    Returns:
        The client.

    Example:
        >>> client = otel.instrument(DirectIO())
        >>> client.download("/My Files/a.pdf", "a.pdf")
    """
    core = core_of(client)
    if core not in _recorders:
        recorder = _Recorder(
            core,
            trace.get_tracer(_SCOPE, __version__, tracer_provider),
            _instruments_of(meter_provider),
        )
        _recorders[core] = recorder
        recorder.attach(client)
    return client


def uninstrument(client: DirectIO) -> None:
    """Record nothing more of a client. Spans that were begun end as they would have.

    Args:
        client: The client.
    """
    core = core_of(client)
    recorder = _recorders.pop(core, None)
    if recorder is not None:
        recorder.detach(client)


_recorders: weakref.WeakKeyDictionary[ClientCore, _Recorder] = weakref.WeakKeyDictionary()


# --- metrics -----------------------------------------------------------------------------------------


class _Instruments:
    """The instruments of one provider, which all of its clients share."""

    def __init__(self, provider: Any) -> None:
        meter = metrics.get_meter(_SCOPE, __version__, provider)
        self.cores: weakref.WeakSet[ClientCore] = weakref.WeakSet()
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.body_size = meter.create_histogram(
            "http.client.response.body.size",
            unit="By",
            description="Size of HTTP client response bodies.",
            explicit_bucket_boundaries_advisory=_BYTES,
        )
        self.block_duration = meter.create_histogram(
            "ctera.block.duration",
            unit="s",
            description="Duration of fetching and decoding a block, retries included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.block_size = meter.create_histogram(
            "ctera.block.size",
            unit="By",
            description="Plaintext of the blocks that were delivered.",
            explicit_bucket_boundaries_advisory=_BYTES,
        )
        #: By the name of the event.
        self.counters = {
            "retried": meter.create_counter(
                "ctera.block.retries",
                unit="{retry}",
                description="Further attempts after an attempt that failed.",
            ),
            "hedged": meter.create_counter(
                "ctera.block.hedges",
                unit="{request}",
                description="Requests sent again because the first was late, or its connection slow.",
            ),
        }
        meter.create_observable_up_down_counter(
            "http.client.open_connections",
            [self._observe_connections],
            unit="{connection}",
            description="Number of outbound HTTP connections that are open.",
        )

    def _observe_connections(self, _: Any) -> Iterable[Any]:
        open_now = {"portal": 0, "storage": 0}
        for core in list(self.cores):
            stats = core.stats()
            open_now["portal"] += stats.portal.connections
            open_now["storage"] += stats.storage.connections
        for endpoint, count in open_now.items():
            yield metrics.Observation(count, {"ctera.endpoint": endpoint})


#: Each provider and its instruments, by the id of the provider.
_instruments: dict[int, tuple[Any, _Instruments]] = {}


def _instruments_of(provider: Any) -> _Instruments:
    provider = metrics.get_meter_provider() if provider is None else provider
    found = _instruments.get(id(provider))
    if found is None:
        # The provider is kept, so that its id stays its own.
        found = _instruments.setdefault(id(provider), (provider, _Instruments(provider)))
    return found[1]


# --- spans -------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Block:
    """The block that this thread fetches, and the requests for it so far."""

    span: Any
    attempts: int = 0


#: It is set in the copy of the caller's context in which the block is fetched.
_block: contextvars.ContextVar[_Block | None] = contextvars.ContextVar(
    "ctera_direct_sync.otel.block", default=None
)


class _Recorder:
    """Records one client. It holds no reference that keeps the client alive.

    Args:
        core: The client.
        tracer: Makes the spans.
        instruments: The metrics.
    """

    def __init__(self, core: ClientCore, tracer: Any, instruments: _Instruments) -> None:
        self._tracer = tracer
        self._instruments = instruments
        self._portal = _address_of(core.baseurl)
        instruments.cores.add(core)

    def attach(self, client: DirectIO) -> None:
        """Record a client from now on."""
        core = core_of(client)
        core.observer.add(self.on_event)
        core.observer.surround = self.surround
        core.listen(self.on_request)
        for name in _CALLS:
            self._replace(client, name, self._call)
        for name in _ITERATORS:
            self._replace(client, name, self._iterate)

    def detach(self, client: DirectIO) -> None:
        """Stop recording a client."""
        core = core_of(client)
        core.observer.remove(self.on_event)
        core.observer.surround = None
        core.listen(None)
        self._instruments.cores.discard(core)
        for name in (*_CALLS, *_ITERATORS):
            vars(client).pop(name, None)

    def _replace(self, client: DirectIO, name: str, call: Callable[..., Any]) -> None:
        method = getattr(type(client), name)
        reference = weakref.ref(client)

        @functools.wraps(method)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            found = reference()
            assert found is not None  # A call of the method holds the client.
            attributes = {**self._portal, **_file_of(name, args, kwargs)}
            return call(
                self._tracer.start_span(f"ctera.{name}", attributes=attributes),
                functools.partial(method, found, *args, **kwargs),
            )

        # On the object alone: other clients have their own providers, or none.
        setattr(client, name, replacement)

    # --- calls ---------------------------------------------------------------------------------------

    @staticmethod
    def _call(span: Any, call: Callable[[], Any]) -> Any:
        try:
            with _current(span):
                return call()
        except BaseException as error:
            _note_error(span, error)
            raise
        finally:
            span.end()

    @staticmethod
    def _iterate(span: Any, call: Callable[[], Iterator[Any]]) -> Any:
        try:
            with _current(span):
                iterator = call()
        except BaseException as error:
            _note_error(span, error)
            span.end()
            raise
        return _Steps(iterator, span)

    # --- blocks --------------------------------------------------------------------------------------

    def surround(self, work: Callable[..., Any], file_id: int) -> Callable[..., Any]:
        """Return a function that does the work of a transfer, with a span for each block."""

        def fetch(piece: Piece, scope: CancelScope) -> Any:
            with self._recorded(piece, int(file_id)):
                return work(piece, scope)

        return fetch

    @contextlib.contextmanager
    def _recorded(self, piece: Piece, file_id: int) -> Generator[None, None, None]:
        attributes: dict[str, Any] = {
            "ctera.file.id": file_id,
            "ctera.block.number": piece.chunk.number,
            "ctera.block.offset": piece.offset,
            "ctera.block.length": piece.length,
        }
        span = self._tracer.start_span(
            "ctera.block", kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        began = time.perf_counter()
        token = _block.set(_Block(span))
        error_type = ""
        try:
            with _current(span):
                yield
        except Cancelled:
            error_type = "cancelled"
            span.set_attribute("ctera.cancelled", True)
            raise
        except BaseException as error:
            error_type = type(error).__name__
            _note_error(span, error)
            raise
        finally:
            _block.reset(token)
            span.end()
            found = {"error.type": error_type} if error_type else {}
            self._instruments.block_duration.record(time.perf_counter() - began, found)
            if not error_type:
                self._instruments.block_size.record(piece.length)

    def on_event(self, event: BlockEvent) -> None:
        """Add what happens to a block to its span."""
        counter = self._instruments.counters.get(event.name)
        if counter is not None:
            cause = {"error.type": event.detail} if event.name == "retried" else {}
            counter.add(1, cause)
        block = _block.get()
        if block is None or event.name in ("queued", "started", "failed"):
            return
        attributes: dict[str, Any] = {"ctera.bytes": event.nbytes}
        if event.detail:
            attributes["ctera.detail"] = event.detail
        block.span.add_event(event.name, attributes)

    # --- requests ------------------------------------------------------------------------------------

    def on_request(self, ended: Ended) -> None:
        """Record a request that has ended. It costs no request if that fails."""
        try:
            self._record_request(ended)
        except Exception:  # noqa: BLE001 - exporters and samplers are other people's code
            _log.exception("a request could not be recorded")

    def _record_request(self, ended: Ended) -> None:
        attributes = {"http.request.method": ended.method, **_address_of(ended.origin)}
        if ended.status:
            attributes["http.response.status_code"] = ended.status
        if ended.error:
            attributes["error.type"] = ended.error
        elif ended.status >= 400:
            attributes["error.type"] = str(ended.status)
        measured = {**attributes, "ctera.endpoint": ended.endpoint}
        self._instruments.duration.record(ended.seconds, measured)
        self._instruments.body_size.record(ended.received, measured)
        block = _block.get()
        if ended.endpoint == "storage" and block is not None:
            if block.attempts:
                attributes["http.request.resend_count"] = block.attempts
            block.attempts += 1
            attributes.pop("error.type", None)  # The span's own, if the block fails in the end.
            block.span.set_attributes(attributes)
            return
        now = time.time_ns()
        span = self._tracer.start_span(
            ended.method,
            kind=trace.SpanKind.CLIENT,
            attributes={**attributes, "http.response.body.size": ended.received},
            start_time=now - int(ended.seconds * 1e9),
        )
        if "error.type" in attributes:
            span.set_status(trace.StatusCode.ERROR)
        span.end(now)


class _Steps(Iterator[Any]):
    """Yields what an iterator does. Its steps run within the span, the caller's code does not.

    It is not a generator: one that is dropped before its first step would never end the span.
    """

    def __init__(self, iterator: Iterator[Any], span: Any) -> None:
        self._iterator = iterator
        self._span = span
        self._has_ended = False

    def __next__(self) -> Any:
        if self._has_ended:
            raise StopIteration
        try:
            with _current(self._span):
                return next(self._iterator)
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            _note_error(self._span, error)
            self.close()
            raise

    def close(self) -> None:
        """End the iteration and the span."""
        if self._has_ended:
            return
        self._has_ended = True
        close = getattr(self._iterator, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._span.end()

    def __del__(self) -> None:
        self.close()


@contextlib.contextmanager
def _current(span: Any) -> Generator[None, None, None]:
    """Make a span the current one, and leave its end and its errors to the caller."""
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


def _note_error(span: Any, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__name__)
    if isinstance(error, DirectIOError):
        # Its text holds no secret. That of another error may be anything.
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR, str(error.strerror))
    else:
        span.set_status(trace.StatusCode.ERROR, type(error).__name__)


def _file_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that name the file, or the folder, of a call."""
    file = next((kwargs[each] for each in ("file_id", "file", "source") if each in kwargs), None)
    if args:
        file = args[0]
    if name == "download_many":
        return {}
    if isinstance(file, Entry):
        file_id = {} if file.file_id is None else {"ctera.file.id": file.file_id}
        return {**file_id, "ctera.file.path": file.path}
    if isinstance(file, str):
        return {"ctera.file.path": file}
    try:
        return {"ctera.file.id": operator.index(cast("Any", file))}
    except (TypeError, ValueError):
        return {}


def _address_of(url: str) -> dict[str, Any]:
    """Return the attributes for scheme, host and port of a URL."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0].rpartition("@")[2]
    host, _, port = authority.rpartition(":")
    if not host or not port.isdigit():
        host, port = authority, {"http": "80", "https": "443"}.get(scheme.lower(), "")
    found: dict[str, Any] = {"server.address": host.strip("[]")}
    if port:
        found["server.port"] = int(port)
    if rest:
        found["url.scheme"] = scheme.lower()
    return found

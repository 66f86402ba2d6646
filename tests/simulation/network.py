"""A portal and its object storage in memory and in virtual time, and what can go wrong between.

`Network.send` takes the place of the sockets: it stands where `HTTPSession` would open one. All above it
is the real code.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Callable, NamedTuple

from ctera_direct_sync import codec
from ctera_direct_sync._net.errors import TransportError

from .options import Options

__all__ = ["KEY", "PORTAL", "Body", "File", "Network", "Version"]

PORTAL = "https://portal.simulated.test"
KEY = "access-key-of-the-simulation"

#: Bytes of which each version of each file is a slice.
_POOL = random.Random(17).randbytes(1 << 17)
#: The most bytes that one step of a slow read gives.
_SOME_BYTES = 32
_STATUS_WEIGHTS = (429, 429, 500, 503, 503, 408)


class Version(NamedTuple):
    """One content of a file.

    Attributes:
        number: Counts the versions of the file from 0.
        since: The virtual time from which on the portal lists it.
        data: The content.
        lengths: The lengths of its blocks.
    """

    number: int
    since: float
    data: bytes
    lengths: tuple[int, ...]

    def block(self, index: int) -> bytes:
        """Return the plaintext of a block."""
        start = sum(self.lengths[:index])
        return self.data[start : start + self.lengths[index]]


class File:
    """A file of the portal, with all versions that it ever gets.

    Attributes:
        file_id: Its ID.
        coded: Whether its stored objects are gzip streams instead of the plaintext itself.
        declares: Whether the storage declares the CRC32C of each object.
        versions: The versions, the first one first.
    """

    def __init__(self, file_id: int, rng: random.Random, options: Options, changes: bool) -> None:
        self.file_id = file_id
        self.coded = rng.random() < options.coded
        self.declares = rng.random() < 0.5
        times = [0.0]
        if changes:
            times.append(rng.uniform(0.5, options.disturbed_s))
        self.versions = [self._make(number, since, rng) for number, since in enumerate(times)]

    def _make(self, number: int, since: float, rng: random.Random) -> Version:
        count = rng.choice((0, 1, 2, 3, 5, 8, 13))
        lengths = tuple(rng.choice((1, 7, 40, 100, 100, 250)) for _ in range(count))
        start = rng.randrange(len(_POOL) - sum(lengths))
        return Version(number, since, _POOL[start : start + sum(lengths)], lengths)

    def at(self, time: float) -> Version:
        """Return the version that the portal lists at a virtual time since the beginning."""
        return next(each for each in reversed(self.versions) if each.since <= time)

    def between(self, start: float, stop: float) -> list[Version]:
        """Return all versions that were listed at any time of an interval."""
        first = self.at(start).number
        return [each for each in self.versions[first:] if each.since <= stop]


@lru_cache(4096)
def _stored(plaintext: bytes, coded: bool) -> bytes:
    return gzip.compress(plaintext, 1, mtime=0) if coded else plaintext


@lru_cache(4096)
def _crc32c_header(body: bytes) -> str:
    import base64

    return base64.b64encode(codec.crc32c(body).to_bytes(4, "big")).decode()


class Body:
    """An answer on its way, as `Response` reads one.

    Attributes:
        status: The status.
        headers: By lower-case name.
        length: Declared bytes of the body, or None.
        received: Bytes that were read so far.
    """

    def __init__(
        self,
        network: Network,
        scope: Any,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        declared: bool = True,
        arrives: int | None = None,
        seconds: float = 0.0,
        patience: float = 60.0,
    ) -> None:
        self.status = status
        self.headers = dict(headers)
        self.length = len(body) if declared else None
        self._network = network
        self._scope = scope
        self._left = body if arrives is None else body[:arrives]
        self._seconds = seconds
        self._patience = patience
        self._closed = False
        self.received = 0
        network.open_bodies += 1

    def read(self, size: int, buffer: Any = None) -> Any:
        """Return the next bytes of the body, fewer at its end."""
        seconds, self._seconds = self._seconds, 0.0
        if seconds:
            self._network.pause(self._scope, seconds, self._patience)
        data, self._left = self._left[:size], self._left[size:]
        self.received += len(data)
        if buffer is None:
            return data
        view = buffer.view(len(data))
        view[:] = data
        return view

    def read_some(self, size: int, buffer: Any = None) -> Any:
        """Return some of the next bytes of the body, none at its end."""
        return self.read(min(size, _SOME_BYTES), buffer)

    def retire(self) -> None:
        """Have `close` give the connection up: there is none."""

    def close(self) -> None:
        """Give the connection back."""
        if not self._closed:
            self._closed = True
            self._network.open_bodies -= 1


class Network:
    """The portal, the storage, and the way to them.

    Args:
        scheduler: Tells and passes the time.
        rng: Decides what goes wrong.
        options: How much goes wrong.
        expect: Notes a problem unless its first argument is true.
        note: Notes an event for the trace.

    Attributes:
        files: The files by their ID.
        faulty: Whether things go wrong.
        over: Whether the client was closed, so that no request may begin.
        injected: What went wrong so far, by name.
        open_bodies: Answers that were not closed yet.
        requests: All requests so far.
    """

    def __init__(
        self,
        scheduler: Any,
        rng: random.Random,
        options: Options,
        expect: Callable[[object, str], None],
        note: Callable[..., None],
    ) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._options = options
        self._expect = expect
        self._note = note
        self._began = scheduler.now
        self._signatures = 0
        self._etag_faults: set[str] = set()
        self.files: dict[int, File] = {}
        self.faulty = True
        self.over = False
        self.injected: dict[str, int] = {}
        self.open_bodies = 0
        self.requests = 0
        for file_id in range(1, options.files + 1):
            changes = rng.random() < options.changing
            self.files[file_id] = File(file_id, rng, options, changes)
        #: When the portal is down, as pairs of virtual times.
        self.down: list[tuple[float, float]] = []
        if rng.random() < options.down:
            start = rng.uniform(0, options.disturbed_s)
            self.down.append((start, start + rng.choice((2.0, 30.0, 200.0, 1200.0))))

    @property
    def time(self) -> float:
        """The virtual time since the beginning in seconds."""
        passed: float = self._scheduler.now - self._began
        return passed

    def pause(self, scope: Any, seconds: float, patience: float) -> None:
        """Block as on a socket: until the time has passed, the time-out, or a cancel.

        Raises:
            TransportError: The time-out came first, or a cancel did.
        """
        wait = self._scheduler.new_wait("the network")
        scope.attach(lambda: self._scheduler.wake(wait))
        try:
            woken = self._scheduler.block(wait, min(seconds, patience))
        except BaseException:
            scope.detach()
            raise
        if woken:
            raise TransportError("connection", "the connection was shut")
        if seconds > patience:
            self.injected["timeout"] = self.injected.get("timeout", 0) + 1
            raise TransportError("timeout", "nothing came within the read timeout", 110)

    def send(
        self,
        url: str,
        scope: Any,
        headers: Mapping[str, str],
        timeouts: tuple[float, float],
    ) -> Body:
        """Answer a GET, or fail.

        Raises:
            TransportError: There is no answer.
        """
        self.requests += 1
        self._expect(not self.over, "a request began after close() had returned")
        is_portal = url.startswith(PORTAL + "/")
        if is_portal:
            authorization = headers.get("Authorization")
            self._expect(authorization == f"Bearer {KEY}", "a request to the portal has no key")
        else:
            names = {name.lower() for name in headers}
            self._expect(
                not names & {"authorization", "cookie"} and KEY not in url,
                "a request to the storage carries credentials",
            )
        fault = self._choose_fault(is_portal)
        answer = self._portal if is_portal else self._storage
        try:
            body = answer(url, scope, headers, timeouts, fault)
        except TransportError as error:
            self._note("request", "".join(url), fault, error.kind)
            raise
        self._note("request", "".join(url), fault, body.status)
        return body

    # --- what goes wrong -------------------------------------------------------------------------------

    def _choose_fault(self, is_portal: bool) -> str:
        rng, options = self._rng, self._options
        if not self.faulty or rng.random() >= options.faults:
            return ""
        return rng.choice(_PORTAL_FAULTS if is_portal else _STORAGE_FAULTS)

    def _inject(self, name: str) -> None:
        self.injected[name] = self.injected.get(name, 0) + 1

    def _latency(self, host: int) -> float:
        rng, options = self._rng, self._options
        seconds = min(rng.lognormvariate(0, 0.8), 8.0) * options.latency
        if self.faulty and host == options.slow_node:
            self._inject("slow")
            seconds *= 60
        return seconds

    def _fail_early(self, fault: str, scope: Any, timeouts: tuple[float, float]) -> None:
        """Do what a fault does before there is an answer."""
        connect, read = timeouts
        if fault == "stall":
            self._inject(fault)
            self.pause(scope, read + 1.0, read)
        if fault == "refused":
            self._inject(fault)
            raise TransportError("connection", "connection refused", 111)
        if fault == "no-connection":
            self._inject(fault)
            self.pause(scope, connect + 1.0, connect)
        if fault == "reset":
            self._inject(fault)
            self.pause(scope, self._latency(-1), read)
            raise TransportError("connection", "connection reset by peer", 104)

    def _busy(self, scope: Any) -> Body:
        status = self._rng.choice(_STATUS_WEIGHTS)
        headers = {"content-type": "text/plain"}
        if status in (429, 503) and self._rng.random() < 0.6:
            headers["retry-after"] = str(self._rng.choice((0, 1, 2, 5, 20, 90)))
        self._inject("busy")
        return Body(self, scope, status, headers, b"busy")

    def _page(self, scope: Any, status: int = 200) -> Body:
        self._inject("page")
        page = b"<html><body>Please sign in.</body></html>\r\n"
        return Body(self, scope, status, {"content-type": "text/html"}, page)

    # --- the portal ------------------------------------------------------------------------------------

    def _portal(
        self, url: str, scope: Any, headers: Any, timeouts: tuple[float, float], fault: str
    ) -> Body:
        if any(start <= self.time < stop for start, stop in self.down) and self.faulty:
            self._inject("down")
            fault = self._rng.choice(("refused", "refused", "busy", "no-connection"))
        self._fail_early(fault, scope, timeouts)
        self.pause(scope, self._latency(-1), timeouts[1])
        if fault == "busy":
            return self._busy(scope)
        if fault == "page":
            return self._page(scope)
        if fault == "redirect":
            location = url if "?" in url else url + "?again"
            return Body(self, scope, 307, {"location": location}, b"")
        file = self.files.get(int(url.partition("?")[0].rpartition("/")[2]))
        if file is None or fault == "unknown":
            if fault == "unknown":
                self._inject(fault)
            return Body(self, scope, 400, {}, b"no such file")
        answer = self._listing(file)
        arrives = None
        if fault == "truncated":
            self._inject(fault)
            answer = answer[: self._rng.randrange(len(answer))]
        if fault == "short":
            self._inject(fault)
            arrives = self._rng.randrange(len(answer))
        return Body(self, scope, 200, {"content-type": "application/json"}, answer, arrives=arrives)

    def _listing(self, file: File) -> bytes:
        version = file.at(self.time)
        self._signatures += 1
        expires = self.time + self._options.url_ttl_s
        chunks = [
            {
                "url": f"https://node{self._node(file, index)}.simulated.test/{file.file_id}/"
                f"{version.number}/{index}?sig={self._signatures}&exp={expires:.6f}",
                "len": length,
            }
            for index, length in enumerate(version.lengths)
        ]
        document: dict[str, Any] = {
            "encrypt_info": {"data_encrypted": False},
            "compression_type": "GZIP" if file.coded else "NONE",
            "actual_blocks_range": {"file_size": len(version.data)},
            "chunks": chunks,
        }
        return json.dumps(document).encode()

    def _node(self, file: File, index: int) -> int:
        return (file.file_id + index) % self._options.nodes

    # --- the storage -----------------------------------------------------------------------------------

    def _storage(
        self,
        url: str,
        scope: Any,
        headers: Mapping[str, str],
        timeouts: tuple[float, float],
        fault: str,
    ) -> Body:
        rng = self._rng
        path, _, query = url.partition("?")
        parts = path.split("/")
        self._fail_early(fault, scope, timeouts)
        self.pause(scope, self._latency(int(parts[2].partition(".")[0][4:])), timeouts[1])
        if fault == "busy":
            return self._busy(scope)
        if fault == "page":
            return self._page(scope)
        if fault == "redirect":
            # A signed URL of another host; "again" ends the circle.
            return Body(self, scope, 307, {"location": url + "&again"}, b"")
        if self.time > float(query.partition("exp=")[2].partition("&")[0]):
            return Body(self, scope, rng.choice((403, 403, 401)), {}, b"expired")
        if fault == "refused-url":
            self._inject(fault)
            return Body(self, scope, 403, {}, b"denied")
        file_id, number, index = map(int, parts[3:6])
        file = self.files[file_id]
        is_old = file.at(self.time).number != number
        if fault == "gone" or (is_old and self._options.removes_old):
            self._inject("gone")
            return Body(self, scope, 404, {}, b"no such key")
        return self._object(scope, file, file.versions[number], index, headers, timeouts, fault)

    def _object(
        self,
        scope: Any,
        file: File,
        version: Version,
        index: int,
        headers: Mapping[str, str],
        timeouts: tuple[float, float],
        fault: str,
    ) -> Body:
        rng = self._rng
        stored = _stored(version.block(index), file.coded)
        etag = f'"{file.file_id}-{version.number}-{index}"'
        if fault == "etag":
            self._inject(fault)
            etag = '"another"'
        given: dict[str, str] = {"etag": etag, "content-type": "application/octet-stream"}
        condition = headers.get("If-Match")
        if condition is not None and condition != etag:
            return Body(self, scope, 412, {}, b"")
        if file.declares:
            given["x-amz-checksum-crc32c"] = _crc32c_header(stored)
        status, body = 200, stored
        asked = headers.get("Range")
        if asked is not None and rng.random() < 0.9:
            first, last = map(int, asked.partition("=")[2].split("-"))
            shift = 1 if fault == "other-range" and last + 1 < len(stored) else 0
            if shift:
                self._inject(fault)
            status, body = 206, stored[first + shift : last + 1 + shift]
            given["content-range"] = f"bytes {first + shift}-{last + shift}/{len(stored)}"
            given.pop("x-amz-checksum-crc32c", None)
        if fault == "garbage" and (file.coded or (file.declares and asked is None)) and body:
            # Without a checksum the client cannot tell other bytes of the same number. Of an object
            # that answers a range it reads the range alone, so that its checksum cannot be verified.
            self._inject(fault)
            at = rng.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :]
        if fault == "long":
            self._inject(fault)
            body += b"surplus"
        arrives, declared, seconds = None, rng.random() < 0.9, 0.0
        if fault == "short":
            self._inject(fault)
            arrives = rng.randrange(len(body)) if body else None
        if fault == "slow-body":
            self._inject(fault)
            seconds = rng.choice((0.5, timeouts[1] * 0.9, timeouts[1] * 2))
        return Body(
            self, scope, status, given, body,
            declared=declared, arrives=arrives, seconds=seconds, patience=timeouts[1],
        )  # fmt: skip


_EARLY = ("stall", "refused", "no-connection", "reset", "reset", "busy", "busy", "page", "redirect")
_PORTAL_FAULTS = (*_EARLY, "unknown", "truncated", "short")
_STORAGE_FAULTS = (
    *_EARLY,
    *("refused-url", "gone", "etag", "other-range", "garbage", "garbage"),
    *("long", "short", "short", "slow-body"),
)

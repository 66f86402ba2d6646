"""Requests of the client against the model's servers, and what must come of them."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple
from unittest import mock

import requests

from ctera_direct_sync._base.buffers import PooledBuffer
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net import pool as pool_module
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.schedules_http.model import Connection, ModelError, Network, Script, format_scripts
from tests.schedules_http.reference import Reading

__all__ = ["LIMIT_BYTES", "Case", "Client", "Outcome", "Take", "check"]

#: The most that a body may have.
LIMIT_BYTES = 200_000
_ORIGIN = "http://model.test"
#: Kinds of error that a stream of bytes can cause.
_KINDS = frozenset({"connection", "timeout", "protocol", "short", "long"})


class Take(Enum):
    """How a body is read."""

    WHOLE = 0
    INTO_MEMORY = 1
    WINDOW = 2
    PART = 3
    NOTHING = 4
    STEPS = 5


class Case(NamedTuple):
    """Some requests, one after the other, and the servers that they meet.

    Attributes:
        scripts: The script of each connection.
        takes: How the body of each request is read. It is also the number of requests.
        hurried: Requests before which no time passes after the last answer.
        hooked: Whether `requests` sends the requests, and not the fast route.
    """

    scripts: Sequence[Script]
    takes: Sequence[Take] = (Take.WHOLE, Take.WHOLE)
    hurried: frozenset[int] = frozenset()
    hooked: bool = False

    def __str__(self) -> str:
        takes = ", ".join(take.name for take in self.takes)
        scripts = format_scripts(self.scripts)
        return f"{scripts!r}, {takes}, {sorted(self.hurried)}, {self.hooked}"


class Outcome(NamedTuple):
    """What came of one request.

    Attributes:
        error: The kind of the error, or "".
        status: The status; 0 without a response.
        body: What was read.
        length: The declared length.
        connection: The number of the connection.
        headers: The headers of the response.
    """

    error: str
    status: int
    body: bytes
    length: int | None
    connection: int
    headers: Mapping[str, str]


class Client:
    """A session that meets the model's servers. One serves for many cases."""

    def __init__(self) -> None:
        self._sessions: dict[bool, HTTPSession] = {}

    def _session(self, hooked: bool) -> HTTPSession:
        session = self._sessions.get(hooked)
        if session is None:
            user_session = None
            if hooked:
                user_session = requests.Session()
                user_session.trust_env = False
                user_session.hooks["response"].append(lambda response, **_: response)
            endpoint = Endpoint(timeout=5)
            session = HTTPSession(endpoint, TLS(True), session=user_session)
            self._sessions[hooked] = session
        return session

    def run(self, case: Case) -> list[Outcome]:
        """Make the requests of a case.

        Raises:
            ModelError: The client broke a rule.
        """
        network = Network(case.scripts)
        session = self._session(case.hooked)
        outcomes = []
        try:
            with mock.patch.object(pool_module, "open_connection", network.open_connection):
                for number, take in enumerate(case.takes):
                    if number and number not in case.hurried:
                        network.let_time_pass()
                    outcomes.append(_exchange(session, network, number, take))
            _drop_idle(session, case.hooked)
            for _ in network.close():
                raise ModelError("a connection is left open")
        finally:
            _drop_idle(session, case.hooked)
            for _ in network.close():
                pass
        return outcomes

    def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions.values():
            session.close()


def _drop_idle(session: HTTPSession, hooked: bool) -> None:
    if hooked:
        adapter: Any = session._session.get_adapter(_ORIGIN)
        for pool in list(adapter.poolmanager.pools._container.values()):
            pool.drop_idle()
    else:
        for route in session._routes.values():
            if route.pool is not None:
                route.pool.drop_idle()


def _exchange(session: HTTPSession, network: Network, number: int, take: Take) -> Outcome:
    status, length, body, error = 0, None, b"", ""
    headers: Mapping[str, str] = {}
    requests_before = [len(connection._starts) for connection in network.connections]
    try:
        with session.get(f"{_ORIGIN}/{number}", CancelScope()) as response:
            status, length, headers = response.status, response.length, response.headers
            body = _read(response, take)
    except TransportError as caught:
        error = caught.kind
        if error not in _KINDS or caught.transient == (error == "long"):
            raise ModelError(
                f"the error's kind is {error}, transient: {caught.transient}"
            ) from None
    used = _used_connection(network, requests_before)
    outcome = Outcome(error, status, body, length, used, headers)
    if used >= 0:
        _judge(outcome, take, network.connections[used])
    elif not error:
        raise ModelError("a response without a request")
    return outcome


def _read(response: Any, take: Take) -> bytes:
    if take is Take.WHOLE:
        return bytes(response.read(LIMIT_BYTES))
    if take is Take.INTO_MEMORY:
        return bytes(response.read(LIMIT_BYTES, PooledBuffer(bytearray())))
    if take is Take.WINDOW:
        return bytes(response.read_window(0, LIMIT_BYTES))
    if take is Take.PART:
        return bytes(response.read_window(3, 5))
    if take is Take.STEPS:
        body = b""
        while part := bytes(response.read_window(0, 7)):
            body += part
            if len(body) > LIMIT_BYTES:
                break
        return body
    return b""


def _used_connection(network: Network, before: list[int]) -> int:
    """Return the number of the connection that got a request since, -1 if none did."""
    for number, connection in reversed(list(enumerate(network.connections))):
        if len(connection._starts) > (before[number] if number < len(before) else 0):
            return number
    return -1


# --- what is right ---------------------------------------------------------------------------------------


def _judge(outcome: Outcome, take: Take, connection: Connection) -> None:
    """Compare what came of a request with what the bytes mean.

    Raises:
        ModelError: It is not that.
    """
    right = connection.foresee()
    if connection.lost and outcome.error:
        return
    if outcome.error:
        if not right.problem and not right.doubtful and len(right.body) <= LIMIT_BYTES:
            raise ModelError(f"{outcome.error} for a valid answer: {right}")
        if right.doubtful or (right.length is not None and right.length > LIMIT_BYTES):
            return
        if outcome.error == "long":
            raise ModelError(f"an answer is called long: {right}")
        return
    if outcome.status != right.status:
        raise ModelError(f"status {outcome.status}, where the bytes say {right}")
    if outcome.length != right.length:
        raise ModelError(f"length {outcome.length}, where the bytes say {right}")
    _judge_body(outcome, take, right)


def _judge_body(outcome: Outcome, take: Take, right: Reading) -> None:
    body = outcome.body
    expected = right.body
    if take is Take.NOTHING:
        expected = b""
    elif take is Take.PART:
        expected = right.body[3:8]
    if not expected.startswith(body):
        raise ModelError(f"the body is {body[:80]!r}, where the bytes say {right}")
    if take in (Take.WHOLE, Take.INTO_MEMORY):
        if right.problem:
            raise ModelError(f"an answer that is {right.problem} is taken for whole: {right}")
        complete = len(body) == len(expected)
    elif take in (Take.WINDOW, Take.STEPS):
        # The caller compares the length that was declared with what came. Without one, an end is an end.
        told = right.length is not None and len(body) < right.length
        if right.problem and not told and len(body) <= LIMIT_BYTES:
            raise ModelError(f"an answer that is {right.problem} ends as if it were whole: {right}")
        complete = told or len(body) == len(expected) or len(body) >= LIMIT_BYTES
    else:
        told = right.length is not None and len(right.body) < right.length
        complete = told or len(body) == len(expected)
    if not complete:
        raise ModelError(f"{len(body)} bytes of the body, where the bytes say {right}")


_client: Client | None = None


def check(case: Case) -> list[Outcome]:
    """Run a case, and say which it was if it fails."""
    global _client
    if _client is None:
        _client = Client()
    try:
        with _without_warnings():
            return _client.run(case)
    except ModelError as error:
        # Bodies and long lines repeat themselves.
        text = re.sub(r"(<\d+>|[a-z])\1{9,}", r"\1...", f"{error}\n    in {case}")
        raise ModelError(text) from None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide the warnings of urllib3's about headers that it cannot parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

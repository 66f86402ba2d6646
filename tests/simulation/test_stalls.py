"""How long a call takes that nothing answers: within the bound that the documentation states."""

from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("greenlet")

from ctera_direct_sync import DirectIOError, Namespace, Settings
from ctera_direct_sync._base import retry
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.api_session import APISession
from ctera_direct_sync._net.errors import TransportError
from tests.schedules.strategies import FewPreemptions

from .network import Network
from .options import Options
from .simulation import Simulation, Simulator

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
#: For the latencies and the threads' turns.
SLACK_S = 1.0

SHIPPED = Settings()
CONNECT_S, READ_S = SHIPPED.storage.timeout
#: After so long a trickling body fails, with `min_speed`.
SPEED_WINDOW_S = 30.0
#: What a web site sets, as the page on Flask advises.
SITE = Settings(retries=2, retry_timeout=20)
SITE.api.timeout = SITE.storage.timeout = (5, 15)


def bound(settings: Settings, attempt_s: float) -> float:
    """Return the most seconds that a call takes if each attempt fails after `attempt_s` seconds."""
    delays = sum(
        min(settings.max_backoff, settings.backoff * 2**retry) for retry in range(settings.retries)
    )
    attempts = (settings.retries + 1) * attempt_s + delays
    return min(attempts, settings.retry_timeout + attempt_s)


class StalledNetwork(Network):
    """The portal, the storage or both never answer.

    Attributes:
        fault: What happens to each request.
        stalls_portal: Whether it happens to the portal, and not to the storage.
    """

    fault = "stall"
    stalls_portal = False

    def _choose_fault(self, is_portal: bool) -> str:
        return self.fault if is_portal == self.stalls_portal else ""


class StalledRun(Simulation):
    """One call, and the virtual seconds until its error."""

    make_call: Callable[[Any, int], object]
    error: BaseException | None = None
    took_s = 0.0

    def main(self) -> None:
        """Make the call."""
        self.client = self._make_client()
        began = self.network.time
        try:
            self.make_call(self.client, 1)
        except Exception as error:
            self.error = error.with_traceback(None)
        self.took_s = self.network.time - began
        self.client.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """The package in virtual time."""
    with Simulator() as made:
        yield made


def run(
    simulator: Simulator, settings: Settings, call: Any, fault: str, stalls_portal: bool
) -> StalledRun:
    """Return a call that has ended."""
    options = dataclasses.replace(
        Options.draw(random.Random(0)),
        **dict.fromkeys(("preempt", "coded", "changing", "down", "faults", "interrupts"), 0.0),
        **{name: getattr(settings, name) for name in ("retries", "backoff", "max_backoff")},
        retry_timeout=settings.retry_timeout,
        timeout_s=settings.storage.timeout,
        memory=settings.memory,
        max_workers=settings.max_workers,
        files=1,
        slow_node=-2,
        latency=0.001,
        url_ttl_s=1e6,
    )
    library = simulator._instance(points=False)
    library.reset()
    library.substitutes.rng = random.Random(1)
    scheduler = library.scheduler
    scheduler.reset(FewPreemptions(random.Random(2), []))
    made = StalledRun(library, 0, options, random.Random(3), Path(), keep_trace=False)
    network = StalledNetwork(scheduler, random.Random(4), options, made.world.expect, made.note)
    network.fault, network.stalls_portal = fault, stalls_portal
    made.network, made.make_call = network, call
    library.run, library.network = made, network
    scheduler.spawn(made.main, "main")
    try:
        scheduler.run()
    finally:
        scheduler.kill()
    assert made.world.problems == []
    assert isinstance(made.error, DirectIOError), made.error
    return made


def _read_open_file(client: Any, file_id: int) -> None:
    with client.open(file_id) as file:
        file.read()


CALLS: dict[str, Any] = {
    "stream": lambda client, file_id: list(client.stream(file_id)),
    "iter_blocks": lambda client, file_id: list(client.iter_blocks(file_id)),
    "blocks": lambda client, file_id: [each.result() for each in client.blocks(file_id)],
    "download": lambda client, file_id: client.download(file_id, io.BytesIO()),
    "open": _read_open_file,
}
ALL_CALLS = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
ALL_SETTINGS = pytest.mark.parametrize("settings", [SHIPPED, SITE], ids=["shipped", "site"])


@ALL_SETTINGS
@ALL_CALLS
def test_a_silent_storage(simulator: Simulator, call: Any, settings: Settings) -> None:
    """A storage that accepts connections and never answers ends each call within the bound."""
    ended = run(simulator, settings, call, "stall", stalls_portal=False)
    assert ended.took_s <= bound(settings, settings.storage.timeout[1]) + SLACK_S
    assert "silent" in str(ended.error)


@ALL_CALLS
def test_a_storage_that_cannot_be_connected_to(simulator: Simulator, call: Any) -> None:
    """A storage that swallows connections ends each call within the bound of the connect timeout."""
    ended = run(simulator, SHIPPED, call, "no-connection", stalls_portal=False)
    assert ended.took_s <= bound(SHIPPED, CONNECT_S) + SLACK_S


@ALL_SETTINGS
def test_a_silent_portal(simulator: Simulator, settings: Settings) -> None:
    """A portal that never answers ends a listing within the same bound."""
    ended = run(simulator, settings, CALLS["stream"], "stall", stalls_portal=True)
    assert ended.took_s <= bound(settings, settings.api.timeout[1]) + SLACK_S


@ALL_SETTINGS
def test_a_portal_that_is_silent_to_names(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """A portal that never answers ends a look-up within the same bound: signing in is the first call."""
    now = 0.0

    def wait(scope: CancelScope, seconds: float) -> None:
        nonlocal now
        now += seconds

    def request(session: APISession, *arguments: Any, **options: Any) -> Any:
        nonlocal now
        now += settings.api.timeout[1]
        raise TransportError("timeout", "nothing came within the read timeout")

    monkeypatch.setattr(retry, "monotonic", lambda: now)
    monkeypatch.setattr(CancelScope, "wait", wait)
    monkeypatch.setattr(APISession, "request", request)
    names = Namespace("http://portal.test", "alice", "secret", settings=settings)
    with names, pytest.raises(DirectIOError):
        names.stat("/My Files")
    assert now <= bound(settings, settings.api.timeout[1])


@pytest.mark.skipif(not PAGE.exists(), reason="an installed package is tested without its pages")
def test_the_page_states_the_bounds() -> None:
    """The page on reliability has the numbers of the settings that ship."""
    text = PAGE.read_text("utf-8")
    for attempt_s in (READ_S, CONNECT_S, SPEED_WINDOW_S):
        assert f"| {bound(SHIPPED, attempt_s):.0f} s |" in text
    assert f": {bound(SITE, 15):.0f} seconds." in text

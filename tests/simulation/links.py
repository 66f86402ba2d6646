"""Downloads by the real client over the links of the emulator's network profiles, in virtual time.

    python -m tests.simulation.links                    each profile: own number of workers, and fixed ones
    python -m tests.simulation.links --tail             what hedging does, with and without the trouble

The engine, its tuner, the hedging and the storage's side of the protocol are the real code. `Link` takes
the place of the sockets. A block costs the processor a fixed time, which one thread at a time has.
A seed decides everything, so two versions of the client meet the same network.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ctera_direct_sync import Settings
from ctera_direct_sync._engine import transfer
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync.emulator.network import (
    DOWN,
    PROFILES,
    UP,
    Connection,
    NetworkProfile,
)
from ctera_direct_sync.emulator.network import Network as Traffic
from tests.schedules.strategies import FewPreemptions

from .network import PORTAL
from .options import Options
from .simulation import Simulation, Simulator

__all__ = ["SCENARIOS", "Link", "Measured", "Scenario", "measure"]

_MB = 1e6
_KIB = 1024
_REQUEST_BYTES = 400
_READ_TIMEOUT_S = 60.0
#: What the pieces of all connections share a line by.
_PIECE_BYTES = 64 * _KIB
#: The processor time of a request and of a block. The client, a relay and a server on two cores need more.
_CPU_S = 0.0003


class Scenario(NamedTuple):
    """A profile whose trouble can be taken away.

    Attributes:
        profile: The network.
        right: What makes it right.
        block: The bytes of a block.
        mib: The size of the file.
    """

    profile: NetworkProfile
    right: Mapping[str, float]
    block: int
    mib: int


#: What `bench.networks.tail` measures with sockets, and the same trouble in larger blocks.
SCENARIOS = {
    "slow": Scenario(
        NetworkProfile(
            "slow", latency=0.05, connection_rate=10 * _MB, slow_requests=0.05, slow_factor=10
        ),
        {"slow_requests": 0.0},
        256 * _KIB,
        256,
    ),
    "far": Scenario(
        NetworkProfile(
            "far", latency=0.1, connection_rate=5 * _MB, slow_requests=0.05, slow_factor=10
        ),
        {"slow_requests": 0.0},
        256 * _KIB,
        256,
    ),
    "dead": Scenario(
        NetworkProfile("dead", latency=0.01, connection_rate=10 * _MB, dead_requests=0.02),
        {"dead_requests": 0.0},
        256 * _KIB,
        256,
    ),
    "capped": Scenario(
        NetworkProfile(
            "capped", latency=0.01, connection_rate=2 * _MB, slow_connections=0.7, slow_factor=8
        ),
        {"slow_connections": 0.0},
        256 * _KIB,
        256,
    ),
    "capped-4m": Scenario(
        NetworkProfile(
            "capped-4m", latency=0.01, connection_rate=8 * _MB, slow_connections=0.7, slow_factor=8
        ),
        {"slow_connections": 0.0},
        4096 * _KIB,
        1024,
    ),
    "few-capped": Scenario(
        NetworkProfile(
            "few-capped", latency=0.03, connection_rate=4 * _MB, slow_connections=0.2, slow_factor=6
        ),
        {"slow_connections": 0.0},
        512 * _KIB,
        256,
    ),
}
#: The block and the MiB of each profile: some seconds of its line.
SIZES = {
    "lan": (512 * _KIB, 256),
    "office": (512 * _KIB, 32),
    "long": (512 * _KIB, 512),
    "slow": (64 * _KIB, 2),
    "shaky": (512 * _KIB, 32),
    "one-slow-node": (512 * _KIB, 256),
    "capped": (512 * _KIB, 128),
    "dead-get": (512 * _KIB, 256),
    "light": (512 * _KIB, 128),
    "heavy": (512 * _KIB, 64),
    "bursty": (512 * _KIB, 128),
}
_MAX_DEPTH = 100_000
FIXED = (2, 4, 8, 16, 32, 64, 128)
SEEDS = (3, 5, 7)


class Measured(NamedTuple):
    """What one download took.

    Attributes:
        seconds: The virtual time of the whole file.
        p50: The median of the time of a block, in seconds.
        p99: Its 99th percentile.
        requests: Requests to the storage.
        twins: How many of them were second ones.
        moved: How many of them took the place of one on a slow connection.
        retired: Connections that were given up after a request.
        connections: How many were made.
    """

    seconds: float
    p50: float
    p99: float
    requests: int
    twins: int
    moved: int
    retired: int
    connections: int


class Link:
    """A portal and a storage behind the links of a profile: what `simulation.Network` is for `Simulation`.

    Each thread has a connection to the storage, which is dropped when a request over it is cut off.

    Attributes:
        requests: Requests to the storage so far.
        connections: Connections to the storage so far.
        used_s: Processor time so far.
    """

    faulty = over = False
    open_bodies = 0

    def __init__(
        self, scheduler: Any, profile: NetworkProfile, seed: int, block: int, count: int
    ) -> None:
        self.scheduler = scheduler
        self.traffic = Traffic(profile, seed)
        self.block = block
        self.requests = self.connections = 0
        self.used_s = 0.0
        self.injected: dict[str, int] = {}
        self._data = memoryview(bytes(block))
        self._free_at = 0.0
        self._count = count
        self._began = scheduler.now
        self._by_thread: dict[int, Connection] = {}

    @property
    def time(self) -> float:
        """The virtual time since the beginning in seconds."""
        passed: float = self.scheduler.now - self._began
        return passed

    def pause(self, scope: Any, until: float) -> None:
        """Block as on a socket until a time, or a cancel.

        Raises:
            TransportError: The socket was shut, or nothing came in time.
        """
        scheduler = self.scheduler
        seconds = until - self.time
        if seconds <= 0:
            return
        wait = scheduler.new_wait("the network")
        scope.attach(lambda: scheduler.wake(wait))
        try:
            woken = scheduler.block(wait, min(seconds, _READ_TIMEOUT_S))
        finally:
            scope.detach()
        if woken:
            raise TransportError("connection", "the connection was shut")
        if seconds > _READ_TIMEOUT_S:
            raise TransportError("timeout", "nothing came within the read timeout", 110)

    def compute(self, scope: Any) -> None:
        """Use the processor, once the others have done so."""
        self.used_s += _CPU_S
        self._free_at = max(self._free_at, self.time) + _CPU_S
        self.pause(scope, self._free_at)

    def send(self, url: str, scope: Any, headers: Any, timeouts: Any) -> Any:
        """Answer a GET.

        Raises:
            TransportError: There is no answer.
        """
        if url.startswith(PORTAL + "/"):
            self.pause(scope, self.time + 2 * self.traffic.profile.latency)
            return _Answer(self, self._list_blocks(), None, scope)
        self.requests += 1
        thread = self.scheduler.current.ident
        connection = self._by_thread.pop(thread, None)
        if connection is None:
            self.connections += 1
            connection = self.traffic.connect()
            self.pause(scope, self.time + 2 * self.traffic.profile.latency)
            scope.is_cold, scope.sent_at = True, self.scheduler.now
        start = max(self.time, connection.ready_at(UP))
        answer = connection.send(_REQUEST_BYTES, UP, start)
        self.pause(scope, answer)
        made = _Answer(self, self._data, connection, scope)
        made.begin()
        return made

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request of this thread."""
        self._by_thread[self.scheduler.current.ident] = connection

    def _list_blocks(self) -> memoryview:
        chunks = [
            {"url": f"https://node.simulated.test/{number}?sig=1", "len": self.block}
            for number in range(self._count)
        ]
        document = {
            "encrypt_info": {"data_encrypted": False},
            "compression_type": "NONE",
            "actual_blocks_range": {"file_size": self.block * self._count},
            "chunks": chunks,
        }
        return memoryview(json.dumps(document).encode())


class _Answer:
    """An answer whose body comes piece by piece, as `Response` reads one."""

    def __init__(
        self, link: Link, body: memoryview, connection: Connection | None, scope: Any
    ) -> None:
        self.status = 200
        self.headers = {"content-type": "application/octet-stream"}
        self.length = len(body)
        self.received = 0
        self._body = body
        self._link = link
        self._scope = scope
        self._connection = connection
        self._unsent = len(body)
        self._ready = 0.0
        self._arrivals: deque[tuple[float, int]] = deque()
        self._retired = False
        if connection is None:
            self.received = len(body)

    def begin(self) -> None:
        """Wait for the first piece."""
        self._ready = max(self._link.time, self._connection.ready_at(DOWN))  # type: ignore[union-attr]
        while not self.received:
            self._step()

    def _step(self) -> None:
        """Wait until a piece can be sent, or until one arrives."""
        link, connection = self._link, self._connection
        assert connection is not None
        arrival = self._arrivals[0][0] if self._arrivals else math.inf
        if self._unsent and self._ready <= arrival:
            link.pause(self._scope, self._ready)
            size = min(min(_PIECE_BYTES, connection.piece_size()), self._unsent)
            self._unsent -= size
            arrives = connection.send(size, DOWN, max(link.time, self._ready))
            self._ready = max(link.time, connection.ready_at(DOWN))
            self._arrivals.append((arrives, size))
            return
        link.pause(self._scope, arrival)
        self.received += self._arrivals.popleft()[1]

    def read(self, size: int, buffer: Any = None) -> Any:
        """Return the whole body."""
        if self._connection is not None:
            while self.received < self.length:
                self._step()
            self._link.compute(self._scope)
        if buffer is None:
            return bytes(self._body)
        view = buffer.view(size)
        view[:] = self._body
        return view

    def retire(self) -> None:
        """Have `close` give the connection up."""
        self._retired = True

    def close(self) -> None:
        """Give the connection back, if the body was read."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._retired and self.received == self.length:
            self._link.keep(connection)


class _Download(Simulation):
    """One download.

    Attributes:
        workers: `max_workers` of the call.
        client_settings: The settings of the client.
        measured: What it took.
    """

    workers: int | None = None
    client_settings: Settings
    measured: Measured

    def main(self) -> None:
        """Download the file once."""
        link: Any = self.network
        begun: dict[int, float] = {}
        times: list[float] = []

        def note(event: Any) -> None:
            if event.name == "started":
                begun[event.number] = event.time
            elif event.name == "decoded":
                times.append(event.time - begun[event.number])

        client = self.library.client.DirectIO(
            PORTAL, "key", "secret", settings=self.client_settings, on_event=note
        )
        self.world.engines.append(client._core.engine)
        began = link.time
        for _ in client.iter_blocks(1, max_workers=self.workers):
            pass
        seconds = link.time - began
        hedging = client._core.hedging
        times.sort()
        self.measured = Measured(
            seconds,
            times[len(times) // 2],
            times[len(times) * 99 // 100],
            link.requests,
            hedging.twins,
            getattr(hedging, "moved", 0),
            hedging.retired,
            link.connections,
        )
        client.close()


def measure(
    simulator: Simulator,
    profile: NetworkProfile,
    *,
    block: int,
    mib: int,
    workers: int | None = None,
    seed: int = 3,
    hedging: float = 0.05,
) -> Measured:
    """Return what a download of a file takes.

    Args:
        simulator: Runs it.
        profile: The network.
        block: The bytes of a block.
        mib: The MiB of the file.
        workers: The number of workers. None: the client's own.
        seed: The network's seed.
        hedging: The share of requests that may be sent twice.
    """
    options = dataclasses.replace(Options.draw(random.Random(0)), files=1, preempt=0.0)
    library = simulator._instance(points=False)
    library.reset()
    scheduler = library.scheduler
    scheduler.reset(FewPreemptions(random.Random(2), []))
    made = _Download(library, 0, options, random.Random(3), Path(), keep_trace=False)
    link = Link(scheduler, profile, seed, block, mib * _KIB * _KIB // block)
    made.network = link  # type: ignore[assignment]
    made.workers = workers
    made.client_settings = Settings(hedging=hedging, tune_allocator=False, filter_logs=False)
    library.run, library.network = made, link  # type: ignore[assignment]
    library.transfer._MAX_QUEUED = transfer._MAX_QUEUED
    library.engine.process_time = lambda: link.used_s
    main = scheduler.spawn(made.main, "main")
    try:
        scheduler.run()
    finally:
        scheduler.kill()
        if main.error is not None:
            raise main.error
    assert made.world.problems == [], made.world.problems
    return made.measured


def _print_profiles(simulator: Simulator, names: Sequence[str], seeds: Sequence[int]) -> None:
    print("| network | seed | own | " + " | ".join(map(str, FIXED)) + " | own / best |")
    print("| --- |" + " ---: |" * (len(FIXED) + 3), flush=True)
    for name in names:
        block, mib = SIZES[name]
        for seed in seeds:
            found = [
                measure(
                    simulator, PROFILES[name], block=block, mib=mib, workers=number, seed=seed
                ).seconds
                for number in (None, *FIXED)
            ]
            best = min(found[1:]) / found[0]
            cells = " | ".join(f"{each:.2f}" for each in found)
            print(f"| {name} | {seed} | {cells} | {best:.2f} |", flush=True)


def _print_tails(
    simulator: Simulator, names: Sequence[str], seeds: Sequence[int], workers: int | None
) -> None:
    names_of_columns = ("seconds", "of right", "p50", "p99", *Measured._fields[3:])
    print("| network | seed | hedging | " + " | ".join(names_of_columns) + " |")
    print("| --- |" + " ---: |" * 11, flush=True)
    for name in names:
        scenario = SCENARIOS[name]
        right = dataclasses.replace(scenario.profile, **scenario.right)  # type: ignore[arg-type]
        for seed in seeds:
            best = 0.0
            rows = [(right, 0.0), (scenario.profile, 0.0), (scenario.profile, 0.05)]
            for profile, share in rows:
                found = measure(
                    simulator, profile, block=scenario.block, mib=scenario.mib,
                    workers=workers, seed=seed, hedging=share,
                )  # fmt: skip
                best = best or found.seconds
                label = "right" if profile is right else str(share)
                print(
                    f"| {name} | {seed} | {label} | {found.seconds:.2f} | {best / found.seconds:.2f} | "
                    f"{found.p50 * 1e3:.0f} ms | {found.p99 * 1e3:.0f} ms | "
                    + " | ".join(map(str, found[3:]))
                    + " |",
                    flush=True,
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.links", description=__doc__)
    parser.add_argument("--tail", action="store_true", help="what hedging does")
    parser.add_argument("--only", nargs="+", choices=sorted({*PROFILES, *SCENARIOS}))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--workers", type=int, default=32, help="of --tail; 0: the client's own")
    options = parser.parse_args(arguments)
    # A task begins at the depth of the one that it is first switched from, and one thread starts the next.
    sys.setrecursionlimit(_MAX_DEPTH)
    with Simulator() as simulator:
        if options.tail:
            names = options.only or list(SCENARIOS)
            _print_tails(simulator, names, options.seeds, options.workers or None)
        else:
            _print_profiles(simulator, options.only or list(SIZES), options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

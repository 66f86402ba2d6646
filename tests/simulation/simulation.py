"""One simulated run: a client, its users, a portal and a storage, in one process and in virtual time.

A seed decides everything. In the first phase things go wrong, and each call ends with the right bytes or
with an error that something explains. In the second phase nothing goes wrong, and each call must succeed.
"""

from __future__ import annotations

import gc
import hashlib
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ctera_direct_sync.settings import Endpoint, Settings
from tests.schedules.instrument import Change
from tests.schedules.library import Library
from tests.schedules.strategies import FewPreemptions, RandomWalk
from tests.schedules.world import World

from .calls import KINDS, PATH_KINDS, Call
from .network import KEY, PORTAL, Network
from .options import Options

__all__ = ["Outcome", "Simulation", "Simulator"]

#: Virtual seconds after which a run is a deadlock: three days.
_HORIZON_S = 3 * 86400.0
_MAX_STEPS = 3_000_000
#: Virtual seconds that a retry loop may go on after its scope was cancelled.
_PROMPT_S = 1.5
#: Virtual seconds that the blocks of an interrupted call may take: it leaves its futures to themselves.
_MAX_REQUESTS_S = 3600.0
#: One run in so many has a limit of the bandwidth, in bytes per second.
_SEEDS_PER_LIMIT, _BANDWIDTH = 6, 2000
#: One run in so many sends late requests twice, as often as it likes.
_SEEDS_PER_HEDGING = 3
#: Runs after which the garbage collector runs: it must not run amid one.
_RUNS_PER_COLLECTION = 50


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        problem: What was found. None: nothing.
        digest: The digest of all requests, times and results.
        calls: How the calls of the users ended, and how often.
        requests: The number of requests.
        seconds: The virtual time that passed.
        options: The options of the run.
        trace: The events, if they were asked for.
    """

    problem: str | None
    digest: str
    calls: Counter[str]
    requests: int
    seconds: float
    options: Options
    trace: Sequence[str]


class _Instance(Library):
    """One instance of the package, above a network that `network` stands for.

    Attributes:
        network: The network of the present run.
        run: The present run.
    """

    network: Network
    run: Simulation

    def __init__(self, changes: Sequence[Change], points: bool) -> None:
        super().__init__(changes, points=points)
        scheduler = self.scheduler
        scheduler.horizon_s, scheduler.max_steps = _HORIZON_S, _MAX_STEPS
        # What is loaded or kept at its first use must not be a part of the first run.
        for name in self.package.own_modules():
            self.module(name)
        self.engine.Engine(1, cancelled_error=repr, forked_error=repr)
        self.core = self.module("_core")
        self.client = self.module("client")
        self._replace_network()
        self._watch_retries()
        self._watch_cancels()
        self._number(self.cancellation.CancelScope)
        self._number(self.module("_readers.block_cache").BlockCache)
        # as_completed() puts futures into a set, and locks them in the order of their addresses.
        futures = self.package.standard_futures
        self._number(futures.Future)
        futures.id = hash

    def reset(self) -> None:
        """Forget what the last run left in module-level state."""
        super().reset()
        self.core._cores.clear()
        self._count = 0

    def _number(self, kind: Any) -> None:
        """Give instances a hash that is the same in each run: sets iterate in its order."""
        make = kind.__init__

        def init(instance: Any, *arguments: Any, **options: Any) -> None:
            self._count += 1
            instance.__dict__["_simulated_number"] = self._count
            make(instance, *arguments, **options)

        kind.__init__ = init
        kind.__hash__ = lambda instance: instance.__dict__["_simulated_number"]

    def _replace_network(self) -> None:
        """Answer from `network` where a session would open a socket."""
        instance, module = self, self.module("_net.session")
        meter = self.module("_net.meter")

        class SimulatedSession(module.HTTPSession):  # type: ignore[misc,name-defined]
            """A session without sockets."""

            def __init__(self, endpoint: Any, tls: Any, **options: Any) -> None:
                self._timeouts = endpoint.timeout
                self._meter = options["meter"]
                self._routes: dict[str, Any] = {}
                self._meter = meter.Meter("storage")
                self._is_closed = False

            def _send(
                self,
                url: str,
                origin: str,
                target: str,
                scope: Any,
                extra: Mapping[str, str] | None,
            ) -> Any:
                instance.run.world.expect(not self._is_closed, "a request over a closed session")
                return instance.network.send(url, scope, extra or {}, self._timeouts)

            def close(self) -> None:
                """Note the end."""
                self._is_closed = True

        module.HTTPSession = self.core.HTTPSession = SimulatedSession
        self.core.TLS = lambda *_: None

    def _watch_retries(self) -> None:
        """Count the attempts of each call of `retry_call`, and its delays."""
        real = self.module("_base.retry").retry_call

        def retry_call(
            policy: Any, attempt: Any, *, scope: Any, renew: Any = None, **more: Any
        ) -> Any:
            return self.run.watch_retries(real, policy, attempt, scope, renew, more)

        for name in ("_protocol.portal", "_protocol.storage"):
            self.module(name).retry_call = retry_call

    def _watch_cancels(self) -> None:
        """Note when a scope was cancelled."""
        kind = self.cancellation.CancelScope
        real = kind.cancel

        def cancel(scope: Any) -> None:
            scope.__dict__.setdefault("cancelled_at", self.scheduler.now)
            real(scope)

        kind.cancel = cancel


class Simulation:
    """One run.

    Attributes:
        options: Its options.
        library: The package.
        world: Starts tasks, and notes problems.
        network: The portal and the storage.
        client: The client.
        closing: Whether its close has begun.
        paused: Virtual seconds that users have paused.
        calls: How calls ended, and how often.
    """

    client: Any

    def __init__(
        self, library: _Instance, seed: int, options: Options, rng: random.Random, folder: Path,
        keep_trace: bool,
    ) -> None:  # fmt: skip
        self.library = library
        self.options = options
        self.world = World(library, seed)
        self.rng = rng
        self.closing = False
        self.paused = 0.0
        self.calls: Counter[str] = Counter()
        self.trace: list[str] = []
        self._closed_at = self._paused_before = 0.0
        # By the seed, and not by chance: all other seeds stay as they were.
        self._bandwidth = None if seed % _SEEDS_PER_LIMIT else _BANDWIDTH
        self._hedging = float(seed % _SEEDS_PER_HEDGING == 1)
        self._folder = folder
        self._folders = 0
        self._keep_trace = keep_trace
        self._digest = hashlib.blake2b(digest_size=16)
        self.network = Network(
            library.scheduler, random.Random(rng.random()), options, self.world.expect, self.note
        )

    @property
    def digest(self) -> str:
        """The digest of all events so far."""
        return self._digest.hexdigest()

    def note(self, *event: object) -> None:
        """Note an event for the trace."""
        row = f"{self.network.time:.6f} {self.library.scheduler.current.name} {event}"
        self._digest.update(row.encode())
        if self._keep_trace:
            self.trace.append(row)

    def count(self, outcome: str) -> None:
        """Count a call that has ended."""
        self.calls[outcome] += 1

    def pause(self, seconds: float) -> None:
        """Let the current task sleep, on behalf of a user."""
        self.world.sleep(seconds)
        self.paused += seconds

    def new_folder(self) -> Path:
        """Return a folder that is empty."""
        self._folders += 1
        made = self._folder / str(self._folders)
        made.mkdir()
        return made

    # --- the run ---------------------------------------------------------------------------------------

    def main(self) -> None:
        """Run both phases."""
        self.client = self._make_client()
        self._run_phase(calm=False)
        if self.closing:
            self._join()
            self._check_closed()
            self.closing = self.network.over = False
            self.client = self._make_client()
        self.network.faulty = False
        self.world.sleep(max(0.0, self.options.disturbed_s - self.network.time) + 0.001)
        self._run_phase(calm=True)
        self._close()
        self._check_closed()

    def _make_client(self) -> Any:
        options = self.options
        endpoint = Endpoint(timeout=options.timeout_s)
        client = self.library.client.DirectIO(
            PORTAL,
            KEY,
            "secret",
            settings=Settings(
                api=endpoint,
                storage=endpoint,
                max_workers=options.max_workers,
                memory=options.memory,
                retries=options.retries,
                backoff=options.backoff,
                max_backoff=options.max_backoff,
                retry_timeout=options.retry_timeout,
                bandwidth=self._bandwidth,
                hedging=self._hedging,
                tune_allocator=False,
                filter_logs=False,
            ),
        )
        self.world.engines.append(client._core.engine)
        return client

    def _run_phase(self, calm: bool) -> None:
        options, rng = self.options, self.rng
        for number in range(options.users):
            calls = []
            for _ in range(options.calls):
                kinds = PATH_KINDS if rng.random() < options.paths else KINDS
                calls.append(Call(self, rng.choice(kinds), random.Random(rng.random()), calm))

            def user(calls: list[Call] = calls) -> None:
                for call in calls:
                    call()

            self.world.spawn(user, f"user {number}")
        if options.closes and not calm:
            after = rng.choice((0.0, 0.01, 0.3, 5.0, 100.0))

            def closer() -> None:
                self.world.sleep(after)
                self._close()

            self.world.spawn(closer, "closer")
        self._join()
        if not self.closing:
            engine = self.client._core.engine
            self.world.settle(engine, _MAX_REQUESTS_S)
            self.world.check_rest(engine)
            self._check_memory()

    def _join(self) -> None:
        """Wait for all users, and for the tasks that they have started."""
        while any(not task.done for task in self.world._spawned):
            self.world.join()

    def seconds_since_close(self) -> float:
        """Return the virtual seconds since the close began, without the pauses of users."""
        if not self.closing:
            return 0.0
        return self.network.time - self._closed_at - (self.paused - self._paused_before)

    def _close(self) -> None:
        self.closing = True
        self._closed_at, self._paused_before = self.network.time, self.paused
        self.client.close()
        self.network.over = True
        self.note("closed")

    def _check_memory(self) -> None:
        for memory in self.library.module("_readers.block_memory")._memories.values():
            held = memory.held_bytes
            self.world.expect(held == 0, f"closed files hold {held} bytes")

    def _check_closed(self) -> None:
        world, engine = self.world, self.client._core.engine
        world.expect(engine._failure is None, f"the engine failed: {engine._failure!r}")
        world.expect(engine._threads == 0, f"{engine._threads} threads live after close()")
        world.check_transfers(engine)
        self._check_memory()
        undecided = sum(not future.done() for future in world.futures)
        world.expect(not undecided, f"{undecided} futures are undecided")
        world.sleep(0.001)  # A bare thread that has started another one may still have to end.
        alive = [task.name for task in self.library.scheduler.tasks if not task.done]
        world.expect(len(alive) == 1, f"threads are left: {alive}")
        is_struck = world.struck
        left = self.network.open_bodies
        world.expect(is_struck or not left, f"{left} answers were not closed")

    # --- the policy ------------------------------------------------------------------------------------

    def watch_retries(
        self,
        real: Callable[..., Any],
        policy: Any,
        attempt: Callable[[int], Any],
        scope: Any,
        renew: Callable[[Any], bool] | None,
        more: dict[str, Any],
    ) -> Any:
        """Run a retry loop, and check that it keeps to its policy."""
        scheduler, expect = self.library.scheduler, self.world.expect
        began = scheduler.now
        busy = 0.0
        attempts = renewals = 0

        def counted(number: int) -> Any:
            nonlocal attempts, busy
            attempts += 1
            expect(number == attempts, "an attempt has another number than it should")
            limit = 1 + policy.retries + renewals
            expect(attempts <= limit, f"{attempts} attempts with {policy.retries} retries")
            start = scheduler.now
            try:
                return attempt(number)
            finally:
                busy += scheduler.now - start

        def counted_renewal(failure: Any) -> bool:
            nonlocal renewals, busy
            start = scheduler.now
            try:
                renewed = renew is not None and renew(failure)
            finally:
                busy += scheduler.now - start
            renewals += renewed
            expect(renewals <= policy.max_renewals, f"{renewals} renewals in one call")
            return renewed

        try:
            return real(
                policy, counted, scope=scope,
                renew=None if renew is None else counted_renewal, **more,
            )  # fmt: skip
        finally:
            delays = scheduler.now - began - busy
            limit = policy.retry_timeout + 0.01 * (attempts + 1)
            expect(delays <= limit, f"delays of {delays:.0f} s with {policy.retry_timeout} s")
            cancelled_at = max(began, scope.__dict__.get("cancelled_at", scheduler.now))
            late = scheduler.now - cancelled_at
            expect(late < _PROMPT_S, f"a retry loop went on for {late:.1f} s after a cancel")


class Simulator:
    """Runs seeds, one after another, on one instance of the package or two.

    Args:
        changes: What is different from the source on disk.
    """

    def __init__(self, changes: Sequence[Change] = ()) -> None:
        self._changes = changes
        self._instances: dict[bool, _Instance] = {}
        self._runs = 0
        shared = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)

    def close(self) -> None:
        """Remove the folder, and forget the instances."""
        self._folder.cleanup()
        for instance in self._instances.values():
            instance.package.discard()
        self._instances.clear()

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _instance(self, points: bool) -> _Instance:
        if points not in self._instances:
            self._instances[points] = _Instance(self._changes, points)
        return self._instances[points]

    def run(self, seed: int, *, keep_trace: bool = False) -> Outcome:
        """Run one seed."""
        rng = random.Random(seed)
        options = Options.draw(rng)
        library = self._instance(options.preempt > 0)
        scheduler = library.scheduler
        library.reset()
        library.substitutes.rng = random.Random(rng.random())
        dice = random.Random(rng.random())
        strategy = (
            RandomWalk(dice, 0.0, options.preempt) if options.preempt else FewPreemptions(dice, [])
        )
        scheduler.reset(strategy)
        folder = Path(self._folder.name, str(self._runs))
        folder.mkdir()
        run = Simulation(library, seed, options, rng, folder, keep_trace)
        library.run, library.network = run, run.network
        self._runs += 1
        problems: list[str] = []
        scheduler.spawn(run.main, "main")
        # The collector would run finalizers at other moments each time.
        hook, sys.unraisablehook = sys.unraisablehook, _note_unraisable(scheduler, problems)
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            scheduler.run()
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
        finally:
            problems[:0] = run.world.problems
            digest, seconds = run.digest, run.network.time
            scheduler.kill()
            sys.unraisablehook = hook
            if self._runs % _RUNS_PER_COLLECTION == 0:
                gc.collect()
            if was_enabled:
                gc.enable()
        problems += [
            f"{task.name} died of {task.error!r}" for task in scheduler.tasks if task.error
        ]
        shutil.rmtree(folder)
        problem = "; ".join(dict.fromkeys(problems)) or None
        return Outcome(
            problem, digest, run.calls, run.network.requests, seconds, options, run.trace
        )


def _note_unraisable(scheduler: Any, problems: list[str]) -> Callable[[Any], None]:
    """Return a hook for errors of finalizers. Python drops an interrupt that strikes one."""

    def note(unraisable: Any) -> None:
        if not scheduler.frozen and not isinstance(unraisable.exc_value, KeyboardInterrupt):
            problems.append(f"a finalizer raised {unraisable.exc_value!r}")

    return note

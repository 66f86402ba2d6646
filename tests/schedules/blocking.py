"""What blocks and what tells time, made of a scheduler's tasks.

`Substitutes` has modules in the place of `threading`, `_thread`, `queue`, `time`, `os`, `atexit` and
`concurrent.futures`. They behave as CPython's: a plain lock is not re-entrant, an event is made of one,
and an interrupt comes before a lock is taken or while a thread waits for it, never right after.
"""

from __future__ import annotations

import _thread
import atexit
import concurrent.futures
import os
import queue
import random
import threading
import time
import types
import weakref
from collections import deque
from typing import Any, Callable

from .scheduler import Scheduler, Task, Wait

__all__ = ["Substitutes"]


class _Current:
    """What `threading.current_thread` returns."""

    def __init__(self, task: Task | None) -> None:
        self.name = "MainThread" if task is None else task.name
        self.ident = 0 if task is None else task.ident


class Substitutes:
    """The modules for one instance of the package.

    Attributes:
        modules: The modules by name.
        threads_left: How many threads the system still gives. None: any number.
        pid: The number of the process, which a fork changes.
        after_fork: What was registered to run in a forked child.
        at_exit: What was registered to run at the end of the program.
        rng: What `random.random` takes its numbers from.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.threads_left: int | None = None
        self.pid = 1
        self.after_fork: list[Callable[[], object]] = []
        self.at_exit: list[Callable[[], object]] = []
        self.rng = random.Random(0)
        kinds = _make_kinds(self, scheduler)
        shim = _copy(threading, **kinds)
        self.modules: dict[str, types.ModuleType] = {
            "threading": shim,
            "_thread": _copy(
                _thread,
                RLock=kinds["RLock"],
                allocate_lock=kinds["Lock"],
                get_ident=kinds["get_ident"],
                start_new_thread=self._start_new_thread,
            ),
            "queue": _copy(queue, SimpleQueue=_make_simple_queue(scheduler)),
            "time": _copy(
                time,
                sleep=self._sleep,
                monotonic=self._now,
                perf_counter=self._now,
                time=self._now,
                process_time=lambda: 0.0,
            ),
            "os": _copy(
                os,
                getpid=lambda: self.pid,
                cpu_count=lambda: 2,
                register_at_fork=self._register_at_fork,
            ),
            "atexit": _copy(atexit, register=self._register_at_exit),
            "random": _copy(random, random=lambda: self.rng.random()),
            "weakref": _copy(weakref),
        }

    def use_futures(self, base: types.ModuleType) -> None:
        """Offer an instrumented copy of `concurrent.futures._base` as `concurrent.futures`."""
        executor = base.Executor

        class ThreadPoolExecutor(executor):  # type: ignore[misc,valid-type]
            """What `WorkerPool` is built on, without threads of its own."""

            def __init__(
                self, max_workers: int | None = None, thread_name_prefix: str = ""
            ) -> None:
                self._max_workers = max_workers

        names = {name: value for name, value in vars(base).items() if not name.startswith("__")}
        self.modules["concurrent.futures"] = _copy(
            concurrent.futures, **names, ThreadPoolExecutor=ThreadPoolExecutor
        )

    def count_thread(self) -> None:
        """Count a new thread. RuntimeError if the system gives none."""
        if self.threads_left is not None:
            if self.threads_left <= 0:
                raise RuntimeError("can't start new thread")
            self.threads_left -= 1

    def _start_new_thread(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> int:
        self.scheduler.point()
        self.count_thread()
        task = self.scheduler.spawn(lambda: function(*arguments), f"{function.__name__}")
        return task.ident

    def _sleep(self, seconds: float) -> None:
        if self.scheduler.current is not None:
            self.scheduler.block(self.scheduler.new_wait(f"{seconds} s"), seconds)

    def _now(self) -> float:
        return self.scheduler.now

    def _register_at_fork(self, **hooks: Callable[[], object]) -> None:
        if "after_in_child" in hooks:
            self.after_fork.append(hooks["after_in_child"])

    def _register_at_exit(self, function: Callable[[], object]) -> Callable[[], object]:
        self.at_exit.append(function)
        return function


def _copy(module: types.ModuleType, **names: Any) -> types.ModuleType:
    made = types.ModuleType(module.__name__)
    made.__dict__.update({k: v for k, v in vars(module).items() if k != "__loader__"})
    made.__dict__.update(names)
    return made


def _make_kinds(substitutes: Substitutes, scheduler: Scheduler) -> dict[str, Any]:
    """Return what a `threading` of a scheduler has."""

    class Lock:
        """Not re-entrant: a task that holds it and asks again waits for ever."""

        def __init__(self) -> None:
            self._holder: Any = None
            self._waiting: list[Wait] = []

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            scheduler.point()
            while self._holder is not None:
                if not blocking:
                    return False
                if scheduler.frozen and scheduler.current is None:
                    break
                wait = scheduler.new_wait(self)
                self._waiting.append(wait)
                try:
                    woken = scheduler.block(wait, None if timeout < 0 else timeout)
                finally:
                    if wait in self._waiting:
                        self._waiting.remove(wait)
                if not woken:
                    return False
            self._holder = scheduler.current or "nobody"
            return True

        def release(self) -> None:
            if self._holder is None:
                if scheduler.frozen:
                    return
                raise RuntimeError("release unlocked lock")
            self._holder = None
            scheduler.wake_first(self._waiting)

        def locked(self) -> bool:
            return self._holder is not None

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *error: object) -> None:
            self.release()

        def __repr__(self) -> str:
            holder = getattr(self._holder, "name", self._holder)
            return f"a {type(self).__name__} that {holder} holds"

    class RLock(Lock):
        """Re-entrant."""

        def __init__(self) -> None:
            super().__init__()
            self._depth = 0

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if self._is_owned():
                self._depth += 1
                return True
            if Lock.acquire(self, blocking, timeout):
                self._depth = 1
                return True
            return False

        def release(self) -> None:
            if not self._is_owned():
                if scheduler.frozen:
                    return
                raise RuntimeError("cannot release un-acquired lock")
            self._depth -= 1
            if not self._depth:
                Lock.release(self)

        def _is_owned(self) -> bool:
            return self._holder is not None and self._holder is (scheduler.current or "nobody")

        def _release_save(self) -> int:
            depth, self._depth = self._depth, 0
            Lock.release(self)
            return depth

        def _acquire_restore(self, depth: int) -> None:
            Lock.acquire(self)
            self._depth = depth

    class Condition:
        """A condition over either lock."""

        def __init__(self, lock: Any = None) -> None:
            self._lock = RLock() if lock is None else lock
            self.acquire, self.release = self._lock.acquire, self._lock.release
            self._waiters: list[Wait] = []

        def __enter__(self) -> Any:
            return self._lock.__enter__()

        def __exit__(self, *error: object) -> None:
            self._lock.__exit__(*error)

        def wait(self, timeout: float | None = None) -> bool:
            wait = scheduler.new_wait(self)
            self._waiters.append(wait)
            is_plain = not isinstance(self._lock, RLock)
            saved = self._lock.release() if is_plain else self._lock._release_save()
            try:
                return scheduler.block(wait, timeout)
            finally:
                if wait in self._waiters:
                    self._waiters.remove(wait)
                if is_plain:
                    self._lock.acquire()
                else:
                    self._lock._acquire_restore(saved)

        def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
            while not (result := predicate()):
                if not self.wait(timeout):
                    return predicate()
            return result

        def notify(self, n: int = 1) -> None:
            for _ in range(n):
                scheduler.wake_first(self._waiters)

        def notify_all(self) -> None:
            self.notify(len(self._waiters))

        def __repr__(self) -> str:
            return f"a Condition over {self._lock!r}"

    class Event:
        """Made of a condition over a plain lock, as the real one: not re-entrant either."""

        def __init__(self) -> None:
            self._cond = Condition(Lock())
            self._flag = False

        def is_set(self) -> bool:
            return self._flag

        def set(self) -> None:
            with self._cond:
                self._flag = True
                self._cond.notify_all()

        def clear(self) -> None:
            self._flag = False

        def wait(self, timeout: float | None = None) -> bool:
            with self._cond:
                return self._flag or self._cond.wait(timeout) or self._flag

    class Thread:
        """A thread that is a task."""

        def __init__(
            self,
            group: None = None,
            target: Callable[..., object] | None = None,
            name: str | None = None,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
            *,
            daemon: bool | None = None,
        ) -> None:
            self._call = lambda: target(*args, **(kwargs or {})) if target is not None else None
            self.name = name or "Thread"
            self.daemon = daemon
            self._task: Task | None = None

        def start(self) -> None:
            scheduler.point()
            substitutes.count_thread()
            self._task = scheduler.spawn(self._call, self.name)
            # The real one waits for its thread here.
            scheduler.point()

        def join(self, timeout: float | None = None) -> None:
            if self._task is None:
                raise RuntimeError("cannot join thread before it is started")
            scheduler.join(self._task)

        def is_alive(self) -> bool:
            return self._task is not None and not self._task.done

        @property
        def ident(self) -> int | None:
            return None if self._task is None else self._task.ident

    class Local:
        """One dictionary for each task."""

        def __getattr__(self, name: str) -> Any:
            try:
                return _store(self)[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            _store(self)[name] = value

    outside: dict[int, dict[str, Any]] = {}

    def _store(local: Local) -> dict[str, Any]:
        task = scheduler.current
        return (outside if task is None else task.locals).setdefault(id(local), {})

    def get_ident() -> int:
        task = scheduler.current
        return 0 if task is None else task.ident

    return {
        "Lock": Lock,
        "RLock": RLock,
        "Condition": Condition,
        "Event": Event,
        "Thread": Thread,
        "local": Local,
        "get_ident": get_ident,
        "current_thread": lambda: _Current(scheduler.current),
    }


def _make_simple_queue(scheduler: Scheduler) -> type:
    class SimpleQueue:
        """A queue whose `put` never blocks."""

        def __init__(self) -> None:
            self._items: deque[Any] = deque()
            self._waiting: list[Wait] = []

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            scheduler.point()
            self._items.append(item)
            scheduler.wake_first(self._waiting)

        put_nowait = put

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            scheduler.point()
            while not self._items:
                if not block:
                    raise queue.Empty
                wait = scheduler.new_wait(self)
                self._waiting.append(wait)
                try:
                    if not scheduler.block(wait, timeout):
                        raise queue.Empty
                finally:
                    if wait in self._waiting:
                        self._waiting.remove(wait)
                    elif self._items:
                        # An interrupt may end this wait now: the item is for the next one.
                        scheduler.wake_first(self._waiting)
            return self._items.popleft()

        def get_nowait(self) -> Any:
            return self.get(block=False)

        def qsize(self) -> int:
            return len(self._items)

        def empty(self) -> bool:
            return not self._items

        def __repr__(self) -> str:
            return f"a SimpleQueue of {len(self._items)}"

    return SimpleQueue

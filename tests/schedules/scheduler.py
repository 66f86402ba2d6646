"""Runs tasks one at a time, and switches between them where a seed says.

A task is a greenlet that stands for a thread. Code that was compiled by `instrument` calls
`Scheduler.point` before each statement. The locks, queues and clocks of `blocking` call
`Scheduler.block`. Nothing else switches, so the same seed gives the same run.

Time is virtual. A statement takes a microsecond. When no task can run, the clock moves to the first
time-out. If there is none, or if only time-outs happen for long, the run is a deadlock.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import sys
import traceback
from typing import Any, Callable

import greenlet

from .strategies import NEVER, Strategy

__all__ = [
    "Deadlock",
    "Runaway",
    "Scheduler",
    "Task",
    "Wait",
]

#: Seconds of virtual time that one statement takes.
STEP_S = 1e-6
#: The virtual time of the beginning.
EPOCH_S = 1000.0
#: After this virtual time, a run in which nothing but time-outs happens is a deadlock.
HORIZON_S = 120.0
#: Statements after which a run is judged to go on for ever.
MAX_STEPS = 60_000
#: Times that a task may block while it is killed. A loop that survives them is left alone.
MAX_BLOCKS_WHEN_KILLED = 20

_OWN_FILES = (
    "/schedules/scheduler.py",
    "/schedules/strategies.py",
    "/schedules/blocking.py",
    "/schedules/instrument.py",
)


class Deadlock(Exception):
    """No task can run, and time does not help."""


class Runaway(Exception):
    """The tasks run and run."""


class Wait:
    """One wait of a task, as what it waits for knows it.

    Attributes:
        task: The task that waits.
        what: What it waits for, for reports.
        woken: Whether `Scheduler.wake` was called.
        timed_out: Whether the time-out came first.
        strike: Whether an injected action is to run on the task now.
    """

    __slots__ = ("strike", "task", "timed_out", "what", "woken")

    def __init__(self, task: Task, what: object) -> None:
        self.task = task
        self.what = what
        self.woken = False
        self.timed_out = False
        self.strike = False


class Task:
    """What stands for one thread."""

    def __init__(self, scheduler: Scheduler, function: Callable[[], object], name: str) -> None:
        self.ident = scheduler.new_ident()
        self.name = name
        self.error: BaseException | None = None
        self.done = False
        #: Whether the task may end with an exception.
        self.may_fail = False
        self.wait: Wait | None = None
        self.joiners: list[Wait] = []
        self.locals: dict[int, dict[str, Any]] = {}
        self.priority = 0.0
        #: Statements and waits so far, and the one at which `action` happens.
        self.points = 0
        self.strike_at = NEVER
        self.action: Callable[[], object] | None = None
        self._scheduler = scheduler
        self._function = function
        self.greenlet = greenlet.greenlet(self._main, parent=scheduler.hub)

    def _main(self) -> None:
        try:
            self._function()
        except greenlet.GreenletExit:
            raise
        except BaseException as error:
            self.error = error
        self.done = True
        self._scheduler.ended(self)

    def stack(self) -> str:
        """Return the statements under way, innermost last, without those of the scheduler."""
        frame = self.greenlet.gr_frame
        rows = [] if frame is None else traceback.extract_stack(frame)
        return "\n".join(
            f"      {row.filename.rsplit('/', 1)[-1]}:{row.lineno} {row.name}: {row.line}"
            for row in rows
            if not row.filename.endswith(_OWN_FILES)
        )


class Scheduler:
    """The tasks of one run at a time. `reset` begins the next one.

    Attributes:
        horizon_s: Seconds of virtual time after which a run is a deadlock.
        max_steps: Statements after which a run is judged to go on for ever.
    """

    horizon_s = HORIZON_S
    max_steps = MAX_STEPS

    def __init__(self) -> None:
        self.hub = greenlet.getcurrent()
        self._leaked: list[Any] = []
        self.reset(Strategy(random.Random(0)))

    def reset(self, strategy: Strategy) -> None:
        """Begin a run: no task, and the time of the beginning."""
        self.hub = greenlet.getcurrent()
        self.strategy = strategy
        self.current: Task | None = None
        self.tasks: list[Task] = []
        self.ready: list[Task] = []
        #: Tasks of a parent process, which are not there after a fork.
        self.lost: list[Task] = []
        self.steps = 0
        self.switches = 0
        self.frozen = False
        self.trace: list[tuple[int, int]] = []
        self.places: list[str] | None = None
        self.struck_at = ""
        self._idents = 0
        self._shift = EPOCH_S
        self._timers: list[tuple[float, int, Wait, bool]] = []
        self._timer_count = 0
        self._failure: Exception | None = None
        self._failed = False
        self._next_preemption = strategy.first()
        self._blocks_when_killed = 0

    # --- tasks ---------------------------------------------------------------------------------------

    def new_ident(self) -> int:
        """Return the number of a new task."""
        self._idents += 1
        return self._idents

    def spawn(self, function: Callable[[], object], name: str) -> Task:
        """Make a task that can run from now on."""
        task = Task(self, function, name)
        self.tasks.append(task)
        self.ready.append(task)
        self.strategy.spawned(task)
        self.strategy.woke(self, task)
        return task

    def join(self, task: Task) -> None:
        """Block the current task until another one has ended."""
        while not task.done:
            wait = self.new_wait(f"the end of {task.name}")
            task.joiners.append(wait)
            self.block(wait)

    def ended(self, task: Task) -> None:
        """Note that a task has ended."""
        self.ready.remove(task)
        for wait in task.joiners:
            self.wake(wait)

    def strike(self, task: Task, at: int, action: Callable[[], object]) -> None:
        """Run `action` on a task, as a signal handler or a finalizer does.

        Args:
            task: The task.
            at: At which of its statements and waits from now on, counted from 1.
            action: It may raise.
        """
        task.strike_at, task.action = task.points + at, action

    def fork(self) -> None:
        """Leave the current task alone, as a fork does in the child. Locks stay as they are."""
        current = self.current
        self.lost += [task for task in self.tasks if task is not current and not task.done]
        self.tasks = [task for task in self.tasks if task is current or task.done]
        self.ready[:] = [task for task in self.ready if task is current]
        self._timers = [timer for timer in self._timers if timer[2].task is current]
        heapq.heapify(self._timers)

    # --- what instrumented code calls ----------------------------------------------------------------

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return self._shift + self.steps * STEP_S

    def point(self) -> None:
        """Let another task go on, or an injected action happen, if the seed says so."""
        task = self.current
        if task is None or self.frozen:
            return
        self.steps += 1
        task.points += 1
        if task.points == task.strike_at:
            self._act(task)
        if self.steps >= self._next_preemption:
            self.yield_now()

    def yield_now(self) -> None:
        """Preempt the current task, if the strategy wants that here."""
        task = self.current
        if task is None or self.frozen:
            return
        if self.steps >= self.max_steps:
            self._give_up(Runaway(f"after {self.steps} statements"))
        self.strategy.preempted(task)
        self._next_preemption = min(self.strategy.following(self), self.max_steps)
        following = self._pick()
        if following is not task:
            self._switch(following)

    def preempt_soon(self) -> None:
        """Preempt the current task at its next statement."""
        self._next_preemption = self.steps

    def new_wait(self, what: object) -> Wait:
        """Return a wait of the current task. It begins with `block`."""
        task = self.current
        assert task is not None, "only tasks may block"
        return Wait(task, what)

    def wake(self, wait: Wait) -> None:
        """End a wait."""
        if not wait.woken:
            wait.woken = True
            self._make_ready(wait)

    def wake_first(self, waits: list[Wait]) -> None:
        """End the first wait of a list, but for those of tasks that a fork left behind."""
        while waits:
            wait = waits.pop(0)
            if wait.task in self.tasks:
                self.wake(wait)
                return

    def block(self, wait: Wait, timeout: float | None = None) -> bool:
        """Block the current task until `wake`.

        Args:
            wait: Made by `new_wait`, and known to what ends it.
            timeout: Seconds. None: no time-out.

        Returns:
            False if the time-out came first.
        """
        task = wait.task
        if self.frozen:
            self._blocks_when_killed += 1
            if self._blocks_when_killed > MAX_BLOCKS_WHEN_KILLED:
                self._leaked.append(task.greenlet)
                self.hub.switch()
            raise greenlet.GreenletExit
        if timeout is not None:
            self._add_timer(max(timeout, STEP_S), wait, False)
        task.points += 1
        if task.points == task.strike_at:
            # A signal comes while the thread is blocked, soon or late.
            self._add_timer(self.strategy.rng.choice((0.0, 1e-5, 1e-3, 0.1, 2.0)), wait, True)
            task.strike_at = NEVER
        outer, task.wait = task.wait, wait
        try:
            while not (wait.woken or wait.timed_out):
                self.ready.remove(task)
                self._switch(self._pick())
                if wait.strike:
                    wait.strike = False
                    self._act(task)
        finally:
            task.wait = outer
            if task.action is not None and task.strike_at == NEVER:
                task.strike_at = task.points + 1  # The wait ended before the signal came.
        return wait.woken

    # --- the run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until all tasks have ended.

        Raises:
            Deadlock: No task can run.
            Runaway: There were more statements than a run may have.
        """
        self._next_preemption = min(self._next_preemption, self.max_steps)
        while not self._failed:
            following = self._pick()
            if following is None:
                break
            self.current = following
            following.greenlet.switch()
            self.current = None
        if self._failure is not None:
            raise type(self._failure)(f"{self._failure}\n{self.report()}")
        if any(not task.done for task in self.tasks):
            raise Deadlock(f"no task can run\n{self.report()}")

    def kill(self) -> None:
        """End all tasks that are left of a run that failed."""
        self.frozen = True
        for task in [*self.lost, *self.tasks]:
            if task.done or not task.greenlet:
                continue
            self._blocks_when_killed = 0
            self.current = task
            with contextlib.suppress(BaseException):
                task.greenlet.throw(greenlet.GreenletExit)
        self.current = None

    def report(self) -> str:
        """Return what each task that has not ended does."""
        rows = []
        for task in self.tasks:
            if not task.done:
                state = f"waits for {task.wait.what!r}" if task.wait is not None else "can run"
                rows.append(f"  {task.name} ({task.ident}) {state}\n{task.stack()}")
        return "\n".join(rows)

    def _pick(self) -> Any:
        """Return the task that goes on; the clock may move. None, for the hub alone: there is none."""
        strategy, timers = self.strategy, self._timers
        while timers and (timers[0][2].woken or timers[0][2].timed_out):
            heapq.heappop(timers)
        if timers and (
            not self.ready
            or timers[0][0] <= self.now
            or (strategy.early_timeout and strategy.rng.random() < strategy.early_timeout)
        ):
            time, _, wait, is_strike = heapq.heappop(timers)
            self._shift += max(0.0, time - self.now)
            if is_strike:
                wait.strike = True
            else:
                wait.timed_out = True
            self._make_ready(wait)
            if self.now > EPOCH_S + self.horizon_s:
                self._give_up(Deadlock("nothing but time-outs happen"))
            if not self.ready and timers:
                return self._pick()  # That time-out was one of a wait that an interrupt has ended.
        if not self.ready:
            return None
        return strategy.choose(self.ready)

    def _switch(self, following: Task | None) -> None:
        """Go on with another task; return when this one goes on."""
        mine = self.current
        if following is mine:
            return
        self.switches += 1
        if following is None:
            self._failed = True
            self.hub.switch()
        else:
            self.trace.append((self.steps, following.ident))
            if self.places is not None:
                self.places.append(f"{self.steps:6} {self._place()} -> {following.name}")
            self.current = following
            following.greenlet.switch()
        self.current = mine

    def _give_up(self, failure: Exception) -> None:
        self._failure = failure
        self._failed = True
        if greenlet.getcurrent() is not self.hub:
            self.hub.switch()

    def _make_ready(self, wait: Wait) -> None:
        task = wait.task
        # A signal handler that runs amid a wait may wait itself.
        if task.wait is wait and task not in self.ready and task in self.tasks and not task.done:
            self.ready.append(task)
            self.strategy.woke(self, task)

    def _act(self, task: Task) -> None:
        action, task.action = task.action, None
        task.strike_at = NEVER
        if action is not None:
            self.struck_at = self._place()
            if self.places is not None:
                self.places.append(f"{self.steps:6} {self.struck_at}: {action}")
            action()

    def _add_timer(self, seconds: float, wait: Wait, is_strike: bool) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (self.now + seconds, self._timer_count, wait, is_strike))

    def _place(self) -> str:
        """Return where the current task is, in the package."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.endswith(_OWN_FILES):
            frame = frame.f_back
        name = "" if self.current is None else self.current.name
        if frame is None:
            return name
        file = frame.f_code.co_filename.rsplit("/", 1)[-1]
        return f"{name} at {file}:{frame.f_lineno} {frame.f_code.co_name}"

"""When a run switches between its tasks, and to which: what a seed stands for."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scheduler import Scheduler, Task

__all__ = [
    "CHOICES",
    "NEVER",
    "FewPreemptions",
    "PriorityChanges",
    "RandomWalk",
    "Strategy",
    "scenario_of",
    "strategy_of",
    "sweep_seed",
]

#: Seeds from here on are made by `sweep_seed`.
SWEEP = 1 << 40
#: How many tasks are tried at one preemption of a sweep.
CHOICES = 2

#: A step that no run has.
NEVER = sys.maxsize


class Strategy:
    """Decides when to switch, and to which task. The base class never preempts a task.

    Args:
        rng: The source of chance.
        early_timeout: How likely a switch lets the first time-out come early.
    """

    name = "run to block"

    def __init__(self, rng: random.Random, early_timeout: float = 0.0) -> None:
        self.rng = rng
        self.early_timeout = early_timeout

    def first(self) -> int:
        """Return the step of the first preemption."""
        return NEVER

    def following(self, scheduler: Scheduler) -> int:
        """Return the step of the next preemption, after one at the current step."""
        return NEVER

    def spawned(self, task: Task) -> None:
        """Note a new task."""

    def preempted(self, task: Task) -> None:
        """Note that a task is at a step of preemption."""

    def choose(self, ready: list[Task]) -> Task:
        """Return the task that goes on."""
        return ready[0]

    def woke(self, scheduler: Scheduler, task: Task) -> None:
        """Note that a task can go on."""


class RandomWalk(Strategy):
    """Switches at each statement by chance, to any task."""

    def __init__(self, rng: random.Random, early_timeout: float, chance: float) -> None:
        super().__init__(rng, early_timeout)
        self.name = f"random {chance}"
        self._chance = chance

    def _gap(self) -> int:
        return 1 + int(self.rng.expovariate(self._chance))

    def first(self) -> int:
        return self._gap()

    def following(self, scheduler: Scheduler) -> int:
        return scheduler.steps + self._gap()

    def choose(self, ready: list[Task]) -> Task:
        return ready[int(self.rng.random() * len(ready))]


class PriorityChanges(Strategy):
    """PCT: the task of the highest priority runs. At `depth` steps, the running one gets the lowest.

    Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs" (2010): a
    bug that needs `depth` ordered events is found with at least the probability 1 / (n k^(depth-1)), for
    n tasks and k steps.
    """

    def __init__(self, rng: random.Random, early_timeout: float, depth: int, steps: int) -> None:
        super().__init__(rng, early_timeout)
        self.name = f"PCT of depth {depth}"
        self._changes = sorted(rng.randrange(1, steps + 1) for _ in range(depth))
        self._lowest = 0.0

    def first(self) -> int:
        return self._changes[0] if self._changes else NEVER

    def following(self, scheduler: Scheduler) -> int:
        while self._changes and self._changes[0] <= scheduler.steps:
            self._changes.pop(0)
        return self.first()

    def spawned(self, task: Task) -> None:
        task.priority = self.rng.random()

    def preempted(self, task: Task) -> None:
        if self._changes and self._changes[0] <= task._scheduler.steps:
            self._lowest -= 1.0
            task.priority = self._lowest

    def choose(self, ready: list[Task]) -> Task:
        return max(ready, key=lambda task: task.priority)

    def woke(self, scheduler: Scheduler, task: Task) -> None:
        running = scheduler.current
        if running is not None and task.priority > running.priority:
            scheduler.preempt_soon()


class FewPreemptions(Strategy):
    """Lets tasks run until they block, but for the preemptions at the given steps.

    Args:
        rng: Chooses among the tasks that can run.
        preemptions: The steps.
    """

    def __init__(self, rng: random.Random, preemptions: list[int]) -> None:
        super().__init__(rng, 0.0)
        self.name = f"preempted at {preemptions}"
        self._steps = sorted(preemptions)

    def first(self) -> int:
        return self._steps[0] if self._steps else NEVER

    def following(self, scheduler: Scheduler) -> int:
        while self._steps and self._steps[0] <= scheduler.steps:
            self._steps.pop(0)
        return self.first()

    def choose(self, ready: list[Task]) -> Task:
        return ready[int(self.rng.random() * len(ready))]


def sweep_seed(scenario: int, step: int, choice: int) -> int:
    """Return the seed of a run with one preemption.

    Args:
        scenario: The seed of the model's options.
        step: The statement at which the task is preempted.
        choice: Tells apart the tasks that may go on there.
    """
    return SWEEP + (scenario << 20) + step * CHOICES + choice


def scenario_of(seed: int) -> int:
    """Return the seed of the model's options."""
    return seed if seed < SWEEP else (seed - SWEEP) >> 20


def strategy_of(seed: int, steps: int) -> Strategy:
    """Return the strategy that a seed stands for.

    Args:
        seed: The seed.
        steps: About how many statements a run has.
    """
    rng = random.Random(seed ^ 0x5CED)
    if seed >= SWEEP:
        return FewPreemptions(rng, [(seed - SWEEP) % (1 << 20) // CHOICES])
    early = rng.choice((0.0, 0.0, 0.02))
    kind = seed % 4
    if kind == 0:
        return RandomWalk(rng, early, rng.choice((0.02, 0.1, 0.3, 0.6)))
    if kind == 1:
        return FewPreemptions(rng, [rng.randrange(1, steps + 1) for _ in range(rng.randint(1, 3))])
    return PriorityChanges(rng, early, rng.randint(1, 4), steps)

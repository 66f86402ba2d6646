"""Simulated runs: ``python -m tests.simulation``.

``--seed N`` replays one run, prints its options and its trace, and runs it again to compare.
``--minutes N`` runs fresh seeds and crashes of downloads in turn until the time is up.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import crashes
from .mutants import MUTANTS, Mutant
from .simulation import Outcome, Simulator

__all__ = ["Tally", "kill", "main", "replay_command", "run_seeds"]

#: Seeds, and histories of each size of file, in one turn.
_SEEDS_PER_TURN = 300
_HISTORIES_PER_TURN = 20


class Tally(NamedTuple):
    """What many runs came to.

    Attributes:
        runs: The number of runs.
        calls: How the calls of the users ended, and how often.
        requests: The number of requests.
        seconds: The virtual time that passed.
        failures: The seed and the outcome of each run in which something was found.
    """

    runs: int
    calls: Counter[str]
    requests: int
    seconds: float
    failures: list[tuple[int, Outcome]]


def replay_command(seed: int) -> str:
    """Return the command that runs a seed again."""
    return f"python -m tests.simulation --seed {seed}"


def run_seeds(
    simulator: Simulator, seeds: Iterable[int], *, twice: bool = False, first_only: bool = False
) -> Tally:
    """Run seeds.

    Args:
        simulator: Runs them.
        seeds: The seeds.
        twice: Whether to run each one twice, and to compare the logs.
        first_only: Whether to stop at the first failure.
    """
    calls: Counter[str] = Counter()
    runs = requests = 0
    seconds = 0.0
    failures = []
    for seed in seeds:
        outcome = simulator.run(seed)
        if twice and outcome.problem is None and simulator.run(seed).digest != outcome.digest:
            outcome = outcome._replace(problem="the same seed gave another run")
        runs += 1
        calls += outcome.calls
        requests += outcome.requests
        seconds += outcome.seconds
        if outcome.problem is not None:
            failures.append((seed, outcome))
            if first_only:
                break
    return Tally(runs, calls, requests, seconds, failures)


def kill(mutant: Mutant, seconds: float) -> tuple[int, float] | None:
    """Run seeds on a mutant until one fails.

    Args:
        mutant: The mutant.
        seconds: When to give up, in seconds of one core.

    Returns:
        The seed, and the seconds that it took. None: the mutant lives.
    """
    began = time.process_time()
    seed = 0
    with Simulator(mutant.changes) as simulator:
        while time.process_time() - began < seconds:
            tally = run_seeds(simulator, range(seed, seed + 10), first_only=True)
            if tally.failures:
                return tally.failures[0][0], time.process_time() - began
            seed += 10
    return None


def _replay(seed: int) -> int:
    """Print a run. Return 1 if something was found."""
    with Simulator() as simulator:
        outcome = simulator.run(seed, keep_trace=True)
        again = simulator.run(seed)
    for name, value in dataclasses.asdict(outcome.options).items():
        print(f"{name:15} {value}")
    print("\n".join(outcome.trace))
    print(f"{outcome.requests} requests, {outcome.seconds:.1f} virtual seconds, {outcome.digest}")
    problem = outcome.problem
    if problem is None and again.digest != outcome.digest:
        problem = f"the same seed gave another run: {again.digest}"
    print(problem or "nothing found")
    return 0 if problem is None else 1


def _run(minutes: float, seed: int, crash_share: bool) -> int:
    """Run seeds and crashes in turn. Return 1 if something was found."""
    # A journal that a crash has damaged is a warning each time.
    logging.getLogger("ctera_direct_sync").setLevel(logging.ERROR)
    began, cpu = time.monotonic(), time.process_time()
    first = seed
    runs = requests = failed = 0
    seconds = 0.0
    calls: Counter[str] = Counter()
    crashed: Counter[str] = Counter()
    with Simulator() as simulator:
        while time.monotonic() - began < 60 * minutes:
            tally = run_seeds(simulator, range(seed, seed + _SEEDS_PER_TURN))
            runs, requests = runs + tally.runs, requests + tally.requests
            seconds += tally.seconds
            calls += tally.calls
            for number, outcome in tally.failures:
                failed += 1
                print(f"{outcome.problem}\nagain: {replay_command(number)}", flush=True)
            if crash_share:
                try:
                    crashed += crashes.run(seed, _HISTORIES_PER_TURN)
                except crashes.Wrong as error:
                    failed += 1
                    number = str(error).split(":")[0].rpartition(" ")[2]
                    again = f"python -m tests.simulation.crashes --seed {number} --histories 1"
                    print(f"{error}\nagain: {again}", flush=True)
            seed += _SEEDS_PER_TURN
    took, used = time.monotonic() - began, time.process_time() - cpu
    for name, count in calls.most_common():
        print(f"{count:10,} calls: {name}")
    print(", ".join(f"{number:,} {name}" for name, number in sorted(crashed.items())))
    print(
        f"{runs:,} runs with {sum(calls.values()):,} transfers, {requests:,} requests and "
        f"{seconds / 3600:,.0f} virtual hours in {took:.0f} s ({used:.0f} s of one core), "
        f"{failed} failed; seeds from {first} on"
    )
    return 1 if failed else 0


def _run_mutants(seconds: float) -> int:
    survivors = 0
    for mutant in MUTANTS:
        found = kill(mutant, seconds)
        survivors += found is None
        text = "LIVES" if found is None else f"seed {found[0]:5}, {found[1]:5.1f} s"
        print(f"{text:20} {mutant.name}", flush=True)
    return 1 if survivors else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone, and print all of it")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--first-seed", type=int, help="default: a fresh one")
    parser.add_argument("--no-crashes", action="store_true", help="simulated runs alone")
    parser.add_argument("--mutants", action="store_true", help="run the mutants instead")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each mutant (default: 60)")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _replay(options.seed)
    if options.mutants:
        return _run_mutants(options.seconds)
    first = options.first_seed
    if first is None:
        first = random.SystemRandom().randrange(10**9)
    return _run(options.minutes, first, not options.no_crashes)


if __name__ == "__main__":
    sys.exit(main())

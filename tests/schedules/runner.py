"""Runs models and mutants from the command line, and prints counts and seeds."""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

from .library import Library
from .models import MODELS
from .mutants import MUTANTS, Mutant
from .strategies import CHOICES, Strategy, sweep_seed
from .world import Outcome, run

__all__ = ["kill", "main", "replay_command", "run_schedules"]

#: Objects of finished runs are collected after this many of them, so that no run is disturbed.
_RUNS_PER_COLLECTION = 200


def replay_command(model: str, seed: int) -> str:
    """Return the command that runs one schedule again."""
    return f"python -m tests.schedules --model {model} --seed {seed}"


def run_schedules(
    library: Library,
    name: str,
    seeds: Sequence[int],
    seconds: float | None = None,
    *,
    first_only: bool = False,
) -> tuple[int, list[tuple[int, Outcome]]]:
    """Run one model under several seeds.

    Args:
        library: The package.
        name: The model.
        seeds: The seeds.
        seconds: When to stop. None: after all seeds.
        first_only: Whether to stop at the first that fails.

    Returns:
        How many schedules ran, and the seeds that failed with what was found.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    failures: list[tuple[int, Outcome]] = []
    count = 0
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for seed in seeds:
            if deadline is not None and time.monotonic() > deadline:
                break
            outcome = run(library, name, MODELS[name], seed)
            count += 1
            if outcome.problem is not None:
                failures.append((seed, outcome))
                if first_only:
                    break
            if count % _RUNS_PER_COLLECTION == 0:
                gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    return count, failures


def _replay(name: str, seed: int, trace: bool) -> int:
    library = Library()
    outcome = run(library, name, MODELS[name], seed, trace=trace)
    for place in outcome.places:
        print(place)
    print(f"{name}, seed {seed}, {outcome.strategy}: {outcome.steps} statements")
    print(outcome.problem or "nothing was found")
    return 1 if outcome.problem else 0


def _run_round_robin(names: Sequence[str], minutes: float, first_seed: int) -> int:
    """Run all models in turn until the time is up. Print counts, and the seeds that failed."""
    library = Library()
    deadline = time.monotonic() + minutes * 60
    began, cpu = time.monotonic(), time.process_time()
    counts: Counter[str] = Counter()
    failed: dict[str, list[int]] = {}
    seed = first_seed
    while time.monotonic() < deadline:
        for name in names:
            left = deadline - time.monotonic()
            count, failures = run_schedules(library, name, range(seed, seed + 50), left)
            counts[name] += count
            for each, outcome in failures:
                failed.setdefault(name, []).append(each)
                if len(failed[name]) == 1:
                    print(f"{name}, seed {each}, {outcome.strategy}: {outcome.problem}", flush=True)
        seed += 50
    for name in names:
        seeds = failed.get(name, [])
        more = f", {len(seeds)} failed: {seeds[:10]}" if seeds else ""
        print(f"{name:30} {counts[name]:9,} schedules{more}")
    took, used = time.monotonic() - began, time.process_time() - cpu
    print(
        f"{sum(counts.values()):,} schedules in {took:.0f} s ({used:.0f} s of one core), "
        f"{sum(map(len, failed.values()))} failed; seeds from {first_seed} on"
    )
    for name, seeds in failed.items():
        print(f"again: {replay_command(name, seeds[0])}")
    return 1 if failed else 0


def kill(mutant: Mutant, seconds: float) -> tuple[str, int, int, float] | None:
    """Run the models of a mutant until one fails.

    Args:
        mutant: The mutant.
        seconds: When to give up, in seconds of one core.

    Returns:
        The model that found it, with which seed, after how many schedules and seconds. None: it lives.
    """
    library = Library(mutant.changes)
    began = time.process_time()
    count = seed = 0
    try:
        while True:
            for name in mutant.models:
                ran, failures = run_schedules(
                    library, name, range(seed, seed + 25), first_only=True
                )
                count += ran
                took = time.process_time() - began
                if failures:
                    return name, failures[0][0], count, took
                if took > seconds:
                    return None
            seed += 25
    finally:
        library.package.discard()


def _sweep(names: Sequence[str], scenario: int) -> int:
    """Preempt each statement of one scenario of each model once. Return 1 if a schedule fails."""
    library = Library()
    failed = 0
    for name in names:
        first = run(library, name, MODELS[name], scenario, strategy=Strategy(random.Random(0)))
        # A preemption may make the run longer.
        steps = range(1, 2 * first.steps)
        seeds = [sweep_seed(scenario, step, choice) for step in steps for choice in range(CHOICES)]
        count, failures = run_schedules(library, name, seeds)
        failed += len(failures)
        print(f"{name:30} {count:9,} schedules, {len(failures)} failed", flush=True)
        for seed, outcome in failures[:1]:
            print(f"{outcome.problem}\nagain: {replay_command(name, seed)}", flush=True)
    return 1 if failed else 0


def _run_mutants(mutants: Sequence[Mutant], seconds: float) -> int:
    """Print how long each mutant lives. Return 1 if one survives."""
    survivors = []
    for mutant in mutants:
        found = kill(mutant, seconds)
        if found is None:
            survivors.append(mutant.name)
            print(f"LIVES                              {mutant.name}", flush=True)
        else:
            name, seed, count, took = found
            print(
                f"{count:7,} schedules {took:6.2f} s  {mutant.name} ({name}, seed {seed})",
                flush=True,
            )
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants were found")
    return 1 if survivors else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--model", action="append", choices=sorted(MODELS), help="default: all")
    parser.add_argument("--seed", type=int, help="run this schedule alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print each switch")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--first-seed", type=int, help="default: a fresh one")
    parser.add_argument(
        "--sweep", type=int, metavar="N", help="preempt each statement of scenario N"
    )
    parser.add_argument("--mutants", action="store_true", help="run the mutants instead")
    parser.add_argument("--mutant", action="append", help="only those whose name has this text")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each mutant (default: 60)")
    options = parser.parse_args(arguments)
    if options.mutants or options.mutant:
        texts = options.mutant or [""]
        chosen = [each for each in MUTANTS if any(text in each.name for text in texts)]
        return _run_mutants(chosen, options.seconds)
    names = options.model or sorted(MODELS)
    if options.seed is not None:
        return max(_replay(name, options.seed, options.trace) for name in names)
    if options.sweep is not None:
        return _sweep(names, options.sweep)
    first = options.first_seed
    if first is None:
        first = random.SystemRandom().randrange(10**9)
    return _run_round_robin(names, options.minutes, first)


if __name__ == "__main__":
    sys.exit(main())

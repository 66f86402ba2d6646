"""Run cases by chance until time is up: `python -m tests.schedules_http.night --minutes 60 --seed 1`.

A case that fails is printed with its seed, and written to a file that `tests/fuzz/http_response.py` reads.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import time
from pathlib import Path

from tests.fuzz import http_response
from tests.schedules_http.cases import generate, malform
from tests.schedules_http.exchange import Case, check
from tests.schedules_http.peers import compare

FOUND = Path("build/schedules-http")


def _keep(name: str, case: Case) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / name).write_bytes(http_response.encode(case))


def main() -> int:
    """Run, print what was counted, and return the exit status."""
    parser = argparse.ArgumentParser(description="HTTP under a model, by chance.")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", help="one case, as a failure names it")
    options = parser.parse_args()
    if options.only:
        _run_case(options.only)
        return 0
    outcomes: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    count = failures = 0
    while time.monotonic() - started < 60 * options.minutes:
        name = f"{options.seed}-{count}"
        count += 1
        try:
            outcomes.update(_run_case(name))
        except AssertionError as error:
            failures += 1
            print(f"--only {name}: {error}", flush=True)
            _keep(name, generate(random.Random(name)))
    seconds = time.monotonic() - started
    print(f"seed {options.seed}: {count} cases in {seconds:.0f} s, {failures} failed")
    print(", ".join(f"{name}: {number}" for name, number in sorted(outcomes.items())))
    return 1 if failures else 0


def _run_case(name: str) -> list[str]:
    """Run a case and a comparison, and return what came of the requests."""
    rng = random.Random(name)
    found = check(generate(rng))
    accepted, _ = compare(malform(rng))
    return [outcome.error or str(outcome.status) for outcome in found] + [
        "read alike by three" if accepted else "refused by one"
    ]


if __name__ == "__main__":
    sys.exit(main())

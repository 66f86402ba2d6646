"""Many random histories of a mirror, in pieces: ``make mirror-histories``.

Each piece is a process with a seed of its own. So its memory does not grow, and a piece can be run again
alone. The first piece that fails ends the program with exit code 1, after hypothesis has shrunk the history
and printed it.

    python -m tests.faults.mirror_night --histories 10000 --pieces 10 --seed 7
    python -m tests.faults.mirror_night --histories 10000 --pieces 10 --seed 7    # again: continues
    python -m tests.faults.mirror_night --piece 9 1000                            # one piece again

Pieces that were right are noted in `build/mirror-histories.txt`, with the commit. The same command on the
same commit leaves them out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "build" / "mirror-histories.txt"


def run_piece(seed: int, histories: int) -> None:
    """Run the histories of a seed in this process.

    Args:
        seed: Chooses the histories.
        histories: Their number.

    Raises:
        BaseException: A history went wrong. It was shrunk and printed.
    """
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test

    from tests.support.mirror_histories import Histories

    settings = hypothesis.settings(
        max_examples=histories,
        stateful_step_count=10,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Histories), settings=settings)


def read_revision() -> str:
    """Return the commit of the checkout, with a mark if something is not committed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def read_record() -> set[str]:
    """Return the lines of the record."""
    return set(RECORD.read_text().splitlines()) if RECORD.exists() else set()


def run_pieces(histories: int, pieces: int, seed: int) -> int:
    """Run the pieces that the record does not have. Return the exit code.

    Args:
        histories: The number of histories of all pieces.
        pieces: The number of pieces.
        seed: The seed of the first piece. Each further one has the next number.
    """
    revision = read_revision()
    record = read_record()
    each = -(-histories // pieces)
    done = 0
    print(f"{histories} histories in {pieces} pieces of commit {revision}, seed {seed}", flush=True)
    for number in range(pieces):
        name = f"piece {number + 1} of {pieces}, seed {seed + number}, {each} histories"
        line = f"{revision} seed {seed + number} histories {each}"
        # Uncommitted code has no name by which it could be the same.
        if line in record and not revision.endswith("-dirty"):
            print(f"{name}: right before", flush=True)
            done += each
            continue
        command = [sys.executable, "-m", __spec__.name, "--piece", str(seed + number), str(each)]
        began = time.monotonic()
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        seconds = time.monotonic() - began
        if code:
            print(f"{name}: WRONG after {seconds:.0f} s", flush=True)
            print(f"again: python {' '.join(command[1:])}", flush=True)
            return 1
        print(f"{name}: right, {seconds:.0f} s", flush=True)
        RECORD.parent.mkdir(exist_ok=True)
        with RECORD.open("a") as file:
            file.write(line + "\n")
        done += each
    print(f"{done} histories, all right", flush=True)
    return 0


def main() -> int:
    """Run all pieces, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--pieces", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None, help="by default the time")
    parser.add_argument("--piece", type=int, nargs=2, metavar=("SEED", "HISTORIES"))
    options = parser.parse_args()
    if options.piece:
        run_piece(*options.piece)
        return 0
    seed = int(time.time()) if options.seed is None else options.seed
    return run_pieces(options.histories, options.pieces, seed)


if __name__ == "__main__":
    sys.exit(main())

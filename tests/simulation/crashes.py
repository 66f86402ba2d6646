"""Downloads that crash at every moment: ``python -m tests.simulation.crashes --seconds 60``.

A history is one download to one folder that crashes, and crashes again while it resumes, up to three
times. After each crash the disk is put together from any of the changes that POSIX does not promise to
have been written. The target is then absent, the old file, or the complete new file. The last resume
must end with the right bytes and leave nothing else but the journal.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ctera_direct_sync import DirectIO, DirectIOError, Settings
from ctera_direct_sync.emulator import Emulator, faults

from .disk import Disk, File, State

BLOCK = 1024
#: Numbers of blocks: one piece needs no journal, and twelve have more pending changes than are all tried.
SIZES = (1, 2, 5, 12)
NAME = "target.bin"
OLD = b"what was there before " * 40
JOURNAL = f".{NAME}.ctera-journal"


class World(NamedTuple):
    """A portal with one file, and a client."""

    emulator: Emulator
    client: DirectIO
    file_id: int
    content: bytes


@contextlib.contextmanager
def make_world(emulator: Emulator, blocks: int) -> Iterator[World]:
    """Make a world whose file has some blocks, the last one short."""
    content = random.Random(blocks).randbytes(blocks * BLOCK - BLOCK // 3)
    emulator.add(content, file_id=blocks, block_size=BLOCK)
    settings = Settings(retries=0, backoff=0)
    with DirectIO(
        emulator.url, emulator.access_key_id, emulator.secret_access_key, settings=settings
    ) as client:
        yield World(emulator, client, blocks, content)


class Wrong(AssertionError):
    """A crash led to a wrong file."""


def history(world: World, seed: int, folder: Path, samples: int = 2) -> Counter[str]:
    """Run one history, and return what happened how often.

    Args:
        world: The portal and the client.
        seed: Decides everything.
        folder: An empty folder for the files.
        samples: How many states are tried after each crash.

    Raises:
        Wrong: A target was wrong, or a resume did not end well.
    """
    dice = random.Random(seed)
    told: Counter[str] = Counter()
    states: list[State] = [{}]
    if dice.random() < 0.5:
        states = [{NAME: File(OLD, 17, 1_700_000_000_000_000_000)}]
    for depth in range(dice.randint(1, 3)):
        state = dice.choice(states)
        disk = _run(world, state, folder / str(depth), dice, resume=dice.random() < 0.8)
        told["downloads"] += 1
        crash_after = dice.randint(0, len(disk.changes))
        states = list(disk.states(dice, crash_after, samples))
        for left in states:
            told["crashes"] += 1
            _check_target(world, left, seed)
    for number, left in enumerate(states):
        last = folder / f"last{number}"
        _run(world, left, last, dice, resume=True, healthy=True)
        told["resumes"] += 1
        if (last / NAME).read_bytes() != world.content:
            raise Wrong(f"seed {seed}: the resumed download is wrong")
        rest = {path.name for path in last.iterdir()} - {NAME, JOURNAL}
        if rest:
            raise Wrong(f"seed {seed}: {sorted(rest)} is left")
    return told


def _run(
    world: World,
    state: State,
    folder: Path,
    dice: random.Random,
    *,
    resume: bool,
    healthy: bool = False,
) -> Disk:
    """Download from a state, with a fault of the storage now and then; return the record."""
    folder.mkdir()
    disk = Disk(folder, state)
    if not healthy and dice.random() < 0.4:
        world.emulator.faults.add("storage", 1, skip=dice.randrange(4), action=faults.status(500))
    try:
        with disk.recording():
            world.client.download(world.file_id, folder / NAME, resume=resume, max_workers=1)
    except DirectIOError:
        if healthy:
            raise
    finally:
        world.emulator.faults.clear()
    return disk


def _check_target(world: World, state: State, seed: int) -> None:
    """The target is the old file, the new one, or absent: never a part of it."""
    target = state.get(NAME)
    if target is not None and target.content not in (OLD, world.content):
        raise Wrong(
            f"seed {seed}: after a crash the target has {len(target.content)} bytes, not those of "
            "the old or the new file"
        )


def run(
    first_seed: int, histories: int, seconds: float = math.inf, sizes: Sequence[int] = SIZES
) -> Counter[str]:
    """Run histories of files of several sizes.

    Args:
        first_seed: The seed of the first history of each size; each further one takes the next number.
        histories: The number of histories for each size.
        seconds: The time after which no further history begins.
        sizes: The files' numbers of blocks.

    Returns:
        What happened how often.
    """
    told: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        worlds = [stack.enter_context(make_world(emulator, blocks)) for blocks in sizes]
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        for seed in range(first_seed, first_seed + histories):
            for world in worlds:
                if time.monotonic() > until:
                    return told
                folder = Path(temporary) / f"{world.file_id}-{seed}"
                folder.mkdir()
                told += history(world, seed, folder)
                told["histories"] += 1
                shutil.rmtree(folder)
    return told


def main() -> int:
    """Run for a while and print the figures, or replay one seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="the first seed")
    parser.add_argument(
        "--histories", type=int, default=sys.maxsize, help="most, for each size of file"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"crashes of downloads, from seed {seed}", flush=True)
    logging.getLogger("ctera_direct_sync").setLevel(logging.ERROR)
    told = run(seed, options.histories, options.seconds)
    print(", ".join(f"{number} {name}" for name, number in sorted(told.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

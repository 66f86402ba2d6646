"""Two mirrors for minutes, while the portal changes and fails: part of ``make soak MINUTES=n``.

    python -m tests.faults.soak_mirror --minutes 5 [--seed 1]

The emulator has a tree that a thread changes all the time. It makes faults at the portal and the storage,
ends sessions, and refuses cursors. Two processes follow it, each with a folder of its own:

- The steady one runs to the end. Its threads, descriptors and memory are watched.
- The other one is killed (SIGKILL) or asked to end (SIGTERM) again and again, and started anew. A user
  writes to its folder.

Now and then the faults and changes pause. Both folders must then become equal to the portal. What the user
wrote must be there at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctera_direct_sync import DirectIO, DirectIOError, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.emulator.names.nodes import Node
from tests.faults.soak import _lines, floors, slope
from tests.support.file_systems import variables_of
from tests.support.mirror_portal import local_files

ROOT = Path(__file__).parents[2]
SOURCE = "/My Files"
NAMES = [f"{letter}{number}" for letter in "abcd" for number in range(10)]
FIRST_FILES = 300
MOST_FILES = 600
MAX_SIZE_BYTES = 40_000
#: How long changes and faults last between two comparisons, and how long a folder may take to be equal.
TROUBLE_S = 15.0
PATIENCE_S = 90.0
#: How long the restarted mirror lives while there is trouble, at least and at most.
LIFE_S = (0.3, 8.0)
SAMPLE_S = 1.0


# --- the process that follows --------------------------------------------------------------------------


def follow(folder: str) -> None:
    """Follow the portal of the environment for ever. Print a JSON line for each thing that happens."""
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lock = threading.Lock()

    def tell(**members: Any) -> None:
        with lock:
            print(json.dumps(members), flush=True)

    def sample() -> None:
        began = time.monotonic()
        while True:
            with open("/proc/self/statm", encoding="ascii") as file:
                resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            held = [threading.active_count() - 1, len(os.listdir("/proc/self/fd")), resident]
            tell(sample=[time.monotonic() - began, *held])
            time.sleep(SAMPLE_S)

    threading.Thread(target=sample, daemon=True).start()
    settings = Settings(retries=6, backoff=0.005, max_backoff=0.1)
    settings.api.timeout = settings.storage.timeout = (5, 2)
    with (
        Namespace(settings=settings) as names,
        DirectIO(namespace=names, settings=settings) as client,
    ):
        while True:
            try:
                for result in client.follow(SOURCE, folder, max_delete=10**6):
                    tell(round=list(result[:5]), failed=len(result.failed))
            except DirectIOError as error:
                # A service manager would start it again.
                tell(ended=type(error).__name__)
                time.sleep(0.05)


class Follower:
    """A process that follows, and what it has told.

    Attributes:
        counts: What its rounds did, and how it ended.
        samples: Seconds, threads, descriptors and resident bytes, for each sample of each life.
        problems: What must not be.
        slowest_end: The most seconds between a signal and the end.
    """

    def __init__(self, portal: Emulator, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.samples: list[list[float]] = []
        self.problems: list[str] = []
        self.slowest_end = 0.0
        self._folder = folder
        self._environment = {**os.environ, **variables_of(portal)}
        self.start()

    def start(self) -> None:
        """Start the process, and the thread that reads what it tells."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.soak_mirror", "--follow", str(self._folder)],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # It was killed amid the line.
            if "sample" in told:
                self.samples.append(told["sample"])
            elif "ended" in told:
                self.counts[f"rounds ended by {told['ended']}"] += 1
            else:
                self.counts["rounds"] += 1
                self.counts["entries left for the next round"] += told["failed"]
                for name, count in zip(("added", "updated", "moved", "deleted"), told["round"]):
                    self.counts[name] += count
        errors = process.stderr.read()
        if errors.strip() and "Traceback" in errors:
            self.problems.append(errors[-2000:])

    def end(self, number: int) -> int:
        """Send a signal, and wait for the end. Return the exit code."""
        began = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(30)
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        if code not in (-number, 128 + number):
            self.problems.append(f"exit code {code} after {signal.Signals(number).name}")
        self._reader.join()
        assert self._process.stdout is not None and self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()
        self.counts[f"ended by {signal.Signals(number).name}"] += 1
        return code

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None


# --- the portal ----------------------------------------------------------------------------------------


class Changes:
    """Changes the portal, and makes faults, from one thread.

    Attributes:
        counts: What was done.
    """

    def __init__(self, portal: Emulator, dice: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._portal = portal
        self._tree = portal.tree
        self._dice = dice
        self._serials = itertools.count(1)
        self._contents: dict[str, bytes] = {}

    def _write(self, write: Callable[[str, bytes], object], path: str) -> None:
        """Write a file with bytes that are like no others."""
        data = f"{next(self._serials):08d}".encode() * self._dice.randrange(1, MAX_SIZE_BYTES // 8)
        write(path, data)
        self._contents[self._tree.node(path).guid] = data

    def nodes(self) -> list[tuple[str, Node]]:
        """Return all live files and folders, by path."""
        found: list[tuple[str, Node]] = []
        todo = [(SOURCE, self._tree.node(SOURCE))]
        while todo:
            path, node = todo.pop()
            for child in node.children.values():
                found.append((f"{path}/{child.name}", child))
                todo.append(found[-1])
        return found

    def make_some(self, seconds: float) -> None:
        """Change things for some time, with faults."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in range(self._dice.randrange(1, 8)):
                self.change_one()
            added = [self._add_fault() for _ in range(10)]
            chance = self._dice.random()
            if chance < 0.1:
                self._portal.accounts.expire_sessions()
                self.counts["sessions ended"] += 1
            elif chance < 0.15:
                self._portal.feed.reject_cursors()
                self.counts["cursors refused"] += 1
            elif chance < 0.25:
                self._portal.expire_urls()
                self.counts["URLs expired"] += 1
            time.sleep(self._dice.uniform(0.05, 0.6))
            self._portal.faults.clear()
            for fault in added:
                self.counts[f"fault: {fault.action.kind}"] += fault.hits

    def _add_fault(self) -> faults.Fault:
        dice = self._dice
        common = (
            faults.reset, faults.cut, faults.short, lambda: faults.status(503),
            lambda: faults.status(500), lambda: faults.status(429, {"Retry-After": "0"}),
            lambda: faults.delay(0.1), faults.stall,
        )  # fmt: skip
        if dice.random() < 0.4:
            return self._portal.faults.add(
                "portal", skip=dice.randrange(10), action=dice.choice(common)()
            )
        damaging = (*common, faults.corrupt, faults.garbage, lambda: faults.status(403))
        return self._portal.faults.add(
            "storage", skip=dice.randrange(20), action=dice.choice(damaging)()
        )

    def change_one(self) -> None:
        """Change one file or folder."""
        dice, nodes = self._dice, self.nodes()
        folders = [SOURCE, *(path for path, node in nodes if node.is_folder)]
        files = [path for path, node in nodes if not node.is_folder]
        target = f"{dice.choice(folders)}/{dice.choice(NAMES)}"
        kinds = {"create": 5, "mkdir": 1, "overwrite": 4, "move": 4, "delete": 2, "undelete": 2}
        if len(files) > MOST_FILES:
            kinds["delete"] = 20
        (kind,) = dice.choices(list(kinds), list(kinds.values()))
        with contextlib.suppress(FileExistsError, ValueError, NotADirectoryError):
            if kind == "create":
                self._write(self._tree.create, target)
            elif kind == "mkdir" and target.count("/") < 6:
                self._tree.mkdir(target)
            elif kind == "overwrite" and files:
                self._write(self._tree.overwrite, dice.choice(files))
            elif kind == "move" and nodes:
                self._tree.move(dice.choice(nodes)[0], target)
            elif kind == "delete" and nodes:
                self._tree.delete(dice.choice(nodes)[0])
            elif kind == "undelete":
                folder = dice.choice(folders)
                gone = list(self._tree.node(folder).deleted_children())
                if not gone:
                    return
                node = dice.choice(gone)
                self._tree.undelete(f"{folder}/{node.name}", guid=node.guid)
            self.counts[kind] += 1

    def mark(self, number: int) -> None:
        """Add a file. The feed tells of it, also after a round that met a fault."""
        self._write(self._tree.create, f"{SOURCE}/mark-{number}")

    def files(self) -> dict[str, bytes]:
        """Return the bytes of all files, by their path below the source."""
        return {
            path[len(SOURCE) + 1 :]: self._contents[node.guid]
            for path, node in self.nodes()
            if not node.is_folder
        }


class LocalUser:
    """Writes to a mirrored folder, and remembers what must be there."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.kept: set[bytes] = set()
        self._folder = folder
        self._dice = dice
        self._serials = itertools.count(1)

    def change(self) -> None:
        """Write a new file, or over a mirrored one."""
        data = f"user {next(self._serials)}".encode()
        files = sorted(local_files(self._folder))
        name = f"mine-{self._dice.randrange(20)}.txt"
        if files and self._dice.random() < 0.5:
            name = self._dice.choice(files)
        path = self._folder / name
        with contextlib.suppress(OSError):
            # A rename, so that the mirror meets no half of a file. What it replaces is the user's decision.
            before = path.read_bytes() if path.exists() else b""
            new = path.with_name(f"{path.name}.new")
            new.write_bytes(data)
            self.kept.add(data)
            os.replace(new, path)
            self.kept.discard(before)

    def missing(self) -> set[bytes]:
        """Return what was written and is gone."""
        gone = self.kept
        # A rename amid a reading hides a file.
        for _ in range(5):
            with contextlib.suppress(OSError):
                gone = gone - set(local_files(self._folder).values())
            if not gone:
                break
            time.sleep(0.2)
        return gone


# --- all together --------------------------------------------------------------------------------------


def soak(seconds: float, seed: int = 1) -> dict[str, Any]:
    """Run it, and return the figures.

    Args:
        seconds: How long.
        seed: Chooses the changes and faults.
    """
    dice = random.Random(seed)
    top = Path(tempfile.mkdtemp(prefix="mirror-soak-"))
    problems: list[str] = []
    seconds_to_equal: list[float] = []
    ending, troubled = threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        portal = stack.enter_context(Emulator(tree={"a0": {}}))
        changes = Changes(portal, dice)
        while len(changes.files()) < FIRST_FILES:
            changes.change_one()
        folders = {name: top / name for name in ("steady", "restarted")}
        followers = {name: Follower(portal, folder) for name, folder in folders.items()}
        user = LocalUser(folders["restarted"], dice)
        restarting = threading.Thread(
            target=restart_often,
            args=(followers["restarted"], troubled, ending, random.Random(seed), problems),
        )
        restarting.start()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not problems:
                left = deadline - time.monotonic()
                troubled.set()
                changes.make_some(min(TROUBLE_S, left))
                troubled.clear()
                user.change()
                changes.mark(len(seconds_to_equal))
                wanted = changes.files()
                for name, folder in folders.items():
                    kept = user.kept if name == "restarted" else set()
                    took = wait_until_equal(folder, wanted, kept)
                    if took is None:
                        problems.append(f"{name}: {difference(folder, wanted, kept)}")
                    else:
                        seconds_to_equal.append(took)
                if gone := user.missing():
                    problems.append(f"{len(gone)} files of the user are gone")
                if not followers["steady"].is_alive:
                    problems.append("the steady mirror ended")
        finally:
            ending.set()
            restarting.join()
            for each in followers.values():
                each.end(signal.SIGTERM)
        # The user has changed files of the other folder.
        if verify(folders["steady"]):
            problems.append("verify found something in the folder of the steady mirror")
    for name, follower in followers.items():
        problems += [f"{name}: {problem}" for problem in follower.problems]
    figures: dict[str, Any] = {
        "problems": problems, "problem count": len(problems),
        "comparisons": len(seconds_to_equal),
        "most seconds until equal": round(max(seconds_to_equal, default=0.0), 1),
        "files in the end": len(changes.files()),
        "changes and faults": dict(sorted(changes.counts.items())),
        "most seconds until the end after a signal": round(
            max(each.slowest_end for each in followers.values()), 2
        ),
    }  # fmt: skip
    for name, follower in followers.items():
        figures[f"{name} mirror"] = dict(sorted(follower.counts.items()))
    figures["requests"] = {where: portal.log.total(where) for where in ("portal", "storage")}
    figures.update(growth(followers["steady"].samples, seconds))
    return figures


def restart_often(
    follower: Follower,
    troubled: threading.Event,
    ending: threading.Event,
    dice: random.Random,
    problems: list[str],
) -> None:
    """End a mirror again and again while there is trouble, and start it anew. In the end it runs."""
    while not ending.wait(dice.uniform(*LIFE_S)):
        if not follower.is_alive:
            problems.append("the restarted mirror ended by itself")
            return
        if troubled.is_set():
            follower.end(signal.SIGKILL if dice.random() < 0.7 else signal.SIGTERM)
            follower.start()


def difference(folder: Path, wanted: dict[str, bytes], kept: set[bytes]) -> str:
    """Return what is not equal, or an empty text.

    Args:
        folder: The mirrored folder.
        wanted: The portal's files.
        kept: What the user wrote, which may be anywhere.
    """
    found = local_files(folder)
    wrong = [p for p, data in wanted.items() if found.get(p) != data and found.get(p) not in kept]
    extra = [p for p, data in found.items() if p not in wanted and data not in kept]
    return f"missing or wrong: {wrong[:5]}, extra: {extra[:5]}" if wrong or extra else ""


def wait_until_equal(folder: Path, wanted: dict[str, bytes], kept: set[bytes]) -> float | None:
    """Return the seconds after which a folder was equal to the portal, or None if it was not in time."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        # A rename amid the reading looks like a file that is missing.
        with contextlib.suppress(OSError):
            if not difference(folder, wanted, kept):
                return time.monotonic() - began
        time.sleep(0.1)
    return None


def verify(folder: Path) -> int:
    """Return the exit code of `ctera-direct verify` for a folder."""
    command = [sys.executable, "-m", "ctera_direct_sync", "verify", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def growth(samples: list[list[float]], seconds: float) -> dict[str, Any]:
    """Return what the steady mirror held, and whether that grew."""
    settled = [each for each in samples if each[0] > seconds / 3]
    figures: dict[str, Any] = {
        "most threads": max((each[1] for each in samples), default=0),
        "most descriptors": max((each[2] for each in samples), default=0),
        "most resident MB": round(max((each[3] for each in samples), default=0) / 1e6, 1),
    }
    for column, name in ((1, "threads"), (2, "descriptors")):
        lowest = floors([(each[0], each[column]) for each in settled])
        figures[f"{name}, least of each tenth"] = [round(least) for _, least in lowest]
    lowest = floors([(each[0], each[3] / 1e6) for each in settled])
    figures["resident MB, least of each tenth"] = [round(least) for _, least in lowest]
    figures["slope of that per minute"] = round(slope(lowest) * 60, 2)
    return figures


def main() -> int:
    """Run as a process that follows, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--follow", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        follow(options.follow)
    figures = soak(options.minutes * 60, options.seed)
    print("\n".join(_lines(figures)))
    return 1 if figures["problem count"] else 0


if __name__ == "__main__":
    sys.exit(main())

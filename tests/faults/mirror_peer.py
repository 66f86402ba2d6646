"""Our mirror and a program of the vendor's sample form, through the same random histories.

``python -m tests.faults.mirror_peer --histories 300`` prints the table of docs/reliability.md.

A history changes a cloud folder of the emulator and the local folder, lets downloads fail, ends sessions,
refuses cursors, and cuts the program off. In the end nothing fails any more, and each program gets what a
person would give it: a program that has ended is started again, and one whose cursor is refused without
the cursor. Then the folder is compared with the portal.

The sample writes each file by its bare name. So it is judged by that name: where the path should be
`docs/a`, its `a` counts as right. `other path` has how many files that concerns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.mirror.vendor_sample import Account, VendorSample, trust_any_certificate
from ctera_direct_sync import DirectIO, DirectIOError, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.emulator.names.nodes import Node
from tests.support.mirror_portal import Crash, local_files

NAMES = ("a", "b", "c", "A")
STEPS_PER_HISTORY = 12
HISTORIES_PER_EMULATOR = 25
#: Seconds after which a program is called endless: many times what any needs.
PATIENCE_S = 60
#: The time of the first write of a history, in seconds since the epoch.
FIRST_WRITE_S = 1_700_000_000
#: The kinds of steps, and how often each comes. A run follows each step that is about a run.
WEIGHTS = {
    "create": 6, "overwrite": 4, "move": 5, "remove": 3, "undelete": 1, "deny": 1, "allow": 1,
    "edit": 1, "remove here": 1, "run": 6, "failing run": 2, "crash": 2, "session ends": 1,
    "cursors end": 1,
}  # fmt: skip

#: The figures of a program, in the order of the table.
FIGURES = {
    "files": "files on the portal in the end",
    "missing": "missing here",
    "stale": "an older version",
    "cut": "cut short or empty, under the final name",
    "other path": "right bytes at another path than the portal's",
    "extra": "extra: renamed or deleted on the portal, and still here",
    "user's": "files of the user overwritten or deleted",
    "failed": "failures on the way: reported and tried again, or printed and forgotten",
    "lost": "files that are wrong in the end after such a failure",
    "silent, session": "silent ends at an expired session",
    "silent, cursor": "silent ends at a refused cursor",
}


class Step(NamedTuple):
    """A step of a history.

    Attributes:
        kind: One of `WEIGHTS`.
        which: Chooses a file or folder.
        where: Chooses a folder.
        name: The new name.
    """

    kind: str
    which: int
    where: int
    name: str


def draw(seed: int) -> list[Step]:
    """Return the steps of a history."""
    dice = random.Random(seed)
    kinds = dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=STEPS_PER_HISTORY)
    return [
        Step(kind, dice.randrange(2**16), dice.randrange(2**16), dice.choice(NAMES))
        for kind in ("create", "create", "run", *kinds)
    ]


class CloudFolder:
    """A cloud folder of the emulator, changed by a history.

    Attributes:
        path: Its path.
        uid: Its ID.
        versions: The contents that each object has had, by its guid.
    """

    _numbers = itertools.count(1)

    def __init__(self, portal: Emulator) -> None:
        self.path = f"/History-{next(self._numbers)}"
        self.uid = portal.tree.add_cloud_folder(self.path[1:])
        self.versions: dict[str, list[bytes]] = {}
        self._tree = portal.tree
        self._serials = itertools.count(1)
        (self._root,) = [f.root for f in portal.tree.cloud_folders if f.uid == self.uid]

    def nodes(self) -> list[tuple[str, Node]]:
        """Return the live files and folders, with their paths below the cloud folder."""

        def below(node: Node, prefix: str) -> Iterator[tuple[str, Node]]:
            for child in node.children.values():
                yield prefix + child.name, child
                yield from below(child, f"{prefix}{child.name}/")

        return list(below(self._root, ""))

    def files(self) -> dict[str, Node]:
        """Return the live files, by path."""
        return {path: node for path, node in self.nodes() if not node.is_folder}

    def content(self, kind: str) -> bytes:
        """Return bytes that are like no others."""
        return f"{kind} {next(self._serials):06d}".encode() * 10

    def change(self, step: Step) -> str | None:
        """Change the tree, if the step is possible. Return the path of a file that was written."""
        nodes = self.nodes()
        folders = ["", *(path for path, node in nodes if node.is_folder)]
        parent = folders[step.where % len(folders)]
        target = f"{parent}/{step.name}".lstrip("/")
        files = list(self.files())
        with contextlib.suppress(FileExistsError, ValueError, NotADirectoryError):
            if step.kind == "create":
                if step.which % 3 == 0:
                    self._tree.mkdir(f"{self.path}/{target}")
                    target += "/" + NAMES[step.which % len(NAMES)]
                return self._write(target, is_new=True)
            if step.kind in ("overwrite", "failing run", "crash"):
                if not files:
                    return self._write(step.name, is_new=True)
                return self._write(files[step.which % len(files)], is_new=False)
            if step.kind == "undelete":
                self._undelete(step, folders)
            elif nodes and step.kind in ("move", "remove", "deny", "allow"):
                path = f"{self.path}/{nodes[step.which % len(nodes)][0]}"
                if step.kind == "move":
                    self._tree.move(path, f"{self.path}/{target}")
                elif step.kind == "remove":
                    self._tree.delete(path)
                elif step.kind == "deny" and nodes[step.which % len(nodes)][1].is_folder:
                    self._tree.deny(path)
                elif step.kind == "allow":
                    self.allow_all()
        return None

    def allow_all(self) -> None:
        """Take all denials back."""
        for path, _ in self.nodes():
            self._tree.allow(f"{self.path}/{path}")

    def _write(self, path: str, *, is_new: bool) -> str:
        data, full = self.content("portal"), f"{self.path}/{path}"
        # Listings have whole seconds. Each write has its own, as if the history took longer.
        modified = FIRST_WRITE_S + next(self._serials)
        (self._tree.create if is_new else self._tree.overwrite)(full, data, modified=modified)
        self.versions.setdefault(self._tree.node(full).guid, []).append(data)
        return path

    def _undelete(self, step: Step, folders: list[str]) -> None:
        found = [
            (f"{self.path}/{folder}/{child.name}", child.guid)
            for folder in folders
            for child in self._tree.node(f"{self.path}/{folder}").deleted_children()
        ]
        if found:
            path, guid = found[step.which % len(found)]
            self._tree.undelete(path, guid=guid)


class Program(Protocol):
    """A program that keeps a folder like a cloud folder.

    Attributes:
        failed: The paths or bare names of downloads that failed.
        silent: How often it ended without telling, by cause.
    """

    failed: list[str]
    silent: Counter[str]

    def place(self, path: str) -> str:
        """Return where it puts a file of the portal."""

    def run(self, cause: str) -> bool:
        """Let it do all that the portal has to tell. Return whether it still runs.

        Args:
            cause: What the portal has done to it since the last run, or an empty text.
        """

    def crash(self, steps: int) -> None:
        """Cut it off after some steps of its work, and start it again."""

    def restart_in_peace(self) -> None:
        """Do what a person would do who has noticed that it ended."""

    def end(self) -> None:
        """End it."""


class Mirror:
    """Our mirror: a long-lived client, which runs each time."""

    def __init__(self, account: Account, source: CloudFolder, folder: Path) -> None:
        self.failed: list[str] = []
        self.silent: Counter[str] = Counter()
        self._account = account
        self._source = source.path
        self._folder = folder
        self._start()

    def _start(self) -> None:
        url, access, secret, user, password = self._account
        settings = Settings(retries=1, backoff=0.001)
        settings.api.ssl = settings.storage.ssl = False
        self._names = Namespace(url, user, password, settings=settings)
        self._client = DirectIO(url, access, secret, namespace=self._names, settings=settings)

    def place(self, path: str) -> str:
        """Return where it puts a file of the portal: at its path."""
        return path

    def run(self, cause: str, progress: Any = None) -> bool:
        """Run once."""
        try:
            result = self._client.mirror(self._source, self._folder, progress=progress)
            self.failed += [path for path, _ in result.failed]
        except DirectIOError as error:
            self.failed.append(str(error))
        return True

    def crash(self, steps: int) -> None:
        """Cut a run off amid its downloads."""
        left = itertools.count(steps, -1)

        def progress(done: int, total: int) -> None:
            if next(left) <= 0:
                raise Crash

        with contextlib.suppress(Crash):
            self.run("", progress)
        self.end()
        self._start()

    def restart_in_peace(self) -> None:
        """Do nothing: it has not ended."""

    def end(self) -> None:
        """Close the client."""
        self._client.close()
        self._names.close()


class Sample:
    """The vendor's sample, which runs all the time."""

    def __init__(self, account: Account, source: CloudFolder, folder: Path) -> None:
        self.failed: list[str] = []
        self.silent: Counter[str] = Counter()
        self._account = account
        self._source = source
        self._folder = folder
        self._cursor = folder.with_name(folder.name + ".cursor")
        self._loop = asyncio.new_event_loop()
        self._is_dead = False
        self._left = -1
        self._start()

    def _start(self) -> None:
        self._is_dead = False
        self._program = VendorSample(
            self._account, self._folder, self._cursor, [self._source.uid], self._opened
        )
        self._stack = contextlib.AsyncExitStack()
        self._do(self._stack.enter_async_context(self._program.running()))

    def _do(self, work: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    def _stop(self) -> None:
        self.failed += [name for name, _ in self._program.errors]
        self._do(self._stack.aclose())

    def _opened(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._program.kill()
            raise Crash

    def place(self, path: str) -> str:
        """Return where it puts a file of the portal: under its bare name."""
        return path.rpartition("/")[2]

    def run(self, cause: str) -> bool:
        """Wait until it has done its work, if it is still alive."""
        if not self._is_dead and not self._do(self._program.settle()):
            self._is_dead = True
            self.silent[cause] += 1
        return not self._is_dead

    def crash(self, steps: int) -> None:
        """Kill it while a file is open, and start it again."""
        self._left = steps + 1
        if not self._is_dead:
            self._do(self._program.settle())
        self._left = -1
        self._stop()
        self._start()

    def restart_in_peace(self) -> None:
        """Start it again, without the cursor if the portal no longer takes it."""
        if self._is_dead:
            self._stop()
            self._start()
            if not self._do(self._program.settle()):
                self._stop()
                self._cursor.unlink()
                self._start()

    def end(self) -> None:
        """Stop it."""
        self._stop()
        self._loop.close()


def play(portal: Emulator, seed: int, make: Any, folder: Path) -> Counter[str]:
    """Run a program through a history, and return its figures.

    Args:
        portal: The emulator.
        seed: Chooses the history.
        make: `Mirror` or `Sample`.
        folder: An empty folder for the program.
    """
    dice = random.Random(f"options of {seed}")
    feed, options = portal.portal_options.feed, portal.portal_options
    options.file_id_changes_on_write = dice.random() < 0.7
    feed.events_of_children = dice.random() < 0.5
    feed.duplicates, feed.redeliver = dice.random() < 0.3, dice.random() < 0.3
    feed.page_cap = dice.choice((None, 1, 3))
    # A long poll of ten seconds is one of ten milliseconds.
    feed.poll_unit_s = 1e-6
    source = CloudFolder(portal)
    account = Account(
        portal.url, portal.access_key_id, portal.secret_access_key, portal.username, portal.password
    )
    program: Program = make(account, source, folder)
    user = LocalUser(folder, source)
    cause, are_refused = "", False
    try:
        for step in draw(seed):
            written = source.change(step)
            if step.kind in ("edit", "remove here"):
                user.change(step, program)
            elif step.kind == "session ends":
                portal.accounts.expire_sessions()
                cause = "session"
            elif step.kind == "cursors end":
                portal.feed.reject_cursors()
                cause, are_refused = cause or "cursor", True
            elif step.kind == "crash":
                program.crash(step.where % 3)
                # The start signs in anew, with the cursor of before.
                cause = "cursor" if are_refused else ""
            elif step.kind in ("run", "failing run"):
                if step.kind == "failing run" and written is not None:
                    file_id = portal.tree.file_id(f"{source.path}/{written}")
                    portal.faults.add("storage", file_id, times=None, action=faults.status(503))
                is_alive = program.run(cause)
                portal.faults.clear()
                cause, are_refused = "", are_refused and not is_alive
        source.allow_all()
        program.run(cause)
        program.restart_in_peace()
        for _ in range(2):
            program.run("")
    finally:
        program.end()
    return judge(source, user, program, local_files(folder))


class LocalUser:
    """The user of the local folder.

    Attributes:
        kept: What the user wrote, and has not deleted or overwritten.
    """

    def __init__(self, folder: Path, source: CloudFolder) -> None:
        self.kept: set[bytes] = set()
        self._folder = folder
        self._source = source

    def change(self, step: Step, program: Program) -> None:
        """Change or delete a local file, if the program has put it there."""
        files = list(self._source.files())
        data = self._source.content("user")
        if not files:
            return
        path = self._folder / program.place(files[step.which % len(files)])
        if not path.is_file():
            return
        self.kept.discard(path.read_bytes())
        path.unlink()
        if step.kind == "edit":
            path.write_bytes(data)
            self.kept.add(data)


def judge(
    source: CloudFolder, user: LocalUser, program: Program, found: dict[str, bytes]
) -> Counter[str]:
    """Compare a folder with the portal."""
    figures: Counter[str] = Counter()
    wanted = {path: source.versions[node.guid] for path, node in source.files().items()}
    present = set(found.values())
    failed_names = {path.rpartition("/")[2] for path in program.failed}
    for path, versions in wanted.items():
        here = found.get(program.place(path))
        figures["files"] += 1
        if here == versions[-1]:
            figures["other path"] += program.place(path) != path
            continue
        if here in user.kept:
            continue  # What the user changed stays, until the portal's file changes.
        if versions[-1] in present:
            figures["other path"] += 1
            continue
        if here in versions:
            figures["stale"] += 1
        elif here is not None and not any(here in each for each in source.versions.values()):
            figures["cut"] += 1
        else:
            figures["missing"] += 1
        figures["lost"] += path.rpartition("/")[2] in failed_names
    places = {program.place(path) for path in wanted}
    figures["extra"] = sum(
        path not in places and data not in user.kept for path, data in found.items()
    )
    figures["user's"] = len(user.kept - present)
    figures["failed"] = len(program.failed)
    figures["silent, session"] = program.silent["session"]
    figures["silent, cursor"] = program.silent["cursor"]
    assert not program.silent[""], "it ended for no reason that the history knows"
    return figures


def compare(seeds: Sequence[int]) -> dict[str, Counter[str]]:
    """Run both programs through histories, and return the figures of each.

    Args:
        seeds: The seeds of the histories.
    """
    totals: dict[str, Counter[str]] = {"mirror": Counter(), "sample": Counter()}
    with without_pauses(), contextlib.ExitStack() as stack:
        for number, seed in enumerate(seeds):
            if number % HISTORIES_PER_EMULATOR == 0:
                stack.close()
                portal = stack.enter_context(Emulator(tls=True, tree={}))
            with tempfile.TemporaryDirectory(prefix="mirror-peer-") as top:
                for name, make in (("mirror", Mirror), ("sample", Sample)):
                    folder = Path(top, name)
                    folder.mkdir()
                    totals[name].update(play(portal, seed, make, folder))
    return totals


@contextlib.contextmanager
def without_pauses() -> Iterator[None]:
    """Cut the pauses between the attempts of the vendor's client, and its log."""
    import cterasdk.lib.retries
    import cterasdk.settings

    class _Asyncio:
        @staticmethod
        async def sleep(seconds: float) -> None:
            """Go on at once."""

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

    direct, core = cterasdk.settings.io.direct, cterasdk.settings.core.asyn
    connectors = [each.settings.connector for each in (core, direct.api, direct.storage)]
    before = [each.ssl for each in connectors]
    original = cterasdk.lib.retries.asyncio
    log = logging.getLogger("cterasdk")
    level = log.level
    trust_any_certificate()
    cterasdk.lib.retries.asyncio = _Asyncio()
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        cterasdk.lib.retries.asyncio = original
        log.setLevel(level)
        for each, ssl in zip(connectors, before):
            each.ssl = ssl


def print_table(totals: dict[str, Counter[str]], histories: int) -> None:
    """Print the figures as Markdown."""
    print(f"| {histories:,} histories | `mirror()` | the vendor's sample |")
    print("| --- | ---: | ---: |")
    for name, words in FIGURES.items():
        print(f"| {words} | {totals['mirror'][name]:,} | {totals['sample'][name]:,} |")


def main() -> int:
    """Compare, and print the table. The exit code is 1 if our mirror was wrong anywhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Errors that are lost in the vendor's tasks, and the retries of our client.
    logging.disable(logging.CRITICAL)
    totals = compare(range(options.seed, options.seed + options.histories))
    print_table(totals, options.histories)
    wrong = set(FIGURES) - {"files", "failed"}
    return int(any(totals["mirror"][name] for name in wrong))


if __name__ == "__main__":
    sys.exit(main())

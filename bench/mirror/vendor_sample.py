"""A program in the form that the vendor's documentation shows: download every changed file.

The vendor's service puts events into a queue, and saves the cursor once all are done. A worker takes one
event after the other, and downloads the file by its bare name into one folder. An error is printed, and
the event counts as done. Deletions are skipped.

Comparisons run it: `bench/mirror/run.py` and `tests/faults/mirror_peer.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import cterasdk
import cterasdk.settings
from cterasdk import ctera_direct

__all__ = ["Account", "VendorSample", "trust_any_certificate"]


class Account(NamedTuple):
    """Where the portal is, and what it takes to use it.

    Attributes:
        url: The address of the portal, over HTTPS: the vendor's client takes a port with it alone.
        access_key_id: The access key ID.
        secret_access_key: The secret access key.
        username: The name of an administrator.
        password: The password.
    """

    url: str
    access_key_id: str
    secret_access_key: str
    username: str
    password: str


def trust_any_certificate() -> None:
    """Let the vendor's clients of this process accept the emulator's certificate."""
    direct = cterasdk.settings.io.direct
    for client in (cterasdk.settings.core.asyn, direct.api, direct.storage):
        client.settings.connector.ssl = False


class VendorSample:
    """The program. One object is one start of it.

    Args:
        account: The portal's.
        folder: Where the files go.
        cursor: The file that keeps the cursor.
        cloud_folders: The IDs of the cloud folders to follow.
        on_open: Called with the name of each file, once the file is open and empty.

    Attributes:
        errors: The name of each event whose work raised an error, with the error's class.
        downloaded: The number of files that were downloaded.
    """

    def __init__(
        self,
        account: Account,
        folder: Path,
        cursor: Path,
        cloud_folders: Sequence[int],
        on_open: Callable[[str], object] = lambda name: None,
    ) -> None:
        self.errors: list[tuple[str, str]] = []
        self.downloaded = 0
        self._account = account
        self._folder = folder
        self._cursor = cursor
        self._cloud_folders = list(cloud_folders)
        self._on_open = on_open
        # What the waiting of `settle` needs; the sample itself has none of it.
        self._is_killed = False
        self._empty_polls = 0
        self._read = 0
        self._saved = 0

    # --- what the vendor's page shows ------------------------------------------------------------

    async def _save_cursor(self, cursor: str) -> None:
        if not self._is_killed:
            self._cursor.write_text(cursor)
            self._saved += 1

    async def _download(self, file_id: int, name: str) -> None:
        with open(os.path.join(self._folder, name), "wb") as file:
            self._on_open(name)
            async with ctera_direct.client.DirectIO(
                self._account.url, self._account.access_key_id, self._account.secret_access_key
            ) as client:
                for future in asyncio.as_completed(await client.blocks(file_id)):
                    block = await future
                    file.seek(block.offset)
                    file.write(block.data)
        self.downloaded += 1

    async def _work(self, queue: asyncio.Queue[Any]) -> None:
        while True:
            event = await queue.get()
            try:
                if event.type == "file" and not event.deleted:
                    await self._download(event.id, event.name)
            except Exception as error:
                self.errors.append((event.name, type(error).__name__))
            finally:
                queue.task_done()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the program until the block is left."""
        parts = urlsplit(self._account.url)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        cursor = self._cursor.read_text() if self._cursor.exists() else None
        async with cterasdk.AsyncGlobalAdmin(parts.hostname, parts.port) as admin:
            await admin.login(self._account.username, self._account.password)
            self._watch(admin.notifications)
            admin.notifications.service.run(
                queue, self._save_cursor, cloudfolders=self._cloud_folders, cursor=cursor
            )
            consumer = asyncio.create_task(self._work(queue))
            self._tasks = [*admin.notifications.service._promises, consumer]
            try:
                yield
            finally:
                self.kill()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- how a comparison waits for it -----------------------------------------------------------

    def kill(self) -> None:
        """Let it save nothing more, as if the process had been killed."""
        self._is_killed = True

    def _watch(self, notifications: Any) -> None:
        """Count the pages with events, and the long polls that end without any."""
        read, poll = notifications.get, notifications.changes

        async def get(*arguments: Any) -> Any:
            page = await read(*arguments)
            self._read += bool(page.objects)
            return page

        async def changes(*arguments: Any) -> Any:
            found = await poll(*arguments)
            self._empty_polls += not found
            return found

        notifications.get, notifications.changes = get, changes

    @property
    def has_ended(self) -> bool:
        """Whether a part of it has ended, so that no further event will come. The program does not tell."""
        return any(task.done() for task in self._tasks)

    async def settle(self) -> bool:
        """Wait until it has done what the portal has to tell. Return whether it is still alive."""
        # A poll that is under way may have begun before the last change.
        wanted = self._empty_polls + 2
        while not (self._empty_polls >= wanted and self._read == self._saved):
            retrieve, forward, consumer = self._tasks
            if forward.done() or consumer.done():
                return False
            if retrieve.done() and self._read == self._saved:
                return False
            await asyncio.sleep(0.002)
        return True

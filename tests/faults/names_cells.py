"""Running one cell of the fault matrix for names."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

from ctera_direct_sync import Namespace, Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.exceptions import DirectIOError
from tests.faults.cells import listening, slips, told_by
from tests.faults.matrix import RETRIES
from tests.faults.names_rows import CALLS, CLOUD_FOLDERS, PAGE_CAP, TREE, NamesCell
from tests.support.belongings import outliving

_PASSWORD = "pa55-w0rd-never-told"

#: Seconds of silence that are a timeout where something stalls.
_SILENCE_S = 0.25


class NamesResult(NamedTuple):
    """What came of a cell."""

    outcome: str
    """`recovered`, or the class of the error."""
    extra: int
    """Requests of the call that met the fault, beyond those of a call without one."""
    secrets: list[str]
    """What was said and must not be."""
    wrong: list[str]
    """What else is not as it should be."""


class NamesWorld:
    """A portal that all cells share."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.portal = self._stack.enter_context(Emulator(tree=TREE))
        self.portal.portal_options.page_cap = PAGE_CAP
        self.portal.accounts.add("eve", _PASSWORD, full_name="Eve", role="ReadWriteAdmin")
        for number in range(CLOUD_FOLDERS):
            self.portal.tree.add_cloud_folder(f"Team {number}", owner="eve")
        self.portal.tree.share("/My Files", "eve")
        for content in (b"second", b"third"):
            self.portal.tree.overwrite("/My Files/old.txt", content)
        self._usual: dict[str, tuple[list[Any], int]] = {}
        # Not a local variable: a traceback that is looked through for secrets shows those.
        self._cookies: list[str] = []

    def __enter__(self) -> NamesWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def usual(self, call: str) -> tuple[list[Any], int]:
        """Return the results of a call without a fault, and how many requests it makes."""
        if call not in self._usual:
            before = self._count(call)
            with self._namespace(call) as names:
                results = list(CALLS[call].run(names))
            self._usual[call] = results, self._count(call) - before
        return self._usual[call]

    def _namespace(self, call: str, *, stalls: bool = False) -> Namespace:
        settings = Settings(retries=RETRIES, backoff=0.001, max_backoff=0.002, retry_timeout=20.0)
        settings.api.timeout = (10.0, _SILENCE_S if stalls else 20.0)
        account = self.portal.username, self.portal.password
        return Namespace(self.portal.url, *account, context=CALLS[call].context, settings=settings)

    def _count(self, call: str) -> int:
        return len(self.portal.log.records(call=CALLS[call].request))

    @contextlib.contextmanager
    def _noting_cookies(self) -> Iterator[None]:
        """Note the cookies of the sessions that the portal opens."""
        open_session = self.portal.accounts.open_session
        self._cookies.clear()

        def note(*arguments: Any, **options: Any) -> str:
            self._cookies.append(open_session(*arguments, **options))
            return self._cookies[-1]

        with mock.patch.object(self.portal.accounts, "open_session", note):
            yield

    def run(self, cell: NamesCell) -> NamesResult:
        """Run one cell."""
        row, call = cell
        results, usual = self.usual(call)
        threads = set(threading.enumerate())
        self.portal.log.clear()
        self.portal.portal_options.json_answers = not row.xml
        self.portal.faults.add(
            "portal",
            call=CALLS[call].request,
            skip=CALLS[call].skip,
            times=row.times,
            action=row.action,
        )
        found: list[Any] = []
        said: list[str] = []
        wrong: list[str] = []
        error: BaseException | None = None
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self.portal.portal_options, "json_answers", True)
            stack.callback(self.portal.faults.clear)
            ears = stack.enter_context(listening())
            stack.enter_context(self._noting_cookies())
            names = stack.enter_context(self._namespace(call, stalls="stall" in row.name))
            try:
                for result in CALLS[call].run(names):
                    found.append(result)
            except Exception as caught:
                error = caught
            extra = self._count(call) - usual
            said.append(repr(names))
        outcome = "recovered"
        if error is not None:
            outcome = type(error).__name__
            said.append(told_by(error))
            wrong += _judge_error(error, CALLS[call].path if call != "sign-in" else None)
        elif found != results:
            wrong.append(f"{len(found)} of {len(results)} results, and no error")
        if found != results[: len(found)]:
            wrong.append("results that are wrong, or in the wrong order")
        secrets = [self.portal.password, self.portal.secret_access_key, *self._cookies]
        left = outliving(threads, but="ctera-emulator")
        wrong += [f"left behind: thread {thread.name!r}" for thread in left]
        return NamesResult(outcome, extra, slips(said + ears.lines, secrets), wrong)


def _judge_error(error: BaseException, path: str | None) -> list[str]:
    if not isinstance(error, DirectIOError):
        return [f"leaked {error!r}"]
    wrong = []
    if not error.errno or not error.strerror:
        wrong.append(f"{error!r} lacks errno or text")
    is_login = type(error).__name__ == "LoginError"
    if path is not None and not is_login and error.filename != path:
        wrong.append(f"{error!r} does not name {path}")
    return wrong

"""`Namespace`: files and folders of a portal by their names."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Container, Iterable, Iterator
from types import TracebackType
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

import requests

from ._base.account import Password, choose_account
from ._base.cancellation import Cancelled, CancelScope
from ._base.counters import Counters
from ._base.credentials import check_baseurl, find_baseurl, warn_unprotected
from ._base.retry import RetryPolicy
from ._base.worker_pool import WorkerPool
from ._net.api_session import APISession
from ._net.hedging import Hedging
from ._net.meter import Ended, Meter
from ._net.tls import TLS
from ._protocol.calls import PortalCalls
from ._protocol.changes import ChangePages, ChangeReader, Feed
from ._protocol.event_paths import EventPaths
from ._protocol.feed_cursor import check_cursor, check_folders
from ._protocol.names import Names, Pager, check_path
from ._protocol.sign_in import SignIn
from ._readers.glob_pattern import GlobPattern
from ._readers.tree_names import glob_tree, walk_tree
from ._readers.tree_walk import MAX_IN_FLIGHT, TreeWalk
from .exceptions import NamespaceError, PathNotFoundError
from .settings import Settings
from .types import Ancestor, ChangePage, CloudFolder, Entry, Event, KeyPair, Token, Version

__all__ = ["Namespace"]

T = TypeVar("T")

#: The memory that all second requests for late listings may use: two of the longest answers.
_MAX_TWINS_BYTES = 16 * 1024 * 1024
_CONTEXTS = ("ServicesPortal", "admin")


class Namespace:
    r"""A signed-in view of the files and folders of a portal.

    A path is plain text, never percent-encoded. In a user's view its first part is a cloud folder:
    ``/My Files/reports/a.pdf``. In an administrator's view it is
    ``/Users/<owner's full name>/<cloud folder>/...``.

    Nothing is sent before the first call, and no listing is kept between calls. A session that expires
    is renewed by itself, once per call, and once for all threads together. A portal that refuses a
    password is not asked again by the same object, since portals lock accounts.

    One Namespace serves all threads of a process. A forked child uses the session of its parent until
    it is over, and then signs in by itself. Pickling gives an equal, unused Namespace, password
    included: treat the pickle as a secret.

    What neither an argument nor the environment gives comes from the profile that `ctera-direct login`
    stored: the one that CTERA_DIRECT_PROFILE names, or `default`. A profile counts for its own portal
    and its own user only. It is not read if nothing is missing.

    Args:
        baseurl: The portal's URL. Default: CTERA_DIRECT_URL.
        username: The user name, or `domain\user`. Default: CTERA_DIRECT_USERNAME.
        password: The password. Default: CTERA_DIRECT_PASSWORD.
        bearer: A bearer token, instead of a user name and password.
        cookie: The JSESSIONID of a session from elsewhere, instead of a user name and password.
        ticket: A ticket for single sign-on, instead of a user name and password. It serves once.
        context: "ServicesPortal" for a user's view, "admin" for an administrator's.
            Default: CTERA_DIRECT_CONTEXT, that of the profile, or else "ServicesPortal".
        settings: Settings, of which a copy is kept. `settings.api`, `retries` and the like count.
        session: A function that returns a configured `requests.Session`. Each session is used by one
            thread at a time.

    Raises:
        ValueError: An argument is missing or malformed, or the profile that is needed cannot be read.
            The message names the argument and the environment variable.

    Example:
        >>> with Namespace("https://tenant.ctera.com", "alice", password) as names:
        ...     for entry in names.listdir("/My Files/reports"):
        ...         print(entry.path, entry.file_id, entry.size)
    """

    def __init__(
        self,
        baseurl: str | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        bearer: str | None = None,
        cookie: str | None = None,
        ticket: str | None = None,
        context: str | None = None,
        settings: Settings | None = None,
        session: Callable[[], requests.Session] | None = None,
    ) -> None:
        # A traceback may show these.
        password, bearer = password and Token(password), bearer and Token(bearer)
        cookie, ticket = cookie and Token(cookie), ticket and Token(ticket)
        self._baseurl = check_baseurl(find_baseurl(baseurl)).rstrip("/")
        self._credentials, known_context = choose_account(
            self._baseurl, username, password, bearer, cookie, ticket
        )
        self._context = str(context or known_context or _CONTEXTS[0])
        if self._context not in _CONTEXTS:
            raise ValueError(
                f"context {self._context!r} (CTERA_DIRECT_CONTEXT) is not known: use "
                f"{' or '.join(_CONTEXTS)}"
            )
        warn_unprotected(self._baseurl)
        self._settings = Settings(**(settings._values if settings is not None else {}))
        self._session = session
        self._open()

    def _open(self) -> None:
        self._tls = TLS(self._settings.api.ssl, self._settings.api.cert)
        self._closed = False
        # One pool at most, made by the first walk.
        self._pools: dict[str, WorkerPool] = {}
        # A Namespace that is dropped without being closed leaves no thread behind.
        weakref.finalize(self, _shut_down, self._pools).atexit = False
        self._hedging = Hedging(self._settings.hedging, _MAX_TWINS_BYTES)
        self._hedging_finalizer = weakref.finalize(self, self._hedging.close, wait=False)
        self._hedging_finalizer.atexit = False
        self._listener: Callable[[Ended], object] | None = None
        self._connect(None)
        _namespaces.add(self)

    def _connect(self, parent: SignIn | None) -> None:
        """Make everything that owns sockets and locks. A forked child makes it anew."""
        policy = RetryPolicy.from_settings(self._settings)
        root = f"{self._baseurl}/{self._context}"
        self._process = os.getpid()
        self._pools.clear()
        self._hedging.start_over()
        self._scopes: set[CancelScope] = set()
        self._http = APISession(self._settings.api, self._tls, self._session)
        self._http.meter.listener = self._listener
        self._policy = policy
        self._sign_in = SignIn(self._http, root, self._credentials, policy, parent)
        calls = PortalCalls(self._http, root, self._sign_in, policy, self._hedging)
        self._names = Names(calls, self._context, urlsplit(self._baseurl).path)
        self._feed = Feed(calls, self._settings.api.timeout)
        self._event_paths = EventPaths(self._feed, self._names, calls, self._context)

    @property
    def baseurl(self) -> str:
        """The portal's URL."""
        return self._baseurl

    @property
    def settings(self) -> Settings:
        """The settings that the Namespace works with, its own copy."""
        return self._settings

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def context(self) -> str:
        """The view: "ServicesPortal" or "admin"."""
        return self._context

    # --- looking up ----------------------------------------------------------------------------------

    def stat(self, path: str) -> Entry:
        """Return the entry of a file or folder.

        Args:
            path: The path.

        Returns:
            The entry.

        Raises:
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            AccessDeniedError: The user may not read it.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> names.stat("/My Files/a.pdf").file_id
        """
        path = check_path(path)
        return self._call(path, lambda scope: self._names.stat(path, scope))

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder at a path.

        Args:
            path: The path.

        Returns:
            Whether the portal has something there that the user may see.

        Raises:
            AccessDeniedError: The portal does not tell it to this user.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> names.exists("/My Files/a.pdf")
        """
        try:
            self.stat(path)
        except PathNotFoundError:
            return False
        return True

    def listdir(self, path: str, *, include_deleted: bool = False) -> Iterator[Entry]:
        """Yield the entries of a folder, in the portal's order. Pages are fetched as needed.

        The first page is fetched by the call itself, so an unknown path raises here.

        Args:
            path: The folder.
            include_deleted: Whether to yield deleted entries, too. Several deleted entries and a live
                one may share a name: tell them apart by `file_id`.

        Returns:
            An iterator of entries. It yields each entry once, or raises.

        Raises:
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            NotAFolderError: The path is a file.
            AccessDeniedError: The user may not read the folder.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> for entry in names.listdir("/My Files/reports"):
            ...     print(entry.name, entry.size)
        """
        path = check_path(path)
        return self._read_pages(
            path,
            lambda scope: self._names.pager(path, scope, include_deleted=include_deleted),
        )

    def _read_pages(
        self, path: str, start: Callable[[CancelScope], Pager[Entry]]
    ) -> Iterator[Entry]:
        """Fetch the first page of a listing, and return an iterator of all its entries."""
        self._check_open()
        step = self._make_step(path)
        scope = CancelScope()
        pager = start(scope)

        def fetch() -> list[Entry]:
            return step(scope, pager.next_page)

        page = fetch()

        def iterate() -> Iterator[Entry]:
            entries = page
            while True:
                yield from entries
                if pager.complete:
                    return
                entries = fetch()

        return iterate()

    # --- trees ---------------------------------------------------------------------------------------

    def walk(
        self, path: str, on_error: Callable[[NamespaceError], object] | None = None
    ) -> Iterator[Entry]:
        """Yield everything below a folder: a folder before its content, names in the portal's order.

        Several folders are listed at the same time. The order does not depend on which answer comes
        first, and memory does not grow with the number of entries. Leaving the loop stops the requests.

        Args:
            path: The folder. It is not yielded itself.
            on_error: Called with the error of each folder that cannot be read; its `filename` is the
                folder's path. None: the iteration raises the first one. A folder is never skipped
                silently.

        Returns:
            An iterator of entries. Nothing is sent before its first step.

        Raises:
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            NotAFolderError: The path is a file.
            AccessDeniedError: The user may not read a folder.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> nbytes = sum(entry.size or 0 for entry in names.walk("/My Files"))
        """
        path = check_path(path)
        return self._walk(
            path, lambda scope: walk_tree(self._names, path, self._workers(), scope, on_error)
        )

    def glob(
        self, pattern: str, on_error: Callable[[NamespaceError], object] | None = None
    ) -> Iterator[Entry]:
        """Yield the files and folders that match a pattern, in the order of `walk`.

        ``*`` matches any text within one part of a path, ``?`` one character, ``[abc]`` one of some and
        ``[!abc]`` one of all others. ``**`` as a whole part matches any number of folders, or none; at the
        end it means everything below. A slash at the end asks for folders. Letters match by case. Names
        that begin with a dot match like all others. ``[*]`` is a plain star, and `glob.escape` escapes a
        whole path. A pattern without wildcards is looked up as it is.

        Only folders that can hold a match are listed.

        Args:
            pattern: The pattern, which begins with a slash.
            on_error: As in `walk`.

        Returns:
            An iterator of entries. Nothing is sent before its first step. It is empty if nothing
            matches.

        Raises:
            AccessDeniedError: The user may not read a folder that can hold a match.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> tables = [entry.path for entry in names.glob("/My Files/**/*.parquet")]
        """
        parsed = GlobPattern(pattern)
        return self._walk(
            parsed.base,
            lambda scope: glob_tree(self._names, parsed, self._workers(), scope, on_error),
        )

    def _walk(self, path: str, start: Callable[[CancelScope], TreeWalk]) -> Iterator[Entry]:
        self._check_open()

        def iterate() -> Iterator[Entry]:
            process = self._process
            with self._scope() as scope:
                try:
                    for entry in start(scope).run():
                        yield entry
                        if process != os.getpid():
                            raise _forked(path)
                    return
                except Cancelled:
                    pass
                finally:
                    # The connections of a parent process are not the child's to cut.
                    if process == os.getpid():
                        scope.cancel()
            raise _cancelled(path)

        return iterate()

    def _workers(self) -> WorkerPool:
        # Two threads may come here at once: one pool is kept, the other has no threads yet.
        return self._pools.get("") or self._pools.setdefault("", WorkerPool(MAX_IN_FLIGHT))

    def search(
        self,
        path: str,
        *,
        name: str | None = None,
        extension: str | None = None,
        content: str | None = None,
    ) -> Iterator[Entry]:
        """Yield what the portal's search finds below a folder. All criteria must hold.

        The first page is fetched by the call itself.

        Args:
            path: The folder.
            name: A part of the name. Case does not matter.
            extension: The extension of a file, such as "pdf". Case does not matter.
            content: Words that the portal's index of contents has for the file. Older portals have
                none: then what they answer cannot be checked here.

        Returns:
            An iterator of entries, in the portal's order.

        Raises:
            ValueError: There is no criterion.
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            AccessDeniedError: The user may not read the folder.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> found = list(names.search("/My Files", name="report", extension="pdf"))
        """
        path = check_path(path)
        extension = extension.lstrip(".") if extension else None
        if not (name or extension or content):
            raise ValueError("search needs a name, an extension or content")
        return self._read_pages(
            path,
            lambda scope: self._names.search(
                path, name or None, extension or None, content or None, scope
            ),
        )

    # --- versions, cloud folders, keys ---------------------------------------------------------------

    def versions(self, path: str) -> list[Version]:
        """Return the previous versions of a file or folder, in the portal's order.

        `stat` and `listdir` take the path of a version. The portal may give no file ID for it.

        Args:
            path: The file or folder.

        Returns:
            The versions; `path` leads to each of them.

        Raises:
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            AccessDeniedError: The user may not read it.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or does not keep versions.

        Example:
            >>> paths = [version.path for version in names.versions("/My Files/a.pdf")]
        """
        path = check_path(path)
        return self._call(path, lambda scope: self._names.versions(path, scope))

    def folders(self) -> Iterator[CloudFolder]:
        """Yield the cloud folders: all of them for an administrator, else those that the user sees.

        Returns:
            An iterator of cloud folders. Nothing is sent before its first step.

        Raises:
            AccessDeniedError: The user may not list cloud folders.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> ids = {folder.name: folder.folder_id for folder in names.folders()}
        """
        self._check_open()

        def iterate() -> Iterator[CloudFolder]:
            with self._scope() as scope:
                try:
                    yield from self._names.folders(scope)
                    return
                except Cancelled:
                    pass
            raise _cancelled(None)

        return iterate()

    # --- changes -------------------------------------------------------------------------------------

    def changes(
        self,
        cursor: str | None = None,
        folders: Iterable[int | CloudFolder] | None = None,
        wait: float | None = None,
    ) -> Iterator[ChangePage]:
        """Yield what has changed, page by page, in the portal's order.

        Delivery is at least once. Save the cursor of a page after the work on its events is done, and
        pass it to the next call. After a crash the last page comes again. Pages without events come,
        too: their cursor counts. Memory does not grow with the number of pages.

        An event is the state of a file or folder, not an operation. An event may come twice, and a file
        before its folder. Of what is in a folder that was renamed or deleted there may be events or none.

        After an error the iterator can be asked again: it asks the portal for the same page.

        Args:
            cursor: The cursor of the last page that was worked off. None: from the beginning, which is
                an inventory of everything.
            folders: The cloud folders, as IDs or `CloudFolder`s. None: all that the user may see. A
                cursor is for one set of folders.
            wait: Seconds to wait for more each time that the portal has no more. None: the iteration
                ends then. `math.inf`: it never ends by itself.

        Returns:
            An iterator of pages. Nothing is sent before its first step.

        Raises:
            ValueError: The text is not a cursor, or is one for other folders.
            CursorRejectedError: The portal no longer takes the cursor: start again without one.
            TooManyFoldersError: The portal takes fewer folders at once.
            AccessDeniedError: The user may not follow the changes.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> for page in names.changes(cursor=load(), wait=60):
            ...     handle(page.events)
            ...     save(page.cursor)
        """
        reader = self._read_changes(cursor, folders, wait)
        step = self._make_step(None)

        def fetch() -> ChangePage | None:
            scope = CancelScope()
            return step(scope, lambda: reader.next_page(scope))

        return ChangePages(reader, fetch)

    def _read_changes(
        self,
        cursor: str | None,
        folders: Iterable[int | CloudFolder] | None,
        wait: float | None,
    ) -> ChangeReader:
        self._check_open()
        if wait is not None and not wait >= 0:  # NaN is not, either.
            raise ValueError(f"wait is a number of seconds of 0 or more, or None, not {wait!r}")
        return ChangeReader(self._feed, check_cursor(cursor, check_folders(folders)), wait)

    def path_of(self, event: Event) -> str:
        """Return the path of the file or folder of an event, as this Namespace takes it.

        The path is that of now, which may differ from that of the time of the event. Each call asks the
        portal, mostly twice: for many events keep names and folders by `guid` instead.

        Args:
            event: The event.

        Returns:
            The path.

        Raises:
            PathNotFoundError: The object is gone, or the user has no path for it.
            AccessDeniedError: The user may not ask for it.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> for event in page.events:
            ...     if event.type == "file" and not event.deleted:
            ...         print(names.path_of(event), event.file_id)
        """
        return self._call(None, lambda scope: self._event_paths.find(event, scope))

    def ancestors(self, event: Event) -> list[Ancestor]:
        """Return the way from the cloud folder to the object of an event, both included.

        Args:
            event: The event.

        Returns:
            The steps: the cloud folder first, the object itself last.

        Raises:
            PathNotFoundError: The portal does not know the object any more.
            AccessDeniedError: The user may not ask for it.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.

        Example:
            >>> [step.name for step in names.ancestors(event)]
        """
        return self._call(None, lambda scope: self._feed.ancestors(event, scope))

    def create_key_pair(self) -> KeyPair:
        """Make a key pair for Direct IO, which belongs to the user who is signed in.

        `DirectIO(url, *pair)` uses it. The portal shows the secret access key only this once. The user
        must be a team portal's user with the Read Write Administrator role for the pair to serve.

        Returns:
            The key pair. Its repr hides both keys.

        Raises:
            AccessDeniedError: The user may not make key pairs.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should. The call is not sent
                twice, so a pair may have been made.

        Example:
            >>> client = DirectIO(names.baseurl, *names.create_key_pair())
        """
        return self._call(None, self._names.create_key_pair)

    def delete_key_pair(self, access_key_id: str) -> None:
        """Delete a key pair of the user who is signed in.

        Args:
            access_key_id: The access key ID of the pair.

        Raises:
            NamespaceError: The user has no such pair (ENOENT), or the portal does not answer.
            AccessDeniedError: The user may not delete key pairs.
            LoginError: The portal refuses the credentials.

        Example:
            >>> names.delete_key_pair(pair.access_key_id)
        """
        hidden = Token(access_key_id)
        del access_key_id
        self._call(None, lambda scope: self._names.delete_key_pair(hidden, scope))

    # --- life ----------------------------------------------------------------------------------------

    def _call(self, path: str | None, call: Callable[[CancelScope], T]) -> T:
        with self._scope() as scope:
            try:
                return call(scope)
            except Cancelled:
                pass
        raise _cancelled(path)

    def _make_step(self, path: str | None) -> Callable[[CancelScope, Callable[[], T]], T]:
        """Return what makes each call of an iteration, which belongs to this process.

        An iteration that waits for its consumer is under way as well: closing ends it.

        Args:
            path: The path that the iteration is about, for errors.
        """
        scopes = self._scopes
        process = self._process

        def step(scope: CancelScope, call: Callable[[], T]) -> T:
            if process != os.getpid():
                raise _forked(path)
            scopes.add(scope)
            try:
                if self._closed:
                    raise Cancelled
                return call()
            except Cancelled:
                pass
            finally:
                scopes.discard(scope)
            raise _cancelled(path)

        return step

    def _call_within(
        self, path: str | None, outer: CancelScope, call: Callable[[CancelScope], T]
    ) -> T:
        """Make a call that `outer` ends as well. Raise Cancelled if it does."""
        try:
            with self._scope() as scope:
                outer.attach(scope.cancel)
                try:
                    return call(scope)
                finally:
                    outer.detach()
        except Cancelled:
            pass
        outer.check()
        raise _cancelled(path)

    @contextlib.contextmanager
    def _scope(self) -> Iterator[CancelScope]:
        """Give a call its cancel scope, which `close` cancels."""
        self._check_open()
        scope = CancelScope()
        self._scopes.add(scope)
        try:
            # Checked after registering: `close` either saw the scope or is seen here.
            if self._closed:
                scope.cancel()
            yield scope
        finally:
            self._scopes.discard(scope)

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                "the process was forked without Python's fork hooks: make a new Namespace here"
            )
        if self._closed:
            raise ValueError("the Namespace is closed: make a new one")

    def close(self) -> None:
        """End the calls under way, sign out, and close the connections. Safe to call again.

        Calls under way raise NamespaceError with ECANCELED. A session is only signed out of if this
        process signed in to it: never that of a given cookie, or that of a parent process.
        """
        closed, self._closed = self._closed, True
        if self._process != os.getpid():
            return  # What is under way is the parent's, and so are the connections.
        for scope in self._scopes.copy():
            scope.cancel()
        if not closed:
            self._sign_in.close()
        for pool in list(self._pools.values()):
            pool.shutdown(wait=True, cancel_futures=True)
        self._hedging.close()
        self._hedging_finalizer.detach()
        self._http.close()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # A traceback with locals also shows objects whose constructor raised.
        state = "unfinished"
        if hasattr(self, "_closed"):
            state = "closed" if self._closed else "open"
        return (
            f"<Namespace {getattr(self, '_baseurl', '?')} {getattr(self, '_context', '?')} {state}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {
            "baseurl": self._baseurl,
            "context": self._context,
            "credentials": self._credentials,
            "settings": self._settings,
            "session": self._session,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, f"_{name}", value)
        self._open()


def _shut_down(pools: dict[str, WorkerPool]) -> None:
    for pool in list(pools.values()):
        pool.shutdown(wait=False, cancel_futures=True)


def user_of(names: Namespace) -> str:
    """Return the name of the user who signs in, or "" if a token stands for the user."""
    credentials = names._credentials
    return credentials.username if isinstance(credentials, Password) else ""


def counts_of(names: Namespace) -> tuple[Meter, Counters, int]:
    """Return what counts the requests and the retries of a Namespace, and how many were sent twice."""
    return names._http.meter, names._policy.counters, names._hedging.twins


def listen_to(names: Namespace, listener: Callable[[Ended], object] | None) -> None:
    """Call a function with each request of a Namespace that has ended. None: no function."""
    names._listener = names._http.meter.listener = listener


def stat_within(names: Namespace, path: str, scope: CancelScope) -> Entry:
    """Return what `Namespace.stat` does, for a caller that has a cancel scope of its own.

    Raises:
        Cancelled: The caller's scope was cancelled.
        NamespaceError: As `Namespace.stat` raises.
    """
    return names._call_within(path, scope, lambda own: names._names.stat(path, own))


def walk_within(
    names: Namespace,
    path: str,
    scope: CancelScope,
    on_error: Callable[[NamespaceError], object] | None,
) -> Iterator[Entry]:
    """Return what `Namespace.walk` does, for a caller that has a cancel scope of its own.

    The thread that iterates must not attach anything else to the scope meanwhile.

    Raises:
        Cancelled: The caller's scope was cancelled.
        NamespaceError: As `Namespace.walk` raises.
    """
    try:
        with names._scope() as own:
            scope.attach(own.cancel)
            try:
                yield from walk_tree(names._names, path, names._workers(), own, on_error).run()
                return
            finally:
                scope.detach()
                own.cancel()
    except Cancelled:
        pass
    scope.check()
    raise _cancelled(path)


def list_within(
    names: Namespace, path: str, scope: CancelScope, *, include_deleted: bool = False
) -> list[Entry]:
    """Return what `Namespace.listdir` yields, for a caller that has a cancel scope of its own.

    Raises:
        Cancelled: The caller's scope was cancelled.
        NamespaceError: As `Namespace.listdir` raises.
    """

    def read(own: CancelScope) -> list[Entry]:
        pager = names._names.pager(path, own, include_deleted=include_deleted)
        entries: list[Entry] = []
        while not pager.complete:
            entries += pager.next_page()
        return entries

    return names._call_within(path, scope, read)


def path_within(names: Namespace, event: Event, scope: CancelScope) -> str:
    """Return what `Namespace.path_of` does, for a caller that has a cancel scope of its own.

    Raises:
        Cancelled: The caller's scope was cancelled.
        NamespaceError: As `Namespace.path_of` raises.
    """
    return names._call_within(None, scope, lambda own: names._event_paths.find(event, own))


def find_within(
    names: Namespace, folder: str, wanted: Container[str], count: int, scope: CancelScope
) -> dict[str, Entry]:
    """List a folder until the wanted entries are found, and return them by their paths.

    Args:
        names: Where to look.
        folder: The folder.
        wanted: The paths of the entries.
        count: How many they are. A page is worth three lookups, so that few wanted entries do not
            cost the listing of a huge folder: some are then missing in the answer.
        scope: The cancel scope of the caller.

    Raises:
        Cancelled: The caller's scope was cancelled.
        NamespaceError: As `Namespace.listdir` raises.
    """

    def find(own: CancelScope) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        pager = names._names.pager(folder, own)
        for _ in range(max(1, count // 3)):
            found.update((entry.path, entry) for entry in pager.next_page() if entry.path in wanted)
            if pager.complete or len(found) >= count:
                break
        return found

    return names._call_within(folder, scope, find)


def changes_within(
    names: Namespace,
    scope: CancelScope,
    cursor: str | None = None,
    folders: Iterable[int | CloudFolder] | None = None,
    wait: float | None = None,
) -> Iterator[ChangePage]:
    """Return what `Namespace.changes` does, for a caller that has a cancel scope of its own.

    The pages raise Cancelled once that scope is cancelled.
    """
    reader = names._read_changes(cursor, folders, wait)

    def fetch() -> ChangePage | None:
        if names._closed:
            raise _cancelled(None)
        return names._call_within(None, scope, reader.next_page)

    return ChangePages(reader, fetch)


def _cancelled(path: str | None) -> NamespaceError:
    return NamespaceError(
        "The Namespace was closed before the portal answered", path, errno=errno.ECANCELED
    )


def _forked(path: str | None) -> NamespaceError:
    return NamespaceError(
        "The listing was begun before this process was forked, so start it anew here",
        path,
        errno=errno.ECANCELED,
    )


# --- fork ----------------------------------------------------------------------------------------

_namespaces: weakref.WeakSet[Namespace] = weakref.WeakSet()


def _reconnect() -> None:
    """In a forked child: the parent's sockets and locks are not the child's to use."""
    for namespace in list(_namespaces):
        namespace._connect(namespace._sign_in)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reconnect)

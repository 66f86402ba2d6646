"""`Namespace`: files and folders of a portal by their names."""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Callable, Optional

import requests

from ._base.cancellation import Cancelled, CancelScope
from ._base.credentials import (
    check_baseurl,
    choose_credentials,
    from_environment,
    warn_unprotected,
)
from ._base.retry import RetryPolicy
from ._net.api_session import APISession
from ._net.pool import TLS
from ._protocol.calls import PortalCalls
from ._protocol.names import Names, check_path
from ._protocol.sign_in import Session, SignIn
from .exceptions import NamespaceError, PathNotFoundError
from .settings import Settings
from .types import Entry, Token

__all__ = ["Namespace"]

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

    Args:
        baseurl: The portal's URL. Default: CTERA_DIRECT_URL.
        username: The user name, or `domain\user`. Default: CTERA_DIRECT_USERNAME.
        password: The password. Default: CTERA_DIRECT_PASSWORD.
        bearer: A bearer token, instead of a user name and password.
        cookie: The JSESSIONID of a session from elsewhere, instead of a user name and password.
        ticket: A ticket for single sign-on, instead of a user name and password. It serves once.
        context: "ServicesPortal" for a user's view, "admin" for an administrator's.
            Default: CTERA_DIRECT_CONTEXT, or else "ServicesPortal".
        settings: Settings, of which a copy is kept. `settings.api`, `retries` and the like count.
        session: A function that returns a configured `requests.Session`. Each session is used by one
            thread at a time.

    Raises:
        ValueError: An argument is missing or malformed. The message names the argument and the
            environment variable.

    Example:
        >>> with Namespace("https://tenant.ctera.com", "alice", password) as names:
        ...     for entry in names.listdir("/My Files/reports"):
        ...         print(entry.path, entry.file_id, entry.size)
    """

    def __init__(
        self,
        baseurl: Optional[str] = None,
        username: Optional[str] = None,
        password: Optional[str] = None,
        *,
        bearer: Optional[str] = None,
        cookie: Optional[str] = None,
        ticket: Optional[str] = None,
        context: Optional[str] = None,
        settings: Optional[Settings] = None,
        session: Optional[Callable[[], requests.Session]] = None,
    ) -> None:
        # A traceback may show these.
        password, bearer = password and Token(password), bearer and Token(bearer)
        cookie, ticket = cookie and Token(cookie), ticket and Token(ticket)
        baseurl = baseurl or from_environment("CTERA_DIRECT_URL")
        if not baseurl:
            raise ValueError("baseurl is missing: pass it, or set CTERA_DIRECT_URL")
        self._baseurl = check_baseurl(str(baseurl))
        self._context = context or str(from_environment("CTERA_DIRECT_CONTEXT") or _CONTEXTS[0])
        if self._context not in _CONTEXTS:
            raise ValueError(
                f"context {self._context!r} (CTERA_DIRECT_CONTEXT) is not known: use "
                f"{' or '.join(_CONTEXTS)}"
            )
        self._credentials = choose_credentials(username, password, bearer, cookie, ticket)
        warn_unprotected(self._baseurl)
        self._settings = Settings(**(settings._values if settings is not None else {}))
        self._session = session
        self._open()

    def _open(self) -> None:
        self._tls = TLS(self._settings.api.ssl)
        self._closed = False
        self._connect(None)
        _namespaces.add(self)

    def _connect(self, inherited: Optional[Session]) -> None:
        """Make everything that owns sockets and locks. A forked child makes it anew."""
        policy = RetryPolicy.from_settings(self._settings)
        root = f"{self._baseurl}/{self._context}"
        self._process = os.getpid()
        self._scopes: set[CancelScope] = set()
        self._http = APISession(self._settings.api, self._tls, self._session)
        self._sign_in = SignIn(self._http, root, self._credentials, policy, inherited)
        self._names = Names(PortalCalls(self._http, root, self._sign_in, policy), self._context)

    # --- looking up ----------------------------------------------------------------------------------

    def stat(self, path: str) -> Entry:
        """Return the entry of a file or folder.

        Args:
            path: The path.

        Raises:
            PathNotFoundError: There is nothing at the path, or the user may not see it.
            AccessDeniedError: The user may not read it.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.
        """
        path = check_path(path)
        with self._scope() as scope:
            try:
                return self._names.stat(path, scope)
            except Cancelled:
                pass
        raise _cancelled(path)

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder at a path.

        Args:
            path: The path.

        Raises:
            AccessDeniedError: The portal does not tell it to this user.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.
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
        """
        path = check_path(path)
        return self._list(path, include_deleted)

    def _list(self, path: str, include_deleted: bool) -> Iterator[Entry]:
        scopes = self._scopes
        process = self._process
        self._check_open()
        scope = CancelScope()
        pager = self._names.pager(path, scope, include_deleted=include_deleted)

        def fetch() -> list[Entry]:
            # A listing that waits for its consumer is under way as well: closing ends it.
            if process != os.getpid():
                raise _forked(path)
            scopes.add(scope)
            try:
                if self._closed:
                    raise Cancelled
                return pager.next_page()
            except Cancelled:
                pass
            finally:
                scopes.discard(scope)
            raise _cancelled(path)

        page = fetch()

        def iterate() -> Iterator[Entry]:
            entries = page
            while True:
                yield from entries
                if pager.complete:
                    return
                entries = fetch()

        return iterate()

    # --- life ----------------------------------------------------------------------------------------

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
        self._http.close()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
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


def _cancelled(path: Optional[str]) -> NamespaceError:
    return NamespaceError(
        "The Namespace was closed before the portal answered", path, errno=errno.ECANCELED
    )


def _forked(path: Optional[str]) -> NamespaceError:
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
        namespace._connect(namespace._sign_in.inheritable)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reconnect)

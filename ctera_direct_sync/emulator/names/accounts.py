"""Who may use the portal: users, their sessions, tickets and access keys."""

from __future__ import annotations

import dataclasses
import hmac
import secrets
import threading
import uuid
from collections.abc import Callable
from typing import Literal, get_args

from ..keys import new_access_key_id, new_secret_access_key
from .options import PortalOptions

Role = Literal[
    "EndUser", "ReadWriteAdmin", "ReadOnlyAdmin", "Support", "ComplianceOffer", "Disabled"
]
Context = Literal["ServicesPortal", "admin"]

#: The roles that administer, and the name under which the portal keeps their settings.
ROLE_SETTINGS = {
    "ReadWriteAdmin": "readWriteAdminSettings",
    "ReadOnlyAdmin": "readOnlyAdminSettings",
    "Support": "supportAdminSettings",
    "ComplianceOffer": "complianceOfficerSettings",
}


@dataclasses.dataclass(frozen=True)
class User:
    """A user of the portal.

    Attributes:
        uid: The user's ID.
        name: The user name, without a domain.
        password: The password. Its value does not show in the repr.
        full_name: What the user is called, also in paths such as `/Users/Ann Lee/My Files`.
        role: What the user may do. The spelling is the portal's.
        domain: The directory that the user comes from. None: a local user.
        can_access_end_user_folders: Whether an administrator may list the folders of other users.
    """

    uid: int
    name: str
    password: str = dataclasses.field(repr=False)
    full_name: str
    role: Role = "EndUser"
    domain: str | None = None
    can_access_end_user_folders: bool = True

    @property
    def is_administrator(self) -> bool:
        """Whether the role is one of those that administer."""
        return self.role in ROLE_SETTINGS

    @property
    def sees_users(self) -> bool:
        """Whether the user may list the folders of other users."""
        return self.is_administrator and self.can_access_end_user_folders

    @property
    def login_name(self) -> str:
        """The name to sign in with: domain and name with a backslash between, or the name alone."""
        return self.name if self.domain is None else f"{self.domain}\\{self.name}"


@dataclasses.dataclass
class Session:
    """A session of a user in one context.

    Attributes:
        user: Who signed in.
        context: The part of the portal that the session is for.
        used: When the session was last used, in seconds since the epoch.
        token: What `X-CTERA-TOKEN` must hold, where the portal asks for it.
        by_ticket: Whether the session was opened with a ticket instead of a password.
        tenant: The tenant that an administrator chose. None: the global administration.
    """

    user: User
    context: str
    used: float
    token: str = dataclasses.field(repr=False)
    by_ticket: bool = False
    tenant: str | None = None


@dataclasses.dataclass(frozen=True)
class AccessKey:
    """A key pair for Direct IO.

    Attributes:
        uid: The ID of the pair.
        owner: The ID of the user that it belongs to.
        access_key_id: What authorizes a request.
        secret_access_key: What wraps the keys of files. It does not show in the repr.
    """

    uid: int
    owner: int
    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)


class Accounts:
    """The users of the portal, and what they signed in with. Thread-safe.

    Args:
        options: How the portal behaves.
        clock: Returns the time, in seconds since the epoch.
    """

    def __init__(self, options: PortalOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.RLock()
        self._users: dict[str, User] = {}
        self._locked: set[str] = set()
        self._failures: dict[str, int] = {}
        self._sessions: dict[str, Session] = {}
        self._tickets: dict[str, User] = {}
        self._bearers: dict[str, User] = {}
        self._keys: dict[int, AccessKey] = {}
        self._last_uid = 100

    def add(
        self,
        name: str,
        password: str,
        *,
        full_name: str | None = None,
        role: Role = "EndUser",
        domain: str | None = None,
        can_access_end_user_folders: bool = True,
        bearer: str | None = None,
    ) -> User:
        """Add a user.

        Args:
            name: The user name.
            password: The password.
            full_name: What the user is called. By default the user name.
            role: What the user may do.
            domain: The directory that the user comes from.
            can_access_end_user_folders: Whether an administrator may list other users' folders.
            bearer: A token that stands for the user in API calls.

        Raises:
            ValueError: The name or the full name is taken, or the role is unknown.
        """
        if role not in get_args(Role):
            raise ValueError(f"role must be one of {', '.join(get_args(Role))}, not {role!r}")
        with self._lock:
            user = User(
                self._next_uid(),
                name,
                password,
                full_name or name,
                role,
                domain,
                can_access_end_user_folders,
            )
            if user.login_name.lower() in self._users:
                raise ValueError(f"the user {user.login_name} exists")
            if any(each.full_name == user.full_name for each in self._users.values()):
                raise ValueError(f"the full name {user.full_name!r} is taken: paths hold it")
            self._users[user.login_name.lower()] = user
            if bearer is not None:
                self._bearers[bearer] = user
            return user

    def users(self) -> list[User]:
        """Return all users, in the order in which they were added."""
        with self._lock:
            return list(self._users.values())

    def find(self, name: str, domain: str | None = None) -> User | None:
        """Return a user by name and domain, or None."""
        login_name = name if domain is None else f"{domain}\\{name}"
        with self._lock:
            return self._users.get(login_name.lower())

    def get(self, name: str) -> User:
        """Return the user of a login name.

        Raises:
            KeyError: There is no such user.
        """
        with self._lock:
            try:
                return self._users[name.lower()]
            except KeyError:
                raise KeyError(f"no user {name!r}") from None

    def with_full_name(self, full_name: str) -> User | None:
        """Return the user with a full name, or None."""
        with self._lock:
            return next(
                (user for user in self._users.values() if user.full_name == full_name), None
            )

    def lock(self, name: str) -> None:
        """Lock an account, so that its password does not sign in.

        Raises:
            KeyError: There is no such user.
        """
        with self._lock:
            self._locked.add(self.get(name).login_name.lower())

    def unlock(self, name: str) -> None:
        """Unlock an account, and forget its wrong passwords."""
        with self._lock:
            key = self.get(name).login_name.lower()
            self._locked.discard(key)
            self._failures.pop(key, None)

    def is_locked(self, name: str) -> bool:
        """Return whether an account is locked."""
        with self._lock:
            return self.get(name).login_name.lower() in self._locked

    def check_password(self, login_name: str, password: str, context: str) -> User | None:
        """Return the user that a name and a password sign in, or None if they do not."""
        with self._lock:
            key = login_name.lower()
            user = self._users.get(key)
            if user is None or key in self._locked:
                return None
            if not hmac.compare_digest(user.password.encode(), password.encode()):
                self._failures[key] = self._failures.get(key, 0) + 1
                limit = self._options.lock_after
                if limit is not None and self._failures[key] >= limit:
                    self._locked.add(key)
                return None
            self._failures.pop(key, None)
            return user if self._may_enter(user, context) else None

    def _may_enter(self, user: User, context: str) -> bool:
        if self._options.has_web_sso and user.domain is not None:
            return False
        return user.is_administrator or (user.role == "EndUser" and context == "ServicesPortal")

    def open_session(self, user: User, context: str, by_ticket: bool = False) -> str:
        """Open a session, and return the value of its cookie."""
        cookie = secrets.token_hex(16).upper()
        with self._lock:
            self._sessions[cookie] = Session(
                user, context, self._clock(), str(uuid.uuid4()), by_ticket
            )
        return cookie

    def session(self, cookies: list[str], context: str) -> Session | None:
        """Return the session that one of some cookies opens in a context, or None, and note its use."""
        with self._lock:
            now = self._clock()
            for cookie in cookies:
                session = self._sessions.get(cookie)
                if session is None or session.context != context:
                    continue
                if now - session.used >= self._options.session_idle_s:
                    del self._sessions[cookie]
                    continue
                session.used = now
                return session
        return None

    def close_session(self, cookies: list[str]) -> None:
        """End the sessions of some cookies."""
        with self._lock:
            for cookie in cookies:
                self._sessions.pop(cookie, None)

    def expire_sessions(self, name: str | None = None) -> None:
        """End every session, or those of one user, as if they had not been used for long.

        Args:
            name: The login name of the user.
        """
        with self._lock:
            user = None if name is None else self.get(name)
            self._sessions = {
                cookie: session
                for cookie, session in self._sessions.items()
                if user is not None and session.user != user
            }

    @property
    def open_sessions(self) -> int:
        """How many sessions are open."""
        with self._lock:
            return len(self._sessions)

    def add_ticket(self, user: User) -> str:
        """Return a ticket that opens one session for a user."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._tickets[ticket] = user
        return ticket

    def redeem_ticket(self, ticket: str) -> User | None:
        """Return the user of a ticket, or None. A ticket can be redeemed once."""
        with self._lock:
            return self._tickets.pop(ticket, None)

    def bearer_user(self, token: str) -> User | None:
        """Return the user that a bearer token stands for in API calls, or None."""
        with self._lock:
            if token in self._bearers:
                return self._bearers[token]
            if not self._options.access_keys_are_bearers:
                return None
            key = self._key(token)
            return None if key is None else self._user(key.owner)

    def add_key(
        self,
        user: User,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ) -> AccessKey:
        """Make a key pair for Direct IO. What is not given is random."""
        with self._lock:
            key = AccessKey(
                self._next_uid(),
                user.uid,
                access_key_id or new_access_key_id(),
                secret_access_key or new_secret_access_key(),
            )
            self._keys[key.uid] = key
            return key

    def keys(self, owner: int) -> list[AccessKey]:
        """Return the key pairs of the user of an ID."""
        with self._lock:
            return [key for key in self._keys.values() if key.owner == owner]

    def remove_key(self, uid: int) -> AccessKey | None:
        """Remove the key pair of an ID, and return it. None: there was none."""
        with self._lock:
            return self._keys.pop(uid, None)

    def key_by_uid(self, uid: int) -> AccessKey | None:
        """Return the key pair of an ID, or None."""
        with self._lock:
            return self._keys.get(uid)

    def direct_secret(self, token: str) -> str | None:
        """Return the secret access key that goes with a bearer token of Direct IO, or None.

        Only the keys of Read Write Administrators are valid.
        """
        with self._lock:
            key = self._key(token)
            if key is not None:
                user = self._user(key.owner)
                return key.secret_access_key if user and user.role == "ReadWriteAdmin" else None
            user = self._bearers.get(token)
            if user is None or user.role != "ReadWriteAdmin":
                return None
            return next((each.secret_access_key for each in self.keys(user.uid)), None)

    def _key(self, access_key_id: str) -> AccessKey | None:
        given = access_key_id.encode("utf-8", "replace")
        return next(
            (
                key
                for key in self._keys.values()
                if hmac.compare_digest(key.access_key_id.encode(), given)
            ),
            None,
        )

    def _user(self, uid: int) -> User | None:
        return next((user for user in self._users.values() if user.uid == uid), None)

    def _next_uid(self) -> int:
        self._last_uid += 1
        return self._last_uid

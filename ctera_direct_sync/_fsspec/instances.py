"""How a `ctera://` file system gets its portal, its keys and its client.

fsspec keeps an instance for each thread and each set of options. The metaclass here makes the portal a
part of that set, be it from the URL, `baseurl`, the environment or the profile.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fsspec.config import apply_config
from fsspec.json import FilesystemJSONEncoder
from fsspec.spec import AbstractFileSystem

from .._base.credentials import find_baseurl
from .._base.portal_address import DEFAULT_PORTS
from .._core import core_of
from ..client import DirectIO
from ..settings import Endpoint, Settings
from ..types import Token

__all__ = [
    "Instances",
    "PortalHost",
    "given_settings",
    "is_environment_of",
    "portal_clients",
    "shared_client",
]

SECRETS = ("access_key_id", "secret_access_key", "bearer", "password")
_OWN_OPTIONS = ("host", "baseurl", *SECRETS, "username", "context", "settings")
#: Options that fsspec knows for file systems with a cache of listings, or with many files per call.
_FSSPEC_OPTIONS = (
    *("use_listings_cache", "listings_expiry_time", "max_paths", "batch_size"),
    *("asynchronous", "loop", "skip_instance_cache"),
)
_OPTIONS = (*_OWN_OPTIONS, *_FSSPEC_OPTIONS)
#: How similar an unknown option is to a known one if it is the known one, mistyped (difflib's ratio).
_MISTYPED = 0.85
_SECRET_WORDS = ("key", "secret", "token", "password", "bearer")
_PORTAL_VARIABLE = "CTERA_DIRECT_URL"
_VARIABLE_PREFIXES = ("ctera_direct_", "cterasdk.io.direct.")
#: The key of digests of secrets, so that the digests tell nothing outside of this process.
_SALT = os.urandom(32)

#: Salted digests of the keys that file systems were given. fsspec's JSON leaves those keys out.
_given_keys: set[str] = set()

#: One client for all file systems with the same portal, keys and settings: fsspec makes and keeps an
#: instance for each thread.
portal_clients: weakref.WeakValueDictionary[tuple[Any, ...], DirectIO] = (
    weakref.WeakValueDictionary()
)


class PortalHost(NamedTuple):
    """Host and port of a portal. A path may leave out the default port."""

    hostname: str
    """The host's name or address, in lower case and without brackets."""

    port: int
    """The port, also if the URL leaves it out."""

    scheme: str
    """`http` or `https`."""

    @classmethod
    def of(cls, baseurl: str) -> PortalHost | None:
        """Return host and port of a portal's URL, or None if it is malformed."""
        scheme, separator, rest = baseurl.strip().partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in DEFAULT_PORTS:
            return None
        return cls._parsed(rest.partition("/")[0], scheme)

    @classmethod
    def _parsed(cls, text: str, scheme: str) -> PortalHost | None:
        try:
            parts = urlsplit(f"//{text}")
            port = parts.port
        except ValueError:
            return None
        if not parts.hostname or parts.netloc != text or "@" in text:
            return None
        return cls(parts.hostname, DEFAULT_PORTS[scheme] if port is None else port, scheme)

    def is_named(self, text: str) -> bool:
        """Return whether host and port of a `ctera://` URL mean this portal."""
        return self._parsed(text, self.scheme) == self

    def __str__(self) -> str:
        """Return host and port as paths hold them: without a default port."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"


class _DistinctToken(Token):
    """A key whose `repr` hides it, but differs from the `repr` of another key.

    fsspec's cache distinguishes instances by the `repr` of their options.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Token: hidden, {_salted_digest(str(self))}>"


class Instances(type(AbstractFileSystem)):  # type: ignore[misc]
    """fsspec's cache of instances, by portal and keys. It shows no key."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the instance for the options, or make one."""
        # The first statement, so that no traceback through here shows a key.
        _hide_secrets(kwargs)
        kwargs = apply_config(cls, kwargs)
        _hide_secrets(kwargs)
        _keep_out_of_json(kwargs)
        _refuse_mistyped(kwargs)
        if args:
            kwargs["host"], *rest = args
            if rest:
                raise TypeError("a ctera file system takes one positional argument: the host")
        if kwargs.get("settings") is not None:
            kwargs["settings"] = _plain(given_settings(kwargs["settings"]))
        _name_portal(kwargs)
        made = super().__call__(**kwargs)
        for name, value in made.storage_options.items():
            if isinstance(value, Token):
                made.storage_options[name] = Token(value)
        return made

    @property
    def environment_digest(cls) -> str:
        """A digest of the environment's portal and keys, by which instances differ as well."""
        found = sorted(
            item for item in os.environ.items() if item[0].lower().startswith(_VARIABLE_PREFIXES)
        )
        return _salted_digest(repr(found))


def _salted_digest(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, key=_SALT, digest_size=16).hexdigest()


def _hide_secrets(options: dict[str, Any]) -> None:
    """Replace each secret by one whose `repr` hides it, also a mistyped or foreign option's."""
    for name, value in options.items():
        if isinstance(value, str) and any(word in name.lower() for word in _SECRET_WORDS):
            options[name] = _DistinctToken(value)


def _keep_out_of_json(options: Mapping[str, Any]) -> None:
    """Make fsspec's JSON leave the keys out at any depth.

    The first file system of a chain such as `simplecache::ctera://...` is fsspec's own. Its JSON holds
    the options of the next one unchanged.
    """
    given = [options[name] for name in SECRETS if options.get(name)]
    _given_keys.update(map(_salted_digest, given))
    inherited = FilesystemJSONEncoder.make_serializable
    if not given or hasattr(inherited, "leaves_out_keys"):
        return

    @functools.wraps(inherited)
    def make_serializable(self: Any, obj: Any) -> Any:
        if isinstance(obj, Mapping):
            obj = {name: value for name, value in obj.items() if not _is_given_key(value)}
        return inherited(self, obj)

    make_serializable.leaves_out_keys = True  # type: ignore[attr-defined]
    FilesystemJSONEncoder.make_serializable = make_serializable


def _is_given_key(value: Any) -> bool:
    return isinstance(value, str) and _salted_digest(value) in _given_keys


def _refuse_mistyped(options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that is similar to a known one.

    Other options are ignored, as in every fsspec file system: programs pass on options of open().
    """
    for name in options:
        if name not in _OPTIONS:
            for meant in difflib.get_close_matches(name, _OPTIONS, 1, _MISTYPED):
                raise TypeError(f"there is no option {name!r}: did you mean {meant!r}?")


def _name_portal(options: dict[str, Any]) -> None:
    """Replace the option `host` by `baseurl`, or take that from the environment or the profile.

    So an instance is found by its portal, and its pickle or JSON names the portal.

    Raises:
        ValueError: `host` and `baseurl` differ, the environment's keys are for another portal, or the
            portal is named nowhere.
    """
    host, baseurl = options.pop("host", None) or None, options.get("baseurl")
    known = os.environ.get(_PORTAL_VARIABLE)
    if host is not None and ("/" in host or "@" in host):
        raise ValueError("host is the portal's host name, and its port if need be: host[:port]")
    if baseurl is not None:
        portal = PortalHost.of(baseurl)
        if host is not None and portal is not None and not portal.is_named(host):
            raise ValueError(
                f"the URL is of portal {host}, but baseurl is of {portal}: give the baseurl of {host}"
            )
    elif host is None:
        baseurl = find_baseurl(None)
    else:
        # The variable may say what a ctera:// URL cannot: http, or a path.
        portal = PortalHost.of(known or "")
        is_same = portal is not None and portal.is_named(host)
        baseurl = known if known and is_same else f"https://{host.lower()}"
    options["baseurl"] = baseurl.strip()
    if known and not (options.get("access_key_id") or options.get("bearer")):
        portal, owner = PortalHost.of(baseurl), PortalHost.of(known)
        if portal is not None and owner is not None and portal[:2] != owner[:2]:
            raise ValueError(
                f"the keys in the environment are for {owner} ({_PORTAL_VARIABLE}), not for "
                f"{portal}: give those of {portal} as storage_options"
            )


def is_environment_of(portal: PortalHost) -> bool:
    """Return whether an account in the environment may be sent to a portal."""
    known = os.environ.get(_PORTAL_VARIABLE)
    owner = PortalHost.of(known) if known else portal
    return owner is not None and owner[:2] == portal[:2]


def shared_client(made: DirectIO) -> DirectIO:
    """Return an open client with the same portal, keys and settings, or the given one."""
    # The keys stay Tokens, whose repr hides them. They compare as the text that they hold.
    core = core_of(made)
    key = (core.baseurl, core.token, core.secret, repr(_plain(core.settings)))
    found = portal_clients.setdefault(key, made)
    if core_of(found).closed:
        found = portal_clients[key] = made
    return found


def given_settings(value: Settings | Mapping[str, Any]) -> Settings:
    """Return settings that are given as a `Settings`, or as a mapping of names."""
    if isinstance(value, Settings):
        return value
    known = vars(Settings())
    for name in value:
        if name not in known:
            raise TypeError(f"there is no setting {name!r}: choose from {', '.join(known)}")
    members: dict[str, Any] = {
        name: Endpoint(**member) if isinstance(member, Mapping) else member
        for name, member in value.items()
    }
    return Settings(**members)


def _plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON can hold them, always in the same order.

    None is left out: fsspec's encoder refuses it, and it is the default wherever it is allowed.
    """
    result: dict[str, Any] = {}
    for name, value in vars(settings).items():
        if isinstance(value, Endpoint):
            result[name] = {
                member: list(part) if isinstance(part, tuple) else part
                for member, part in vars(value).items()
                if part is not None
            }
        elif name == "checksums":
            result[name] = sorted(value)
        elif value is not None:
            result[name] = value
    return result

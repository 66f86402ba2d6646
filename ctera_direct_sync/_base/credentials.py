"""The portal's URL and the keys of a client: from arguments, the environment or a stored profile."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

from ..types import Token

__all__ = ["check_baseurl", "find_baseurl", "find_credentials", "warn_unprotected"]

_log = logging.getLogger(__name__)

#: The environment variables of each argument, in the order in which they are looked up.
_VARIABLES = {
    "baseurl": ("CTERA_DIRECT_URL",),
    "access_key_id": ("CTERA_DIRECT_ACCESS_KEY_ID", "cterasdk.io.direct.access_key_id"),
    "secret_access_key": (
        "CTERA_DIRECT_SECRET_ACCESS_KEY",
        "cterasdk.io.direct.secret_access_key",
    ),
    "bearer": ("CTERA_DIRECT_BEARER", "cterasdk.io.direct.bearer"),
}

#: The URLs that the log was warned of.
_warned: set[str] = set()


def find_baseurl(baseurl: str | None, profile_name: str | None = None) -> str:
    """Return the portal's URL: the argument, else that of the environment, else the profile's.

    Args:
        baseurl: The argument, if it was given.
        profile_name: The profile. None: that of the environment, or the default one.

    Raises:
        ValueError: None of them has a value, or the profile that is needed cannot be read.
    """
    found = baseurl or _from_environment("baseurl")
    if found:
        return str(found)
    from .profiles import find_profile

    stored = find_profile(None, profile_name)
    if stored.profile is None:
        raise ValueError(f"baseurl is missing: pass it, or set CTERA_DIRECT_URL, {stored.advice}")
    return stored.profile.url


def _from_environment(name: str) -> str | None:
    for variable in _VARIABLES[name]:
        if os.environ.get(variable):
            return Token(os.environ[variable])  # Any of them may be secret: tracebacks hide it.
    return None


def find_credentials(
    baseurl: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    bearer: str | None,
    profile_name: str | None = None,
) -> tuple[Token, Token | None]:
    """Return the token of the Authorization header, and the secret that unwraps file keys.

    A pair counts as a whole: the profile is asked only if no part of one is given elsewhere.

    Args:
        baseurl: The portal. The keys of another portal's profile are not used.
        access_key_id: The access key ID, if it was given.
        secret_access_key: The secret access key, if it was given.
        bearer: The bearer token, if it was given.
        profile_name: The profile. None: that of the environment, or the default one.

    Returns:
        The access key ID or bearer token, and the secret access key. A bearer token may come without
        a secret.

    Raises:
        ValueError: A key is missing or malformed, or the profile that is needed cannot be read.
    """
    advice = ""
    if not access_key_id and not bearer:
        # Neither was passed: the environment decides, a key pair before a bearer token.
        access_key_id = _from_environment("access_key_id")
        bearer = None if access_key_id else _from_environment("bearer")
    if bearer:
        secret = secret_access_key or _from_environment("secret_access_key")
        return _check_printable("bearer", bearer), Token(secret) if secret else None
    secret = secret_access_key or _from_environment("secret_access_key")
    if not access_key_id and not secret:
        from .profiles import find_profile

        stored = find_profile(baseurl, profile_name)
        keys, advice = stored.secrets(), f", {stored.advice}"
        access_key_id, secret = keys.get("access_key_id"), keys.get("secret_access_key")
        if stored.profile is not None:
            advice += f" --create-key (profile {stored.name} has no key pair)"
    if not access_key_id:
        raise ValueError(
            "access_key_id is missing: pass it, or set CTERA_DIRECT_ACCESS_KEY_ID (or bearer, "
            f"CTERA_DIRECT_BEARER, for files that are not encrypted){advice}"
        )
    if not secret:
        raise ValueError(
            "secret_access_key is missing: pass it, or set CTERA_DIRECT_SECRET_ACCESS_KEY"
        )
    return _check_printable("access_key_id", access_key_id), Token(secret)


def _check_printable(name: str, value: str) -> Token:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(
            f"{name} holds characters that keys do not have: was it copied whole and alone?"
        )
    return Token(value)


def check_baseurl(baseurl: str) -> str:
    """Return a portal's URL without blanks around it.

    Raises:
        ValueError: It is not the URL of a portal, or it holds a user name, a query or a fragment.
            The message does not show the URL.
    """
    problem = None
    try:
        parts = urlsplit(baseurl.strip())
        port = parts.port
    except ValueError:
        problem = "is malformed"
    else:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "must be like https://portal.example.com"
        elif "@" in parts.netloc:
            problem = "must not hold a user name or password: pass the keys as arguments"
        elif parts.query or parts.fragment:
            problem = "must not hold a query or fragment"
        elif port == 0:
            problem = "has no valid port"
    if problem is not None:
        raise ValueError(f"baseurl (CTERA_DIRECT_URL) {problem}")
    return baseurl.strip()


def warn_unprotected(baseurl: str) -> None:
    """Log a warning, once for each URL, if the keys travel unprotected to another machine."""
    parts = urlsplit(baseurl)
    is_local = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
    if parts.scheme == "http" and not is_local and baseurl not in _warned:
        _warned.add(baseurl)
        _log.warning(
            "the portal's URL is http: keys and passwords travel unprotected; use https where it can"
        )

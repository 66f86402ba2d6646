"""Who signs in to a portal, and how. The values hide what is secret from every repr."""

from __future__ import annotations

import os
from typing import NamedTuple, Union

from ..types import Token

__all__ = [
    "Account",
    "Bearer",
    "Cookie",
    "Credentials",
    "MissingAccountError",
    "Password",
    "Ticket",
    "choose_account",
    "from_environment",
]


class Password(NamedTuple):
    """A user name and a password, which begin a session."""

    username: str
    """The user name; `domain\\user` for a user of a directory."""
    password: Token
    """The password."""


class Bearer(NamedTuple):
    """A bearer token, which goes with each request. There is no session."""

    token: Token
    """The token."""


class Cookie(NamedTuple):
    """A session that another program signed in to."""

    session_id: Token
    """The value of its JSESSIONID."""


class Ticket(NamedTuple):
    """A single sign-on ticket of an administrator, which begins one session."""

    ticket: Token
    """The ticket."""


Credentials = Union[Password, Bearer, Cookie, Ticket]


def from_environment(variable: str) -> Token | None:
    """Return the value of an environment variable, hidden from tracebacks, or None."""
    value = os.environ.get(variable)
    return Token(value) if value else None


class Account(NamedTuple):
    """Who signs in, and to which view."""

    credentials: Credentials
    """The way to sign in."""
    context: str | None
    """The view that the environment names, or else the profile that the account is of. None: neither."""


class MissingAccountError(ValueError):
    """The user name or the password is given nowhere.

    Attributes:
        variables: The environment variables that may give what is missing.
        advice: What else to do, for the end of a message.
    """

    # No constructor of its own, so that it survives pickling.
    variables: list[str]
    advice: str

    @classmethod
    def of(cls, missing: list[str], advice: str) -> MissingAccountError:
        """Return the error for the arguments that are missing."""
        variables = [f"CTERA_DIRECT_{name.upper()}" for name in missing]
        error = cls(
            f"{missing[0]} is missing: pass it, or set {variables[0]} "
            f"(or pass bearer, cookie or ticket), {advice}"
        )
        error.variables, error.advice = variables, advice
        return error


def choose_account(
    baseurl: str,
    username: str | None,
    password: str | None,
    bearer: str | None = None,
    cookie: str | None = None,
    ticket: str | None = None,
    profile_name: str | None = None,
) -> Account:
    """Return the one way to sign in that the arguments, the environment or the profile name.

    The profile is read only if the user name or the password is missing. It fills in what is missing for
    its own portal and its own user.

    Args:
        baseurl: The portal.
        username: The user name, if it was given.
        password: The password, if it was given.
        bearer: The bearer token, if it was given.
        cookie: The session's cookie, if it was given.
        ticket: The ticket, if it was given.
        profile_name: The profile. None: that of the environment, or the default one.

    Raises:
        ValueError: The arguments name no way or several, or one cannot be right. Or the profile that is
            needed cannot be read.
    """
    given = {"bearer": bearer, "cookie": cookie, "ticket": ticket, "password": password}
    names = [name for name, value in given.items() if value]
    del given
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} are several ways to sign in: pass one of them")
    context: str | None = from_environment("CTERA_DIRECT_CONTEXT")
    if bearer:
        return Account(Bearer(_header_value("bearer", bearer)), context)
    if cookie:
        return Account(Cookie(_cookie_value(cookie)), context)
    if ticket:
        return Account(Ticket(_form_value("ticket", ticket)), context)
    username = username or from_environment("CTERA_DIRECT_USERNAME")
    password = password or from_environment("CTERA_DIRECT_PASSWORD")
    if not username or not password:
        from .profiles import find_profile

        stored = find_profile(baseurl, profile_name)
        advice = stored.advice
        if stored.profile is not None:
            if not username or username == stored.profile.username:
                username, context = stored.profile.username, context or stored.profile.context
                password = password or stored.secrets().get("password")
            else:
                advice += f" (profile {stored.name} is of user {stored.profile.username})"
        missing = [
            name for name, value in (("username", username), ("password", password)) if not value
        ]
        if missing:
            raise MissingAccountError.of(missing, advice)
    assert username is not None
    assert password is not None
    credentials = Password(
        str(_form_value("username", username)), _form_value("password", password)
    )
    return Account(credentials, context)


def _form_value(name: str, value: str) -> Token:
    hidden = Token(value)
    del value
    try:
        hidden.encode("utf-8")
    except UnicodeEncodeError:
        is_text = False
    else:
        is_text = True
    # Raised here, since the codec's own exception quotes the whole text.
    if not is_text:
        raise ValueError(
            f"{name} holds half a surrogate pair, which is not text: was it read as UTF-8?"
        )
    return hidden


def _header_value(name: str, value: str) -> Token:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(
            f"{name} holds characters that no {name} has: was it copied whole and alone?"
        )
    return Token(value)


def _cookie_value(value: str) -> Token:
    text = Token(value.strip())
    # People copy the pair as often as the value.
    if text.startswith("JSESSIONID="):
        text = Token(text[len("JSESSIONID=") :].rstrip(";"))
    text = _header_value("cookie", text)
    if not text or any(letter in text for letter in ';,"\\'):
        raise ValueError("cookie holds more than one value: pass that of JSESSIONID alone")
    return text

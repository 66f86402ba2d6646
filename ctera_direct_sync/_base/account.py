"""Who signs in to a portal, and how. The values hide what is secret from every repr."""

from __future__ import annotations

import os
from typing import NamedTuple, Union

from ..types import Token

__all__ = [
    "Bearer",
    "Cookie",
    "Credentials",
    "Password",
    "Ticket",
    "choose_credentials",
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


def choose_credentials(
    username: str | None,
    password: str | None,
    bearer: str | None,
    cookie: str | None,
    ticket: str | None,
) -> Credentials:
    """Return the one way to sign in that the arguments, or else the environment, name.

    Raises:
        ValueError: The arguments name no way or several, or one cannot be right.
    """
    given = {"bearer": bearer, "cookie": cookie, "ticket": ticket, "password": password}
    names = [name for name, value in given.items() if value]
    del given
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} are several ways to sign in: pass one of them")
    if bearer:
        return Bearer(_header_value("bearer", bearer))
    if cookie:
        return Cookie(_cookie_value(cookie))
    if ticket:
        return Ticket(_form_value("ticket", ticket))
    username = username or from_environment("CTERA_DIRECT_USERNAME")
    password = password or from_environment("CTERA_DIRECT_PASSWORD")
    for name, value in (("username", username), ("password", password)):
        if not value:
            raise ValueError(
                f"{name} is missing: pass it, or set CTERA_DIRECT_{name.upper()} "
                "(or pass bearer, cookie or ticket)"
            )
    assert username is not None
    assert password is not None
    return Password(str(_form_value("username", username)), _form_value("password", password))


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

"""Answers of the portal's API that are not the one asked for, and the errors that they become."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .._base.retry import FailedAttempt, Recovery, is_transient, retry_after
from .._net.api_session import APIAnswer
from .._net.errors import TransportError, proxy_advice, tls_advice
from .._net.session import REDIRECTS
from .._net.urls import origin_of, redirect_target
from ..exceptions import NamespaceConnectionError, NamespaceError, NamespaceTimeout
from .messages import MalformedAnswer, is_page, parse, read_text

__all__ = [
    "describe",
    "find_message",
    "find_other_origin",
    "is_busy",
    "is_session_over",
    "make_busy_failure",
    "make_transport_failure",
]

_MAX_MESSAGE = 160
_QUERY = re.compile(r"\?\S*")


def is_session_over(answer: APIAnswer) -> bool:
    """Return whether the answer means "sign in first".

    Portals answer 302 to a page that asks to sign in. What else they do is not known for every context
    (PORTAL section 2), so each redirect, a 401, and a page where data was due mean the same.
    """
    if answer.status in REDIRECTS or answer.status == 401:
        return True
    return answer.status == 200 and is_page(answer.headers.get("content-type", ""), answer.body)


def is_busy(answer: APIAnswer) -> bool:
    """Return whether waiting may help.

    A 500 with a message is how the portal refuses a call, so it is not an accident.
    """
    if answer.status == 500:
        return find_message(answer) is None
    return is_transient(answer.status)


def find_message(answer: APIAnswer, secrets: Iterable[str] = ()) -> str | None:
    """Return the message of a refusal, shortened, or None.

    Args:
        answer: The answer.
        secrets: Texts that must not be shown. A message with one of them becomes "...".
    """
    try:
        document = parse(answer.body)
        message = _message_in(document)
    except MalformedAnswer:
        return None
    if not message:
        return None
    if any(secret and secret in message for secret in secrets):
        return "..."
    text = "".join(letter if letter.isprintable() else " " for letter in message)
    text = _QUERY.sub("?...", text).strip()
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "..."


def _message_in(document: Any) -> str | None:
    if not isinstance(document, dict):
        return None
    if "msg" in document:
        return read_text(document["msg"])
    # The dialect of v2: {"details": [{"error": "..."}]}.
    details = document.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        return read_text(details[0].get("error"))
    return None


def describe(answer: APIAnswer, secrets: Iterable[str] = ()) -> str:
    """Return the status and the message of an answer, for a sentence."""
    message = find_message(answer, secrets)
    text = f"HTTP {answer.status}"
    if message is not None:
        return f"{text}, {message!r}"
    if is_page(answer.headers.get("content-type", ""), answer.body):
        return f"{text}, a web page"
    return text


def find_other_origin(url: str, answer: APIAnswer) -> str | None:
    """Return the origin that a redirect leads to, if it is another than that of `url`."""
    if answer.status not in REDIRECTS:
        return None
    try:
        target = origin_of(redirect_target(url, answer.status, answer.headers.get("location")))
    except TransportError:
        return None
    return target if target.lower() != origin_of(url).lower() else None


def make_busy_failure(
    answer: APIAnswer, path: str | None, secrets: Iterable[str] = ()
) -> FailedAttempt:
    """Return the failure for an answer that waiting may change."""
    text = f"The portal is busy or failing ({describe(answer, secrets)}): try again later"
    return FailedAttempt(NamespaceError(text, path), Recovery.RETRY, retry_after(answer.headers))


def make_transport_failure(
    error: TransportError, url: str, path: str | None, *, repeatable: bool = True
) -> FailedAttempt:
    """Return the failure for a request without an answer.

    Args:
        error: What happened.
        url: The URL of the request, of which the message shows the origin.
        path: The path that the call is about, or None.
        repeatable: Whether the call may be sent twice.
    """
    recovery = Recovery.RETRY if error.transient and repeatable else Recovery.NONE
    return FailedAttempt(_no_answer(error, url, path), recovery)


def _no_answer(error: TransportError, url: str, path: str | None) -> NamespaceError:
    if error.kind == "url":
        text = f"The portal's URL cannot be used: {error.reason}"
        return NamespaceConnectionError(text, path)
    origin = origin_of(url)
    if error.proxy:
        advice = proxy_advice(error, "settings.api.ssl")
        text = f"The portal at {origin} was not reached: {error.reason}{advice}"
        kind = NamespaceTimeout if error.kind == "timeout" else NamespaceConnectionError
        return kind(text, path)
    if error.kind == "timeout":
        text = f"The portal did not answer in time ({error.reason}): raise settings.api.timeout"
        return NamespaceTimeout(text, path)
    if error.kind == "slow":
        text = (
            f"The portal was slower than settings.api.min_speed ({error.reason}): lower it, or check "
            "the network"
        )
        return NamespaceTimeout(text, path)
    if error.kind == "tls":
        advice = tls_advice(error, "settings.api.ssl")
        text = f"No secure connection to the portal at {origin}: {error.reason}{advice}"
        return NamespaceConnectionError(text, path)
    if error.kind == "long":
        return NamespaceError(f"The portal's answer is too long: {error.reason}", path)
    text = f"No answer from the portal at {origin}: {error.reason}. Check its URL and the network"
    return NamespaceConnectionError(text, path)

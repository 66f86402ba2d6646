"""What went wrong with a request, in our words: urllib3's own errors quote whole URLs. Pure."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from http.client import HTTPException, IncompleteRead
from typing import Any, Optional

import requests
from urllib3 import exceptions as u3
from urllib3.util.ssl_match_hostname import CertificateError

__all__ = ["HTTPFault", "fault_of"]

#: Kinds of HTTPFault that another attempt can cure.
_TRANSIENT_KINDS = frozenset({"connection", "timeout", "protocol", "short"})


class HTTPFault(Exception):
    """A request that failed below the level of statuses.

    ``kind``: connection, timeout, tls, protocol (not HTTP), short or long (the body), url.
    ``reason``: a redacted clause for a message.
    """

    def __init__(self, kind: str, reason: str, errno: Optional[int] = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.errno = errno

    @property
    def transient(self) -> bool:
        """Whether trying again makes sense."""
        return self.kind in _TRANSIENT_KINDS


def fault_of(error: Exception) -> HTTPFault:
    """``error`` in our words. Its own text is never used: urllib3's quotes whole URLs."""
    if isinstance(error, HTTPFault):
        # Its frames hold requests, keys and all.
        return error.with_traceback(None)
    causes = _chain(error)
    kinds = tuple(type(cause) for cause in causes)
    system = next((c for c in causes if isinstance(c, OSError) and c.errno), None)
    number = system.errno if system else None

    def has(*classes: type[BaseException]) -> bool:
        return any(issubclass(kind, classes) for kind in kinds)

    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return HTTPFault("tls", f"its certificate is not trusted ({certificate.verify_message})")
    if has(CertificateError):
        return HTTPFault("tls", "its certificate is for another host")
    if has(u3.NameResolutionError, socket.gaierror):
        return HTTPFault("connection", "its host name does not resolve", errno.EHOSTUNREACH)
    # For urllib3 a connection that is refused is a kind of connect timeout.
    if has(u3.ConnectTimeoutError, requests.ConnectTimeout) and not has(u3.NewConnectionError):
        return HTTPFault("timeout", "no connection within the connect timeout", errno.ETIMEDOUT)
    # BlockingIOError is how a read ends whose time the kernel counts.
    if has(u3.ReadTimeoutError, requests.ReadTimeout, socket.timeout, BlockingIOError):
        return HTTPFault("timeout", "nothing came within the read timeout", errno.ETIMEDOUT)
    if has(u3.ProxyError, requests.exceptions.ProxyError):
        return HTTPFault("connection", "the proxy cannot be reached or refuses", number)
    if has(IncompleteRead):
        return HTTPFault("short", "the body ended early")
    if has(ConnectionError, u3.NewConnectionError) and system is not None:
        return HTTPFault("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(ConnectionError, u3.NewConnectionError):
        return HTTPFault("connection", "the connection was closed without an answer", number)
    if has(ssl.SSLError, u3.SSLError, requests.exceptions.SSLError):
        broken = has(ssl.SSLEOFError, ssl.SSLZeroReturnError)
        kind, reason = (
            ("connection", "the TLS connection was cut") if broken else ("tls", "TLS failed")
        )
        return HTTPFault(kind, reason, number)
    if has(u3.LocationValueError, requests.exceptions.InvalidURL, UnicodeError):
        return HTTPFault("url", "the URL is malformed")
    if system is not None:
        return HTTPFault("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(HTTPException, u3.HTTPError, requests.RequestException, ValueError):
        return HTTPFault("protocol", f"the answer is not valid HTTP ({kinds[-1].__name__})", number)
    raise error


def _chain(error: BaseException) -> list[BaseException]:
    """``error`` and all that it wraps, outermost first, by the ways requests and urllib3 wrap."""
    chain: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in chain:
            continue
        chain.append(current)
        queue += [getattr(current, "reason", None), current.__cause__, *current.args]
        if current.__context__ is not None and not current.__suppress_context__:
            queue.append(current.__context__)
    return chain

"""Turn the exceptions of a request into one class, in words of the library's own. Pure.

Their own texts are never used: urllib3 quotes whole URLs, which are signed.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from http.client import HTTPException, IncompleteRead
from typing import Any

import requests
from urllib3 import exceptions as u3
from urllib3.util.ssl_match_hostname import CertificateError

__all__ = ["TransportError", "proxy_advice", "proxy_refusal", "tls_advice", "to_transport_error"]

#: Kinds of TransportError that another attempt may cure.
_TRANSIENT_KINDS = frozenset({"connection", "timeout", "slow", "protocol", "short"})


class TransportError(Exception):
    """A request failed before it had a status, or its body is not usable.

    Attributes:
        kind: connection, timeout, tls, protocol (not HTTP), redirect, short, long or slow (the body), url.
        reason: A clause for a message. It holds no secret.
        errno: The system's number for the failure, or None.
        final: Whether another attempt cannot succeed, whatever the kind.
        proxy: Whether the proxy failed, and not the portal or the storage.
        untrusted: Whether the certificate's authority is unknown, which a CA bundle can cure.
    """

    def __init__(
        self,
        kind: str,
        reason: str,
        errno: int | None = None,
        *,
        final: bool = False,
        proxy: bool = False,
        untrusted: bool = False,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.errno = errno
        self.final = final
        self.proxy = proxy
        self.untrusted = untrusted

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self.kind in _TRANSIENT_KINDS and not self.final


def tls_advice(error: TransportError, setting: str) -> str:
    """Return what the user can do about a TLS failure, as a sentence to append, or "".

    A CA bundle, or no verification at all, helps only if the authority is unknown.

    Args:
        error: The failure.
        setting: The setting that takes the CA bundle: "settings.api.ssl" or "settings.storage.ssl".
    """
    if not error.untrusted:
        return ""
    return (
        f". Set {setting} to the path of its CA bundle (REQUESTS_CA_BUNDLE, or -k on the command "
        "line to trust it blindly)"
    )


def proxy_advice(error: TransportError, setting: str) -> str:
    """Return what the user can do about a failing proxy, as a sentence to append.

    Args:
        error: The failure.
        setting: The setting that takes the CA bundle.
    """
    advice = tls_advice(error, setting)
    return (
        advice
        or ". Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, or the session's proxies"
    )


def is_tls_cut(error: ssl.SSLError) -> bool:
    """Return whether an error tells that a connection has ended without TLS's own end.

    Python 3.9 has no class of its own for what OpenSSL 3 tells.
    """
    is_of_class = isinstance(error, ssl.SSLEOFError)
    return is_of_class or getattr(error, "reason", None) == "UNEXPECTED_EOF_WHILE_READING"


def to_transport_error(error: Exception) -> TransportError:
    """Return an exception of a request as a TransportError.

    Args:
        error: What `requests`, urllib3, http.client, PySocks or a socket raised.

    Raises:
        Exception: `error` itself, if it is not about the request.
    """
    if isinstance(error, TransportError):
        # The frames of its traceback hold requests with their keys.
        return error.with_traceback(None)
    causes = _list_causes(error)
    return _classify_proxy_error(causes) or _classify(error, causes)


def _classify(error: Exception, causes: list[BaseException]) -> TransportError:
    kinds = tuple(type(cause) for cause in causes)
    system = next((c for c in causes if isinstance(c, OSError) and c.errno), None)
    number = system.errno if system else None

    def has(*classes: type[BaseException]) -> bool:
        return any(issubclass(kind, classes) for kind in kinds)

    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return _classify_certificate_error(certificate)
    if has(CertificateError):
        return TransportError("tls", _WRONG_NAME)
    if has(u3.NameResolutionError, socket.gaierror):
        return TransportError("connection", "its host name does not resolve", errno.EHOSTUNREACH)
    # In urllib3 a refused connection is a subclass of a connect timeout.
    if has(u3.ConnectTimeoutError, requests.ConnectTimeout) and not has(u3.NewConnectionError):
        return TransportError(
            "timeout", "no connection within the connect timeout", errno.ETIMEDOUT
        )
    # The kernel ends a read whose time it counts by BlockingIOError.
    if has(u3.ReadTimeoutError, requests.ReadTimeout, socket.timeout, BlockingIOError):
        return TransportError("timeout", "nothing came within the read timeout", errno.ETIMEDOUT)
    if has(IncompleteRead):
        return TransportError("short", "the body ended early")
    if has(ConnectionError, u3.NewConnectionError) and system is not None:
        return TransportError("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(ConnectionError, u3.NewConnectionError):
        return TransportError("connection", "the connection was closed without an answer", number)
    if has(ssl.SSLError, u3.SSLError, requests.exceptions.SSLError):
        is_cut = any(isinstance(cause, ssl.SSLError) and is_tls_cut(cause) for cause in causes)
        if is_cut or has(ssl.SSLZeroReturnError):
            text = "the TLS connection was cut (a server that wants a client certificate may do so)"
            return TransportError("connection", text, number)
        return _classify_handshake_error(causes, number)
    # requests tells this by its text alone, which names a path and not a URL.
    if has(FileNotFoundError) or str(error).startswith("Could not find"):
        return TransportError("tls", _NO_FILE, number)
    if has(u3.LocationValueError, requests.exceptions.InvalidURL, UnicodeError):
        return TransportError("url", "the URL is malformed")
    if system is not None:
        return TransportError("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(HTTPException, u3.HTTPError, requests.RequestException, ValueError):
        return TransportError(
            "protocol", f"the answer is not valid HTTP ({kinds[-1].__name__})", number
        )
    raise error


# --- TLS -----------------------------------------------------------------------------------------------

_WRONG_NAME = "its certificate is for another host name: check the URL"
#: OpenSSL's verification errors (openssl-verification-options(1)) that mean an unknown authority.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_VERIFICATION = {
    9: "its certificate is not valid yet: check the clocks of both machines",
    10: "its certificate has expired: it has to be renewed (or the clock here is wrong)",
    23: "its certificate was revoked",
    62: _WRONG_NAME,
    64: "its certificate is for another address: check the URL",
}

_NOT_TLS = (
    "what answers on that port does not speak TLS (plain HTTP?): check the URL's scheme and port"
)
_TOO_OLD = (
    "it offers no TLS version from 1.2 on, and older ones are not safe: it has to be upgraded"
)
_WANTS_CERTIFICATE = "it wants a client certificate: set settings.api.cert or settings.storage.cert"
_NOT_PEM = "the CA bundle holds no certificate in PEM form: convert it (openssl x509 -outform pem)"
_NO_FILE = "the session's CA bundle or client certificate is not where the session says"
_REFUSES_CERTIFICATE = "it refuses the client certificate"
#: OpenSSL's reasons for the failure of a handshake. The server sent those named ALERT (RFC 8446, 6.2).
_HANDSHAKE = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "NO_CERTIFICATE_OR_CRL_FOUND": _NOT_PEM,
    "NO_START_LINE": _NOT_PEM,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "NO_PROTOCOLS_AVAILABLE": _TOO_OLD,
    "VERSION_TOO_LOW": _TOO_OLD,
    "WRONG_SSL_VERSION": _TOO_OLD,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REFUSES_CERTIFICATE + ", which has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSES_CERTIFICATE + ", whose authority it does not know",
    "TLSV1_ALERT_ACCESS_DENIED": _REFUSES_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "it does not know the host name of the URL: check the URL",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "it refused the TLS handshake: it wants a client certificate, or has no cipher in common"
    ),
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "it has no cipher in common with this machine",
    "NO_SHARED_CIPHER": "it has no cipher in common with this machine",
    "DH_KEY_TOO_SMALL": "its Diffie-Hellman key is too small to be safe: it has to be upgraded",
    "EE_KEY_TOO_SMALL": "its certificate's key is too small to be safe: it has to be renewed",
    "CA_MD_TOO_WEAK": "its certificate is signed by a hash that is not safe: it has to be renewed",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "its TLS is too old to be safe: it has to be upgraded",
}  # fmt: skip


def _classify_certificate_error(error: ssl.SSLCertVerificationError) -> TransportError:
    code = getattr(error, "verify_code", None)
    if code in _VERIFICATION:
        return TransportError("tls", _VERIFICATION[code])
    message = getattr(error, "verify_message", "") or "verification failed"
    # A mock's exception has no code. Its message is all there is.
    untrusted = code in _UNKNOWN_AUTHORITY if code else "certificate" in message
    reason = f"its certificate is not trusted ({message})" if untrusted else (
        f"its certificate is not valid ({message})"
    )  # fmt: skip
    return TransportError("tls", reason, untrusted=untrusted)


def _classify_handshake_error(causes: list[BaseException], number: int | None) -> TransportError:
    reasons = [
        getattr(cause, "reason", None) for cause in causes if isinstance(cause, ssl.SSLError)
    ]
    name = next((reason for reason in reasons if isinstance(reason, str)), "")
    if name in _HANDSHAKE:
        return TransportError("tls", _HANDSHAKE[name], number)
    return TransportError("tls", f"TLS failed ({name})" if name else "TLS failed", number)


# --- proxies -------------------------------------------------------------------------------------------

#: http.client's message when a proxy answers CONNECT with a status other than 2xx.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
#: Statuses of a proxy that another attempt may cure.
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PROXY_CLASSES = (u3.ProxyError, requests.exceptions.ProxyError)


def proxy_refusal(status: int) -> TransportError:
    """Return the error for a proxy that answers in place of the server.

    Args:
        status: 407, or the status with which it refused CONNECT.
    """
    if status == 407:
        text = (
            "the proxy wants a user name and a password (HTTP 407): put them into the proxy's URL"
        )
        return TransportError("connection", text, errno.EACCES, final=True, proxy=True)
    text = f"the proxy refuses the connection (HTTP {status})"
    return TransportError(
        "connection", text, errno.ECONNREFUSED, final=status not in _TRANSIENT_STATUSES, proxy=True
    )


def _classify_proxy_error(causes: list[BaseException]) -> TransportError | None:
    """Return the error if the proxy is to blame, else None."""
    for cause in causes:
        tunnel = _TUNNEL.search(str(cause)) if isinstance(cause, OSError) else None
        if tunnel is not None:
            return proxy_refusal(int(tunnel.group(1)))
    for cause in causes:
        if type(cause).__module__ == "socks":  # PySocks
            return _classify_socks_error(cause)
    if not any(isinstance(cause, _PROXY_CLASSES) for cause in causes):
        return None
    inner = [c for c in causes if not isinstance(c, (*_PROXY_CLASSES, u3.MaxRetryError))]
    inner = [c for c in inner if not isinstance(c, requests.RequestException)]
    try:
        error = _classify(Exception(), inner)
    except Exception:  # noqa: BLE001 - All that is known is that the proxy failed.
        return TransportError("connection", "the proxy cannot be reached or refuses", proxy=True)
    reason = error.reason.replace("its ", "the proxy's ", 1)
    if not reason.startswith("the proxy's "):
        reason = f"the proxy cannot be used: {reason}"
    return TransportError(
        error.kind, reason, error.errno, final=error.final, proxy=True, untrusted=error.untrusted
    )


def _classify_socks_error(error: BaseException) -> TransportError:
    inner = getattr(error, "socket_err", None)
    # PySocks wraps the proxy's answer once more.
    if isinstance(inner, BaseException) and type(inner).__module__ == "socks":
        error = inner
    name = type(error).__name__
    number = getattr(getattr(error, "socket_err", None), "errno", None)
    if isinstance(getattr(error, "socket_err", None), socket.gaierror):
        number = errno.EHOSTUNREACH
    if name == "SOCKS5AuthError":
        text = (
            "the proxy refuses the user name and password: put the right ones into the proxy's URL"
        )
        return TransportError("connection", text, errno.EACCES, final=True, proxy=True)
    if name in ("SOCKS5Error", "SOCKS4Error"):
        return TransportError("connection", "the SOCKS proxy could not connect", number, proxy=True)
    why = os.strerror(number).lower() if number else "it does not answer as a SOCKS proxy"
    return TransportError(
        "connection", f"the SOCKS proxy cannot be used: {why}", number, proxy=True
    )


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception and all that it wraps, outermost first.

    requests and urllib3 keep what they wrap in `reason`, `args`, `__cause__` or `__context__`.
    """
    causes: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in causes:
            continue
        causes.append(current)
        queue += [getattr(current, "reason", None), current.__cause__, *current.args]
        if current.__context__ is not None and not current.__suppress_context__:
            queue.append(current.__context__)
    return causes

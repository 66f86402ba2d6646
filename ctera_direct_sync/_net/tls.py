"""TLS contexts: what the settings `ssl` and `cert` of an endpoint mean."""

from __future__ import annotations

import errno
import os
import ssl
import sys
from importlib.util import find_spec
from typing import Any

from certifi import where
from urllib3.util import ssl_ as urllib3_ssl
from urllib3.util.ssl_ import create_urllib3_context

from .errors import TransportError

__all__ = ["SYSTEM", "TLS"]

#: The value of `ssl` for the operating system's trust store.
SYSTEM = "system"


class TLS:
    """The TLS settings of one endpoint, and the one context that its connections share.

    To make a context takes 20 ms, so a client makes one and not one per connection.

    Args:
        verify: True for the environment's CA bundle or certifi's, "system" for the operating system's
            trust store, a path of a CA bundle, or False.
        cert: The path of a client certificate with its key, or (certificate, key), or None.

    Attributes:
        verify: The same, with the environment's CA bundle put in for True.
        cert: The same.

    Raises:
        FileNotFoundError: The CA bundle or the client certificate does not exist.
        RuntimeError: The operating system's trust store cannot be used without another package.
        ValueError: The client certificate cannot be used.
    """

    def __init__(self, verify: bool | str, cert: str | tuple[str, str] | None = None) -> None:
        if verify is True:
            verify = (
                os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            )
        if verify == SYSTEM:
            _check_truststore()
        elif isinstance(verify, str) and not os.path.exists(verify):
            raise FileNotFoundError(errno.ENOENT, "there is no CA bundle", verify)
        self.verify = verify
        self.cert = cert
        if cert is not None:
            _load_cert(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert)
        self._without_cert = None if cert is None else TLS(verify)
        self._context: ssl.SSLContext | None = None
        self._context_class: type[ssl.SSLContext] | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The shared context, made at first use.

        Two threads may make it twice, which costs only time.
        It is made again if gevent has replaced the class of contexts since.

        Raises:
            TransportError: The CA bundle cannot be read.
        """
        if self._context is None or self._context_class is not ssl.SSLContext:
            self._context_class = ssl.SSLContext
            self._context = self.new_context()
        return self._context

    @property
    def proxy_context(self) -> ssl.SSLContext:
        """The shared context for proxies, to which the client certificate is not shown.

        Raises:
            TransportError: The CA bundle cannot be read.
        """
        return self.context if self._without_cert is None else self._without_cert.context

    def new_context(self) -> ssl.SSLContext:
        """Return a context that nothing else uses.

        Raises:
            TransportError: The CA bundle cannot be read.
        """
        context = self._new_bare_context()
        context.options &= ~_OP_IGNORE_UNEXPECTED_EOF
        if self.cert is not None:
            try:
                _load_cert(context, self.cert)
            except (OSError, ValueError):
                pass
            else:
                return context
            raise TransportError("tls", "the client certificate can no longer be read")
        return context

    def _new_bare_context(self) -> ssl.SSLContext:
        """Return a new context without the client certificate."""
        if self.verify is False:
            context = _new_context(ssl.CERT_NONE)
            context.check_hostname = False
            return context
        if self.verify == SYSTEM:
            return _new_system_context()
        context = _new_context(ssl.CERT_REQUIRED)
        bundle = where() if self.verify is True else self.verify
        try:
            if os.path.isdir(bundle):
                context.load_verify_locations(capath=bundle)
            else:
                context.load_verify_locations(cafile=bundle)
        except ssl.SSLError:
            problem = "holds no certificate in PEM form: convert it (openssl x509 -outform pem)"
        except OSError as error:
            problem = f"cannot be read: {os.strerror(error.errno or 0).lower()}"
        else:
            return context
        raise TransportError("tls", f"the CA bundle {bundle!r} {problem}")


#: Python 3.9 sets it with OpenSSL 3, and has no name for it. A cut connection then looks like one that TLS
#: has ended, so a body that ends with the connection could lack its end (RFC 9112, section 9.8).
_OP_IGNORE_UNEXPECTED_EOF = 0x80

#: The class that urllib3 imported for its contexts, unless another library has replaced it there.
_IMPORTED_CONTEXT_CLASS = ssl.SSLContext


def _new_context(cert_reqs: ssl.VerifyMode) -> ssl.SSLContext:
    """Return a context like those of urllib3.

    It also works if gevent patches `ssl` after the import of urllib3, as gunicorn's gevent workers do
    with `--preload`. From then on, setting any attribute of a context of the class that urllib3
    imported recurses without end (gevent issue 1016).
    """
    patched = ssl.SSLContext is not _IMPORTED_CONTEXT_CLASS
    if not patched or urllib3_ssl.SSLContext is not _IMPORTED_CONTEXT_CLASS:
        return create_urllib3_context(cert_reqs=cert_reqs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.check_hostname = cert_reqs == ssl.CERT_REQUIRED
    context.verify_mode = cert_reqs
    return context


def _check_truststore() -> None:
    """Raise RuntimeError if the operating system's trust store cannot be used."""
    if sys.version_info < (3, 10):
        raise RuntimeError('ssl="system" needs Python 3.10: set the path of a CA bundle instead')
    try:
        found = find_spec("truststore") is not None
    except ValueError:  # Its import was blocked.
        found = False
    if not found:
        raise RuntimeError(
            'ssl="system" needs the package truststore: pip install "ctera-direct-sync[system]"'
        )


def _new_system_context() -> ssl.SSLContext:
    import truststore

    context: Any = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    return context  # type: ignore[no-any-return]


def _load_cert(context: ssl.SSLContext, cert: str | tuple[str, str]) -> None:
    """Load a client certificate.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file cannot be read, or does not hold what it should.
    """
    cert_path, key_path = (cert, None) if isinstance(cert, str) else cert
    for path in (cert_path, key_path):
        if path is not None and not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "there is no client certificate or key", path)
    shown = cert_path if key_path is None else f"{cert_path} with the key {key_path}"
    asked = False

    def refuse_password() -> str:
        # Without a callback OpenSSL asks on the terminal.
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(cert_path, key_path, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "the key belongs to another certificate"
        else:
            problem = "give a certificate and its key in PEM form"
        if asked:
            problem = "the key is encrypted: give one without a password (openssl pkey)"
    except OSError as error:
        problem = f"cannot be read, {os.strerror(error.errno or 0).lower()}"
    else:
        return
    raise ValueError(f"client certificate {shown}: {problem}")

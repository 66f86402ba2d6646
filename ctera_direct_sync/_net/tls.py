"""TLS contexts: what the setting `ssl` of an endpoint means."""

from __future__ import annotations

import errno
import os
import ssl
import sys

from certifi import where
from urllib3.util import ssl_ as urllib3_ssl
from urllib3.util.ssl_ import create_urllib3_context

from .errors import TransportError

__all__ = ["TLS"]


class TLS:
    """The TLS settings of one endpoint, and the one context that its connections share.

    To make a context takes 20 ms, so a client makes one and not one per connection.

    Args:
        verify: True for the environment's CA bundle or certifi's, a path of a CA bundle, or False.

    Attributes:
        verify: The same, with the environment's CA bundle put in for True.

    Raises:
        FileNotFoundError: The CA bundle does not exist.
    """

    def __init__(self, verify: bool | str) -> None:
        if verify is True:
            verify = (
                os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            )
        if isinstance(verify, str) and not os.path.exists(verify):
            raise FileNotFoundError(errno.ENOENT, "there is no CA bundle", verify)
        self.verify = verify
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

    def new_context(self) -> ssl.SSLContext:
        """Return a context that nothing else uses.

        Raises:
            TransportError: The CA bundle cannot be read.
        """
        if self.verify is False:
            context = _new_context(ssl.CERT_NONE)
            context.check_hostname = False
            return context
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

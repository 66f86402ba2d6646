"""The request that this thread sends through `requests`, for code that `requests` cannot pass it to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

from .._base.cancellation import CancelScope
from .urls import same_target

__all__ = ["CurrentRequest", "current_request"]


class CurrentRequest(NamedTuple):
    """A request that the library makes through a session's `get`.

    Attributes:
        scope: What may end the request. Its sockets register there.
        origin: Scheme, host and port of the URL.
        target: Path and query of the URL, byte for byte as it was listed. "" lets requests spell it.
    """

    scope: CancelScope
    origin: str
    target: str

    def __repr__(self) -> str:
        # A traceback may show local variables, and the target is signed.
        return f"<CurrentRequest to {self.origin}>"

    def restore_spelling(self, url: str) -> str:
        """Return the URL as it was listed, if `url` is another spelling of it.

        requests and urllib3 change URLs on their way to the connection: `%7E` becomes `~`, `..` is
        resolved, brackets are encoded. A signature covers the spelling.

        Args:
            url: What the connection is about to send: a target, or the whole URL for a proxy.
        """
        if not self.target:
            return url
        origin, target = "", url
        if not url.startswith("/"):
            scheme, _, rest = url.partition("://")
            authority, slash, rest = rest.partition("/")
            if f"{scheme}://{authority}".lower() != self.origin.lower():
                return url
            origin, target = self.origin, slash + rest
        return origin + self.target if same_target(target, self.target) else url


#: None while no request goes through `requests`. Only `HTTPSession` sets it.
#: A context variable and not a `threading.local`: greenlets have contexts of their own, however late
#: gevent patches the process.
current_request: ContextVar[CurrentRequest | None] = ContextVar(
    "ctera_direct_sync.current_request", default=None
)

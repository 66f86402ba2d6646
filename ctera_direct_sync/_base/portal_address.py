"""Where a portal is: what its URL says."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["DEFAULT_PORTS", "PortalAddress"]

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of each scheme that a portal's URL may have, if the URL names none."""


class PortalAddress(NamedTuple):
    """The parts of a portal's URL.

    Secrets may go to a URL only if its address equals the one that they are for. So the host stays as it
    is written: a dot at its end, for example, may lead to another machine.
    """

    scheme: str
    """`http` or `https`."""
    host: str
    """The host's name or address, in lower case and without brackets."""
    port: int
    """The port, also if the URL leaves it out."""
    path: str
    """The path, without a slash at its end."""

    @classmethod
    def of(cls, url: str) -> PortalAddress | None:
        """Return the address of a URL, or None if it is malformed or holds a user name or a query."""
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:
            return None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            return None
        if parts.query or parts.fragment:
            return None
        port = DEFAULT_PORTS[parts.scheme] if port is None else port
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

"""Find the proxy of a request, and check it. Pure, but it reads the environment."""

from __future__ import annotations

import ipaddress
import os
from importlib.util import find_spec
from typing import Any, Union
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, prepend_scheme_if_needed

from .._base.portal_address import DEFAULT_PORTS
from .errors import TransportError

__all__ = ["bypasses_proxy", "check_proxy", "environment_proxies"]

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


def environment_proxies(origin: str) -> dict[str, Any]:
    """Return the environment's proxies for an origin, by scheme. There are none if NO_PROXY names it."""
    if bypasses_proxy(origin):
        return {}
    # curl understands "proxy:3128". requests would take the name for a scheme.
    return {
        name: url if "://" in url else "http://" + url.lstrip("/")
        for name, url in get_environ_proxies(origin).items()
    }


def check_proxy(proxy: str) -> str:
    """Return the part of a proxy's URL that a message may show: scheme, host and port.

    Raises:
        TransportError: The URL is malformed, its scheme is unknown, or it needs PySocks, which is missing.
    """
    problem = "its URL is malformed"
    try:
        parts = urlsplit(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unusable(problem) from None
    if "://" not in proxy and not host:
        raise _unusable("its URL has no scheme: write http:// before it")
    if parts.scheme not in _SCHEMES:
        raise _unusable(
            f"its URL's scheme is {parts.scheme[:16]!r}: http, https or socks5 is wanted"
        )
    if not host or any(letter.isspace() for letter in parts.netloc):
        raise _unusable(problem)
    if parts.scheme.startswith("socks") and not _has_pysocks():
        raise _unusable('a SOCKS proxy needs PySocks: pip install "ctera-direct-sync[socks]"')
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _has_pysocks() -> bool:
    try:
        return find_spec("socks") is not None
    except ValueError:  # Its import was blocked.
        return False


def _unusable(why: str) -> TransportError:
    return TransportError("connection", f"the proxy cannot be used: {why}", final=True, proxy=True)


def bypasses_proxy(origin: str, no_proxy: str | None = None) -> bool:
    """Return whether NO_PROXY names an origin.

    An entry has one of the forms that curl and Go's net/http accept; requests accepts only some of them:
    `*`, a domain with or without `.` or `*.` before it, an IP address, or an IP network. All but a
    network may have `:port` after them.

    Args:
        origin: Scheme, host and port of the URL.
        no_proxy: The list. None takes that of the environment.
    """
    if no_proxy is None:
        no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    parts = urlsplit(origin)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    address = _address(host)
    entries = no_proxy.replace(",", " ").split()
    return any(_matches(entry.lower(), host, port, address) for entry in entries)


def _matches(entry: str, host: str, port: int | None, address: _Address | None) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    name, wanted = _split_port(entry)
    if wanted is not None and wanted != port:
        return False
    if address is not None:
        return _address(name) == address
    name = name[1:] if name.startswith("*.") else name
    name = name.lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _split_port(entry: str) -> tuple[str, int | None]:
    """Return an entry's name or address, and its port, None without one."""
    if _address(entry) is not None:  # An IPv6 address contains colons.
        return entry, None
    name, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return name, int(port)
    return entry, None


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address

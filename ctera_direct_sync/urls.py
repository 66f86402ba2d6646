"""URLs taken to pieces, once, and without quoting them where they are wrong. Pure."""

from __future__ import annotations

import re
from typing import Optional
from urllib.parse import urlsplit

from requests.utils import requote_uri

from .faults import HTTPFault

__all__ = ["check_origin", "origin_of", "split_url"]

#: Scheme, authority, and path with query (RFC 3986, appendix B); a fragment is left out.
_PARTS = re.compile(r"(.*?)://([^/?#]*)([^#]*)", re.DOTALL)


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of a URL: what may be shown of it, and what it may be compared by."""
    return split_url(url)[0]


def split_url(url: str) -> tuple[str, str]:
    """Origin and request target (RFC 9112, section 3.2.1) of a URL; quoting is mended where needed."""
    parts = _PARTS.match(url)
    if parts is None:
        raise HTTPFault("url", "the URL has no scheme: http:// or https:// is wanted")
    scheme, authority, target = parts.groups()
    if not target.startswith("/"):
        target = "/" + target
    if not target.isascii() or not target.isprintable() or " " in target:
        target = requote_uri(target)
    return f"{scheme.lower()}://{authority}", target


def check_origin(origin: str) -> tuple[str, str, Optional[int]]:
    """Scheme, host and port of an origin that may be connected to; HTTPFault for any other."""
    problem = None
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        problem = "the URL is malformed"
    else:
        if parts.scheme not in ("http", "https"):
            problem = f"the URL's scheme is {parts.scheme[:16]!r}: only http and https are followed"
        elif not host:
            problem = "the URL has no host"
        elif "@" in parts.netloc:
            problem = "the URL holds a user name or password, which is not supported"
    if problem is not None:
        raise HTTPFault("url", problem)
    assert host is not None
    return parts.scheme, host, port

"""Split, check and compare URLs. Error messages never quote one, because it may be signed. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from requests.utils import requote_uri
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from .errors import TransportError

__all__ = ["PLAIN_URL", "check_origin", "origin_of", "redirect_target", "same_target", "split_url"]

#: A URL that needs no change: origin and target are its two groups. Most URLs match, which saves a call of
#: `split_url` for each request. The target holds printable ASCII without the space and the "#".
PLAIN_URL = re.compile(r"(https?://[^/?#]*)(/[!\x22$-~]*)")
#: Scheme, authority, and path with query (RFC 3986, appendix B). A fragment is left out.
_PARTS = re.compile(r"(.*?)://([^/?#]*)([^#]*)", re.DOTALL)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: The characters that a request line can hold: printable ASCII without the space.
_SAFE = "".join(map(chr, range(0x21, 0x7F)))


def origin_of(url: str) -> str:
    """Return `scheme://host[:port]` of a URL: the part that a message may show.

    Raises:
        TransportError: The URL has no scheme.
    """
    return split_url(url)[0]


def split_url(url: str) -> tuple[str, str]:
    """Return the origin and the request target (RFC 9112, section 3.2.1) of a URL.

    The target is that of the URL, byte for byte, because a signature covers it. Only characters
    that a request line cannot hold are percent-encoded.

    Raises:
        TransportError: The URL has no scheme.
    """
    parts = _PARTS.match(url)
    if parts is None:
        raise TransportError("url", "the URL has no scheme: http:// or https:// is wanted")
    scheme, authority, target = parts.groups()
    if not target.startswith("/"):
        target = "/" + target
    if not target.isascii() or not target.isprintable() or " " in target:
        target = quote(target, safe=_SAFE)
    return f"{scheme.lower()}://{authority}", target


def check_origin(origin: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an origin; the port is None if the origin names none.

    Raises:
        TransportError: The library cannot connect to such an origin.
    """
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
        raise TransportError("url", problem)
    assert host is not None
    return parts.scheme, host, port


def redirect_target(url: str, status: int, location: str | None) -> str:
    """Return the URL that a redirect leads to.

    An absolute Location is not changed, because it may be signed. Headers carry bytes beyond ASCII as
    Latin-1 characters; those bytes are percent-encoded.

    Args:
        url: The URL that was requested.
        status: The status of the answer, for the message.
        location: The value of the Location header, or None if the answer has none.

    Raises:
        TransportError: There is no Location, or it leads from https to an unprotected URL.
    """
    location = (location or "").strip()
    if not location:
        raise TransportError("redirect", f"it redirects (HTTP {status}) but has no Location")
    try:
        raw = location.encode("latin-1")
    except UnicodeEncodeError:  # A mock's response may hold text that was decoded.
        raw = location.encode("utf-8", "replace")
    location = quote(raw, safe=_SAFE)
    scheme, authority = url.partition("://")[0], _PARTS.match(url)
    if _ABSOLUTE.match(location):
        target = location
    elif location.startswith("//"):
        target = f"{scheme}:{location}"
    elif location.startswith("/") and authority is not None:
        target = f"{scheme}://{authority.group(2)}{location}"
    else:
        target = urljoin(url, location)
    if scheme.lower() == "https" and not target[:8].lower() == "https://":
        raise TransportError("url", "it redirects from https to an unprotected URL")
    return target


def same_target(given: str, target: str) -> bool:
    """Return whether `given` is `target` after requests and urllib3 changed its spelling."""
    return given == target or _normalize(given) == _normalize(target)


def _normalize(target: str) -> str:
    try:
        target = parse_url("http://host" + target).request_uri
    except LocationParseError:
        return target
    # requests 2.32 sends one slash where a target begins with several.
    return str(requote_uri(f"/{target.lstrip('/')}").rstrip("?"))

"""Each failure of TLS says what it is, and only an unknown authority is answered by "-k"."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
import requests
import trustme

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import (
    BlockListConnectionError,
    DirectIOError,
    DownloadConnectionError,
)
from tests.support.net import always, answer, serving
from tests.support.sessions import hooked

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def authority() -> trustme.CA:
    """An authority that is known by its bundle alone."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The authority's certificate."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def context_of(authority: trustme.CA, name: str = "127.0.0.1", **dates: Any) -> ssl.SSLContext:
    """A server's context with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **dates).configure_cert(context)
    return context


def old(authority: trustme.CA) -> ssl.SSLContext:
    """A server that speaks TLS 1.1 at most."""
    context = context_of(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.suppress(ValueError):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def mutual(authority: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that wants a client certificate."""
    context = context_of(authority)
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


def self_signed(authority: trustme.CA) -> ssl.SSLContext:
    """A server whose certificate vouches for itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other = trustme.CA()
    other.issue_cert("127.0.0.1").configure_cert(context)
    return context


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Old protocols are deprecated in Python, and are what is tested here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


Make = Callable[[trustme.CA], Optional[ssl.SSLContext]]
CASES: dict[str, tuple[Make, str, bool]] = {
    "plain HTTP": (lambda ca: None, "does not speak TLS", False),
    "expired": (
        lambda ca: context_of(ca, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "its certificate has expired", False),
    "not yet valid": (
        lambda ca: context_of(ca, not_before=NOW + DAY, not_after=NOW + 9 * DAY),
        "its certificate is not valid yet", False),
    "wrong name": (
        lambda ca: context_of(ca, "storage.example.com"), "its certificate is for another", False),
    "too old a protocol": (old, "offers no TLS version from 1.2 on", False),
    "client certificate, TLS 1.3": (
        lambda ca: mutual(ca, ssl.TLSVersion.TLSv1_3), "it wants a client certificate", False),
    "client certificate, TLS 1.2": (
        lambda ca: mutual(ca, ssl.TLSVersion.TLSv1_2), "it wants a client certificate", False),
    "unknown authority": (self_signed, "its certificate is not trusted", True),
}  # fmt: skip


def portal_error(port: int, bundle: Any) -> DirectIOError:
    """What comes of listing a file there."""
    settings = Settings(retries=0)
    settings.api.ssl = bundle
    settings.api.timeout = 10
    url = f"https://127.0.0.1:{port}"
    with DirectIO(url, "key", "c2VjcmV0", settings=settings) as client:
        with pytest.raises(DirectIOError) as caught:
            client.metadata(1)
        return caught.value


def storage_error(port: int, bundle: Any, session: Any = None) -> BaseException:
    """What comes of a block that lies there."""
    settings = Settings(retries=0)
    settings.storage.ssl = bundle
    settings.storage.timeout = 10
    with Emulator() as portal:
        file_id = portal.add(b"x", native=True)

        def edit(listing: Any) -> Any:
            listing["chunks"][0]["url"] = f"https://127.0.0.1:{port}/o?signature=c0ffee"
            return listing

        portal.faults.add("portal", file_id, times=None, action=faults.listing(edit))
        keys = portal.access_key_id, portal.secret_access_key
        with DirectIO(portal.url, *keys, settings=settings, session=session) as client:
            error = client.blocks(file_id)[0].exception(30)
    assert error is not None and "c0ffee" not in str(error)
    return error


@pytest.mark.parametrize("side", ["portal", "storage", "storage by a session"])
@pytest.mark.parametrize("case", CASES)
def test_failure_says_what_it_is(authority: trustme.CA, bundle: str, case: str, side: str) -> None:
    """The reason is named on both sides and both routes; only where it helps, "-k" is advised."""
    make, reason, advised = CASES[case]
    with quiet_warnings():
        context = make(authority)
    with serving(always(answer(status=b"400 Bad Request")), context) as server:
        if side == "portal":
            error: BaseException = portal_error(server.port, bundle)
            setting, kind = "settings.api.ssl", BlockListConnectionError
        else:
            error = storage_error(server.port, bundle, hooked if "session" in side else None)
            setting, kind = "settings.storage.ssl", DownloadConnectionError
    assert isinstance(error, kind)
    assert reason in str(error)
    assert (setting in str(error)) is advised
    assert ("-k" in str(error)) is advised


@pytest.mark.parametrize("side", ["portal", "storage", "storage by a session"])
@pytest.mark.parametrize("content", [b"", b"not PEM", b"0\x82\x01\x00"])
def test_bundle_that_is_not_pem(tmp_path: Path, side: str, content: bytes) -> None:
    """A CA bundle in another form is named as such."""
    path = tmp_path / "ca.der"
    path.write_bytes(content)
    if side == "portal":
        error: BaseException = portal_error(1, str(path))
    else:
        error = storage_error(1, str(path), hooked if "session" in side else None)
    assert "ca.der" in str(error) and "no certificate in PEM form" in str(error)
    assert "-k" not in str(error)


def test_client_certificate_that_is_refused(
    authority: trustme.CA, bundle: str, tmp_path: Path
) -> None:
    """A session's certificate by an authority that the server does not know."""
    pem = tmp_path / "client.pem"
    trustme.CA().issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(pem)

    def factory() -> requests.Session:
        session = requests.Session()
        session.cert = str(pem)
        return session

    context = mutual(authority, ssl.TLSVersion.TLSv1_2)
    with serving(always(answer(b"x")), context) as server:
        error = storage_error(server.port, bundle, factory)
    assert "it refuses the client certificate" in str(error)
    assert "-k" not in str(error)

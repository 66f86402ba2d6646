"""What the portal answers, judged: accidents are retried, refusals are not, and errors say what came."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import (
    BlocksNotFoundError,
    DecryptKeyError,
    DirectIOAPIError,
    InvalidRequest,
    NotFoundError,
    UnAuthorized,
    UnprocessableContent,
)
from tests.support.tracebacks import told_by_library

DATA = b"0123456789" * 300
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def negative_length(listing: Any) -> Any:
    """A block list whose second block has a negative length."""
    listing["chunks"][1]["len"] = -1
    return listing


ACCIDENTS: dict[str, faults.Action] = {
    "500": faults.status(500),
    "507": faults.status(507),
    "520": faults.status(520),
    "truncated JSON": faults.replace(lambda body: body[:-9]),
    "an HTML page": faults.replace(PAGE, {"Content-Type": "text/html"}),
    "an empty body": faults.replace(b""),
    "JSON of another shape": faults.replace(b"[1, 2]"),
    "a negative length": faults.listing(negative_length),
    "truncated gzip": faults.replace(
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", {"Content-Encoding": "gzip"}
    ),
}


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of three blocks."""
    return portal.add(DATA, block_size=1000)


# --- what is retried -----------------------------------------------------------------------------------


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_an_accident_is_retried(
    portal: Emulator, client: DirectIO, file_id: int, accident: str
) -> None:
    """An answer that may be an accident is asked for again, twice here."""
    portal.faults.add("portal", times=2, action=ACCIDENTS[accident])
    assert b"".join(block.data for block in client.stream(file_id)) == DATA
    assert portal.log.total("portal") == 3


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_an_accident_that_stays(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, accident: str
) -> None:
    """After the attempts that the policy allows, the error says what came."""
    portal.faults.add("portal", times=None, action=ACCIDENTS[accident])
    with pytest.raises(DirectIOAPIError) as caught:
        make_client(retries=2).metadata(file_id)
    assert portal.log.total("portal") == 3
    assert caught.value.filename == file_id
    if accident != "truncated gzip":
        assert f"HTTP {accident if accident.isdigit() else 200}" in str(caught.value)
    assert isinstance(caught.value, InvalidRequest) == (accident == "500")


def test_retry_after_of_a_failing_portal(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """A 500 with Retry-After is retried when it says, not after a backoff of an hour."""
    portal.faults.add("portal", action=faults.status(500, {"Retry-After": "0"}))
    client = make_client(backoff=3600, max_backoff=3600, retry_timeout=36_000)
    assert client.metadata(file_id).size == len(DATA)


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (faults.status(400), NotFoundError),
        (faults.status(401), UnAuthorized),
        (faults.status(403), UnAuthorized),
        (faults.status(404), DirectIOAPIError),
        (faults.status(422), UnprocessableContent),
        (faults.listing(lambda listing: {**listing, "chunks": []}), BlocksNotFoundError),
        (faults.listing(lambda listing: {**listing, "compression_type": "ZSTD"}), DirectIOAPIError),
    ],
)
def test_a_refusal_is_not_retried(
    portal: Emulator, client: DirectIO, file_id: int, action: faults.Action, error: type[Exception]
) -> None:
    """What the portal means as it says costs one request."""
    portal.faults.add("portal", times=None, action=action)
    with pytest.raises(error):
        client.metadata(file_id)
    assert portal.log.total("portal") == 1


def test_a_wrong_key_is_not_retried(portal: Emulator, quick: Settings, file_id: int) -> None:
    """Another answer would not make the secret fit."""
    keys = portal.access_key_id, "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="
    with DirectIO(portal.url, *keys, settings=quick) as client, pytest.raises(DecryptKeyError):
        client.metadata(file_id)
    assert portal.log.total("portal") == 1


# --- what is said --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (
            faults.replace(PAGE, {"Content-Type": "text/html; charset=utf-8"}),
            "it is an HTML page (HTTP 200, text/html, it begins with 'Sign in')",
        ),
        (
            faults.replace(b"Bad gateway, try later please", {"Content-Type": "text/plain"}),
            "it is not valid JSON (HTTP 200, text/plain, it begins with 'Bad gateway, try later')",
        ),
        (
            faults.listing(negative_length),
            "'len' of block 2 is not a length (HTTP 200, application/json, it begins with",
        ),
        (
            faults.status(
                500, {"Content-Type": "text/html"}, b"<h1 id=c2VjcmV0>Internal error</h1>"
            ),
            "rejects the request (HTTP 500, text/html, it begins with 'Internal error')",
        ),
        (
            faults.status(404, {"Content-Type": "text/html"}, b"Not Found"),
            "(HTTP 404, text/html, it begins with 'Not Found')",
        ),
        (faults.status(204), "did not answer with a block list (HTTP 204): check its URL"),
    ],
)
def test_the_error_says_what_came(
    portal: Emulator,
    make_client: Callable[..., DirectIO],
    file_id: int,
    action: faults.Action,
    told: str,
) -> None:
    """Status, type and first words tell a proxy's page from a portal's mistake."""
    portal.faults.add("portal", times=None, action=action)
    with pytest.raises(DirectIOAPIError) as caught:
        make_client(retries=0).metadata(file_id)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"wrapped_key": "c2VjcmV0IHNlY3JldCBzZWNyZXQ=", "chunks": 1}',
        b'{"wrapped_key":"c2VjcmV0IHNlY3JldCBzZWNyZXQ=","chunks":1}',
        b"<a href=https://sso.example.com/?token=c2VjcmV0> c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0 </a>",
        b"https://sso.example.com/?token=c2VjcmV0",
        b"\xff\xfe c2VjcmV0IHNlY3JldA== \0",
    ],
)
def test_the_error_quotes_no_secret(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, body: bytes
) -> None:
    """Words that may be keys, tokens or queries are left out, in the error and in its frames."""
    portal.faults.add("portal", times=None, action=faults.replace(body))
    with pytest.raises(DirectIOAPIError) as caught:
        make_client(retries=0).metadata(file_id)
    assert "c2VjcmV0" not in told_by_library(caught.value)


def test_an_echoed_key_is_not_quoted(portal: Emulator, quick: Settings, file_id: int) -> None:
    """An answer that repeats the caller's key is not quoted at all."""
    quick.retries = 0
    portal.faults.add("portal", times=None, action=faults.status(500, {}, b"no shortkey here"))
    keys = "shortkey", "d3Jvbmc="
    with (
        DirectIO(portal.url, *keys, settings=quick) as client,
        pytest.raises(InvalidRequest) as caught,
    ):
        client.metadata(file_id)
    assert "shortkey" not in told_by_library(caught.value)
    assert "begins" not in str(caught.value)


@pytest.mark.parametrize(
    "action",
    [
        faults.status(401, {"Set-Cookie": "JSESSIONID=c2VjcmV0c2VjcmV0"}),
        faults.status(302, {"Location": "https://sso.example.com/?SAMLRequest=c2VjcmV0c2VjcmV0"}),
        faults.status(418, {"Set-Cookie": "JSESSIONID=c2VjcmV0c2VjcmV0"}),
        faults.status(500, {"Set-Cookie": "JSESSIONID=c2VjcmV0c2VjcmV0"}),
    ],
)
def test_frames_hold_no_headers(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, action: faults.Action
) -> None:
    """A traceback with locals shows no cookie and no redirect's query."""
    portal.faults.add("portal", times=None, action=action)
    with pytest.raises(DirectIOAPIError) as caught:
        make_client(retries=0).metadata(file_id)
    assert "c2VjcmV0" not in told_by_library(caught.value)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_frames_of_an_interrupted_reading(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    """What ends the reading of an answer leaves none of it in a traceback's frames."""

    def parse(body: bytes) -> None:
        text = body.decode()
        raise error(len(text))

    monkeypatch.setattr(json, "loads", parse)
    with pytest.raises((DirectIOAPIError, KeyboardInterrupt)) as caught:
        client.metadata(file_id)
    monkeypatch.undo()
    assert "wrapped_key" not in told_by_library(caught.value)
    assert isinstance(caught.value, DirectIOAPIError) == (error is MemoryError)


# --- labels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["utf-8", "aws-chunked", "identity, identity", "gzip", "br"])
def test_a_label_that_is_not_a_coding(
    portal: Emulator, client: DirectIO, file_id: int, label: str
) -> None:
    """A list that is JSON as it came is taken, whatever Content-Encoding says."""
    portal.faults.add("portal", action=faults.headers({"Content-Encoding": label}))
    assert client.metadata(file_id).size == len(DATA)
    assert portal.log.total("portal") == 1


def test_a_coded_listing(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A list that was coded unasked is decoded."""
    portal.faults.add("portal", action=faults.gzip_encoding())
    assert client.metadata(file_id).size == len(DATA)


# --- size ----------------------------------------------------------------------------------------------


def huge(count: int) -> bytes:
    """A list of that many blocks of one byte."""
    head = b'{"encrypt_info":{"data_encrypted":false},"compression_type":"NONE","chunks":['
    return head + (b'{"url":"u","len":1},' * count)[:-1] + b"]}"


@pytest.mark.parametrize(
    "body",
    [huge(2_000_001), b'{"chunks":[' + b"[]," * 4_000_001 + b"[]]}"],
    ids=["too many blocks", "too many values"],
)
def test_too_many_values(portal: Emulator, client: DirectIO, file_id: int, body: bytes) -> None:
    """A list of more values than memory is meant for is refused at once, by its number."""
    portal.faults.add("portal", times=None, action=faults.replace(body))
    with pytest.raises(DirectIOAPIError, match="more than 4,000,000 values") as caught:
        client.metadata(file_id)
    assert caught.value.filename == file_id
    assert portal.log.total("portal") == 1


def test_a_listing_that_inflates(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A small body that would become gigabytes is refused, within the bound of any list."""
    layer = gzip.compress(bytes(300 * 1024 * 1024), 1)
    coded = faults.replace(layer, {"Content-Encoding": "gzip"})
    portal.faults.add("portal", times=None, action=coded)
    with pytest.raises(DirectIOAPIError, match="inflates past"):
        client.metadata(file_id)
    assert portal.log.total("portal") == 1


LIST = """
    import resource, sys
    from ctera_direct_sync import DirectIO, DirectIOAPIError
    with DirectIO(*sys.argv[1:4]) as client:
        try:
            print(client.metadata(int(sys.argv[4])).size)
        except DirectIOAPIError as error:
            print("refused", "values" in str(error))
    try:
        # What getrusage tells includes the peak of the process that forked this one.
        status = open("/proc/self/status").read()
        print(int(status.partition("VmHWM:")[2].split()[0]))
    except OSError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(
    ("count", "came", "most"), [(10_000_000, "refused True", 900), (1_990_000, "1990000", 1500)]
)
def test_memory_of_a_huge_listing(
    portal: Emulator, file_id: int, count: int, came: str, most: int
) -> None:
    """Ten million blocks are refused before they are objects; two million fit in 1.5 GB."""
    portal.faults.add("portal", times=None, action=faults.replace(huge(count)))
    keys = portal.url, portal.access_key_id, portal.secret_access_key, str(file_id)
    program = [sys.executable, "-c", textwrap.dedent(LIST), *keys]
    outcome, peak = subprocess.run(
        program, check=True, capture_output=True, text=True, timeout=200
    ).stdout.splitlines()
    assert outcome == came
    assert int(peak) // (1024 if sys.platform != "darwin" else 1024**2) < most

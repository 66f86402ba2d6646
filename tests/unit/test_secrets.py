"""Secrets and their parts: what a ``repr`` shows of them, also by way of rich."""

from __future__ import annotations

import io
import pickle
import pprint
import reprlib
from typing import Any, Callable

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import DirectIOError
from ctera_direct_sync.types import FileKey, SignedURL, Token

URL = SignedURL("https://bucket.example.com/blocks/7f?X-Amz-Signature=c0ffee" + "c0ffee" * 40)
TOKEN = Token("c0ffee c0ffee" * 20)
KEY = FileKey(b"c0ffee--" * 4)

TEXT_PARTS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda text: text[:150],
    "index": lambda text: [text[n] for n in range(len(text))],
    "slice of a slice": lambda text: text[1:][1:-1],
    "split": lambda text: text.split("?"),
    "rsplit": lambda text: text.rsplit(maxsplit=1),
    "splitlines": lambda text: text.splitlines(),
    "partition": lambda text: text.partition("?"),
    "rpartition": lambda text: text.rpartition("="),
    "part of a partition": lambda text: text.partition("=")[2][:100],
    "strip": lambda text: [text.strip(), text.lstrip("h"), text.rstrip("e")],
    "case": lambda text: [text.lower(), text.casefold(), text.upper().lower(), text.swapcase()],
    "replace": lambda text: text.replace("http", ""),
    "prefix": lambda text: [text.removeprefix("https"), text.removesuffix("e")],
    "padding": lambda text: [text.center(999), text.ljust(999), text.rjust(999), text.zfill(999)],
    "sum": lambda text: [text + "x", "x" + text, text * 2, 2 * text],
    "percent": lambda text: text % (),
    "format": lambda text: text.format(),
    "join": lambda text: text.join("ab"),
    "translate": lambda text: text.translate({120: None}),
    "iteration": lambda text: list(text),
    "encode": lambda text: [text.encode(), text.encode()[3:]],
}


@pytest.mark.parametrize("take", TEXT_PARTS.values(), ids=TEXT_PARTS)
@pytest.mark.parametrize("secret", [URL, TOKEN], ids=["SignedURL", "Token"])
def test_parts_of_text_do_not_show(secret, take):
    """Whatever gives a part of a secret text gives one whose repr hides it, and which is right."""
    part = take(secret)
    shown = repr(part)
    assert "c0ffee" not in shown
    assert "'c'" not in shown
    assert part == take(str(secret))


BYTES_PARTS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda key: key[:10],
    "split": lambda key: key.split(b"--"),
    "partition": lambda key: key.partition(b"--"),
    "replace": lambda key: key.replace(b"-", b""),
    "sum": lambda key: [key + b"x", b"x" + key, key * 2],
    "hex": lambda key: key.hex(),
    "decode": lambda key: [key.decode(), key.decode()[:9]],
    "strip": lambda key: key.strip(b"-"),
}


@pytest.mark.parametrize("take", BYTES_PARTS.values(), ids=BYTES_PARTS)
def test_parts_of_a_key_do_not_show(take):
    """The same for bytes."""
    part = take(KEY)
    assert "c0ffee" not in repr(part)
    assert "633066" not in repr(part)
    assert part == take(bytes(KEY))


@pytest.mark.parametrize("secret", [URL, TOKEN], ids=["SignedURL", "Token"])
def test_plain_text_on_request(secret):
    """str() and formatting are the ways to the plain text."""
    assert type(str(secret)) is str
    for text in (str(secret), f"{secret}", "%s" % secret, "".join([secret, "."])):  # noqa: UP031
        assert type(text) is str
        assert "c0ffee" in repr(text)
    assert type(pickle.loads(pickle.dumps(secret))) is type(secret)
    assert hash(secret) == hash(str(secret))


def test_usual_printers_do_not_show():
    """What shortens strings before it shows them shows none of a secret."""
    values = {"url": URL, "token": TOKEN, "key": KEY}
    for shown in (pprint.pformat(values), reprlib.repr(values), pprint.saferepr([URL, TOKEN])):
        assert "c0ffee" not in shown


@pytest.mark.parametrize("max_string", [3, 80, 150])
def test_rich_does_not_show(max_string):
    """rich slices long strings, and shows the slices."""
    pretty = pytest.importorskip("rich.pretty")
    for secret in (URL, TOKEN, KEY, URL.partition("?"), [TOKEN[:200]]):
        shown = pretty.pretty_repr([secret], max_string=max_string, max_width=1000)
        assert "c0ffee" not in shown
        assert "X-Amz" not in shown


@pytest.mark.parametrize("where", ["portal", "storage"])
def test_rich_traceback_does_not_show(
    make_client: Callable[..., DirectIO], portal: Emulator, where: str
) -> None:
    """A rich traceback with locals of a download that failed shows no query and no key."""
    console, traceback = pytest.importorskip("rich.console"), pytest.importorskip("rich.traceback")
    file_id = portal.add(b"c0ffee" * 100)
    portal.faults.add(where, times=None, action=faults.status(404))
    client = make_client(retries=0)
    url, token = URL, client.__getstate__()["token"]
    output = io.StringIO()
    try:
        list(client.stream(file_id))
    except DirectIOError:
        shown = traceback.Traceback(
            show_locals=True, locals_max_string=80, max_frames=100, width=300, extra_lines=0
        )
        console.Console(file=output, width=300).print(shown)
    text = output.getvalue()
    assert "url = <part of a secret: hidden>+" in text
    for secret in (portal.secret_access_key, portal.access_key_id, "X-Amz", "sig=", "c0ffee"):
        assert secret not in text
    assert url and token


def test_unfinished_client_has_a_repr():
    """A client whose constructor raised is shown, not an error of its repr."""
    assert repr(DirectIO.__new__(DirectIO)) == "<DirectIO ? unfinished>"
    with pytest.raises(FileNotFoundError) as caught:
        DirectIO("https://portal.example.com", "c0ffee", "c0ffee", settings=_broken())
    frame = caught.traceback[1].frame
    shown = repr(frame.f_locals["self"])
    assert shown == "<DirectIO https://portal.example.com unfinished>"
    assert "c0ffee" not in repr(vars(frame.f_locals["self"]))


def _broken():
    """Settings that the constructor refuses late."""
    from ctera_direct_sync import Settings

    settings = Settings()
    settings.api.ssl = "/nonexistent/ca.pem"
    return settings

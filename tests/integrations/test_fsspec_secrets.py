"""Where keys are not to be seen: options, JSON, reprs, tokens, and the frames of a traceback."""

from __future__ import annotations

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import fsspec
import pytest

import ctera_direct_sync
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from ctera_direct_sync.types import Token
from tests.support.file_systems import close_file_systems

from .test_fsspec import host_of

ID, SECRET = "AKIA-an-identifier", "s3cr3t-s3cr3t-s3cr3t"


@pytest.fixture(autouse=True)
def _closed(options: dict[str, Any]) -> None:
    """Every test has the options, whose fixture closes what is made."""


def frames(trace: TracebackType | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The functions of a traceback outside of this file, with their local variables."""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__:
            yield f"{code.co_filename}: {code.co_name}", trace.tb_frame.f_locals
        trace = trace.tb_next


MISTAKES: dict[str, dict[str, Any]] = {
    "setting": {"settings": {"memroy": 1}},
    "value of a setting": {"settings": {"memory": "x"}},
    "baseurl": {"baseurl": "htps:/portal"},
    "baseurl of another host": {"baseurl": "https://other.example.com"},
    "option": {"use_listing_cache": False},
    "option that holds a key": {"secret_acces_key": SECRET},
    "CA bundle": {"settings": {"api": {"ssl": "/no/such/ca.pem"}}},
    "batch size": {"batch_size": 0},
    "key": {"access_key_id": ID + " \n"},
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("kind", [Token, str])
def test_traceback_of_a_mistake(name: str, kind: type[str]) -> None:
    """A mistyped option does not show the keys to tools that print local variables.

    Keys that are plain strings are in the frames of the caller and of fsspec.filesystem, not in ours.
    """
    keys = {"access_key_id": kind(ID), "secret_access_key": kind(SECRET)}
    with pytest.raises((TypeError, ValueError, OSError)) as caught:
        given = {**keys, **MISTAKES[name]}
        CteraFileSystem("portal.example.com", **given).cat_file("12")
    ours = list(frames(caught.value.__traceback__))
    assert ours
    for function, variables in ours:
        for variable, value in variables.items():
            if variable == "self" and not hasattr(value, "_client"):
                continue  # Half made.
            assert SECRET not in repr(value), f"{variable} in {function}"
            assert ID not in repr(value), f"{variable} in {function}"
    assert SECRET not in str(caught.value)


def test_traceback_with_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are the environment's keys shown."""
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", ID + " \n")
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(ValueError) as caught:
        CteraFileSystem("portal.example.com")
    ours = list(frames(caught.value.__traceback__))
    assert ours
    for function, variables in ours:
        shown = {name: repr(value) for name, value in variables.items() if name != "self"}
        assert not any(ID in text or SECRET in text for text in shown.values()), function


def test_mistyped_option(options: dict[str, Any]) -> None:
    """An option that nearly has the name of a known one is an error; options of open() are left alone."""
    with pytest.raises(TypeError, match="did you mean 'use_listings_cache'"):
        CteraFileSystem(**options, use_listing_cache=False)
    made = CteraFileSystem(**options, cache_type="none", block_size=1000, service_token=SECRET)
    assert SECRET not in repr(made.storage_options) + made.to_json() + json.dumps(made.to_dict())


def test_every_form_of_a_file_system(
    portal: Emulator, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Options, vars, repr, JSON, dictionary, token and logs hold no key; a pickle holds those given."""
    caplog.set_level(logging.DEBUG)
    fs = CteraFileSystem(**options)
    file_id = portal.add(b"data")
    with fs.open(f"{file_id}/x.csv") as file:
        texts = [repr(file), repr(vars(file)), repr(file.details), repr(file.__reduce__())]
    texts += [repr(fs), str(fs), repr(vars(fs)), repr(fs.storage_options), fs._fs_token]
    texts += [fs.to_json(), json.dumps(fs.to_dict()), repr(fs.storage_args), caplog.text]
    texts += [repr(fsspec.open(f"ctera://{host_of(portal)}/{file_id}", **options))]
    texts += [repr(list(ctera_direct_sync._fsspec.instances.portal_clients))]
    for text in texts:
        assert options["access_key_id"] not in text
        assert options["secret_access_key"] not in text
    assert options["secret_access_key"].encode() in pickle.dumps(fs)
    assert pickle.loads(pickle.dumps(fs)) is fs


def test_json_of_a_wrapped_file_system(
    portal: Emulator, options: dict[str, Any], tmp_path: Any
) -> None:
    """A cache around an instance has JSON without keys."""
    fs = CteraFileSystem(**options)
    wrapped = fsspec.filesystem("simplecache", fs=fs, cache_storage=str(tmp_path))
    text = wrapped.to_json()
    assert "CteraFileSystem" in text
    assert options["access_key_id"] not in text and options["secret_access_key"] not in text


# fsspec leaves its own cache files to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_json_of_a_chain(portal: Emulator, options: dict[str, Any], tmp_path: Any) -> None:
    """JSON of a chained URL's file system has the target's options without the keys."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("m.txt", "member")
    url = f"ctera://{host_of(portal)}/{portal.add(target.getvalue())}/x.zip"
    given = {"ctera": options, "simplecache": {"cache_storage": str(tmp_path)}}
    for chain in (f"simplecache::{url}", f"zip://m.txt::{url}", f"zip://m.txt::simplecache::{url}"):
        with fsspec.open(chain, **given) as file:
            file.read()
        made, _ = fsspec.core.url_to_fs(chain, **given)
        for text in (made.to_json(), json.dumps(made.to_dict())):
            assert "target_options" in text
            assert options["access_key_id"] not in text
            assert options["secret_access_key"] not in text


def test_tokens_tell_accounts_apart(portal: Emulator, options: dict[str, Any]) -> None:
    """Dask's token of a file system is the same for the same account, and another for another one."""
    tokenize = pytest.importorskip("dask.base").tokenize
    alice = {**options, "username": "alice", "password": "a-secret"}
    token = tokenize(CteraFileSystem(**alice))
    assert token == tokenize(CteraFileSystem(**alice))
    assert token != tokenize(CteraFileSystem(**{**alice, "username": "bob"}))
    assert token != tokenize(CteraFileSystem(**{**alice, "password": "another"}))
    assert token != tokenize(CteraFileSystem(**options))
    assert "a-secret" not in token
    close_file_systems()

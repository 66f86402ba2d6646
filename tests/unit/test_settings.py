"""Settings: names and values are checked, and one client's do not leak into another's."""

from __future__ import annotations

import pathlib
import pickle

import pytest

import ctera_direct_sync
import ctera_direct_sync.settings as module
from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.settings import CHECKSUMS, Endpoint

MIB = 1024 * 1024

SHIPPED = {
    "api": Endpoint(ssl=True, timeout=(10.0, 60.0), cert=None),
    "storage": Endpoint(ssl=True, timeout=(10.0, 60.0), cert=None),
    "max_workers": 128,
    "memory": 64 * MIB,
    "retries": 4,
    "backoff": 0.25,
    "max_backoff": 10.0,
    "retry_timeout": 300.0,
    "bandwidth": None,
    "hedging": 0.05,
    "checksums": frozenset({"crc32c", "crc32", "crc64nvme"}),
    "tune_allocator": True,
    "filter_logs": True,
}


def test_shipped_values():
    """The defaults are those that the documentation gives."""
    assert {name: getattr(Settings(), name) for name in SHIPPED} == SHIPPED
    assert Settings._fields.keys() == SHIPPED.keys()


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("max_workers", 1, 1),
        ("max_workers", 500, 500),
        ("memory", 1, 1),
        ("retries", 0, 0),
        ("backoff", 0, 0.0),
        ("backoff", "0.5", 0.5),
        ("max_backoff", 3, 3.0),
        ("retry_timeout", 0, 0.0),
        ("bandwidth", 64_000, 64_000),
        ("bandwidth", " 2M ", "2M"),
        ("bandwidth", "08:00,2M  19:00,off", "08:00,2M 19:00,off"),
        ("bandwidth", "off", None),
        ("hedging", 0, 0.0),
        ("hedging", 1, 1.0),
        ("checksums", "all", frozenset(CHECKSUMS)),
        ("checksums", ["all"], frozenset(CHECKSUMS)),
        ("checksums", "md5", frozenset({"md5"})),
        ("checksums", (), frozenset()),
        ("checksums", {"etag", "sha256"}, frozenset({"etag", "sha256"})),
        ("tune_allocator", False, False),
        ("filter_logs", False, False),
    ],
)
def test_values(name, value, kept):
    """A sensible value is kept, in one form however it was written."""
    made = Settings(**{name: value})
    assert getattr(made, name) == kept
    assert type(getattr(made, name)) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_workers", 0),
        ("max_workers", -1),
        ("max_workers", 1.5),
        ("max_workers", "4"),
        ("max_workers", None),
        ("memory", 0),
        ("memory", "64M"),
        ("retries", -1),
        ("backoff", -0.1),
        ("backoff", float("nan")),
        ("backoff", float("inf")),
        ("max_backoff", "soon"),
        ("retry_timeout", None),
        ("bandwidth", 0),
        ("hedging", -0.01),
        ("hedging", 1.01),
        ("hedging", "0.05"),
        ("hedging", True),
        ("hedging", None),
        ("hedging", float("nan")),
        ("bandwidth", "2X"),
        ("bandwidth", "08:00"),
        ("checksums", "crc16"),
        ("checksums", ["md5", "all"]),
        ("checksums", None),
        ("tune_allocator", 1),
        ("filter_logs", "no"),
        ("api", True),
        ("storage", {"ssl": True}),
    ],
)
def test_values_that_cannot_be(name, value):
    """A value that makes no sense is refused at once, with the setting's name."""
    with pytest.raises(ValueError, match=rf"settings\.{name}"):
        Settings(**{name: value})
    settings = Settings()
    with pytest.raises(ValueError, match=rf"settings\.{name}"):
        setattr(settings, name, value)
    assert getattr(settings, name) == SHIPPED[name]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("ssl", True, True),
        ("ssl", False, False),
        ("ssl", "ca.pem", "ca.pem"),
        ("ssl", pathlib.PurePosixPath("a/ca.pem"), "a/ca.pem"),
        ("timeout", 5, (5.0, 5.0)),
        ("timeout", [1, 2.5], (1.0, 2.5)),
        ("timeout", (1, 2), (1.0, 2.0)),
        ("min_speed", None, None),
        ("min_speed", 0, None),
        ("min_speed", 5000, 5000.0),
    ],
)
def test_endpoint_values(name, value, kept):
    """ssl is a switch or a path; timeout is one number or a pair of them."""
    endpoint = Endpoint(**{name: value})
    assert getattr(endpoint, name) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssl", None),
        ("ssl", ""),
        ("ssl", 1),
        ("timeout", 0),
        ("timeout", (0, 5)),
        ("timeout", (5, 0)),
        ("timeout", (1, 2, 3)),
        ("timeout", -1),
        ("timeout", None),
        ("timeout", float("inf")),
        ("timeout", ()),
        ("min_speed", -1),
        ("min_speed", "5K"),
        ("min_speed", True),
        ("min_speed", float("nan")),
        ("min_speed", float("inf")),
    ],
)
def test_endpoint_values_that_cannot_be(name, value):
    """A timeout that would fail every request or never end, and an ssl of no meaning, are refused."""
    with pytest.raises(ValueError, match=name):
        Endpoint(**{name: value})


@pytest.mark.parametrize("target", [Settings(), Endpoint(), module])
def test_unknown_names(target):
    """A misspelt setting is an error that lists the right ones, when set and when read."""
    with pytest.raises(AttributeError, match="choose from"):
        target.max_worker = 4
    with pytest.raises(AttributeError, match="choose from"):
        _ = target.time_out
    assert not hasattr(target, "max_worker")


@pytest.mark.parametrize("cls", [Settings, Endpoint])
def test_unknown_arguments(cls):
    """A misspelt keyword is a TypeError, as with any call."""
    with pytest.raises(TypeError, match=r"'max_worker'"):
        cls(max_worker=4)


def test_module_is_the_defaults():
    """Setting the module's attributes changes what later Settings begin with, not earlier ones."""
    earlier = Settings()
    module.max_workers = 7
    module.api.timeout = 3
    later = Settings()
    assert module.max_workers == later.max_workers == 7
    assert later.api.timeout == (3.0, 3.0)
    assert earlier.max_workers == 128
    assert earlier.api.timeout == (10.0, 60.0)


def test_module_is_reached_by_every_documented_path():
    """``ctera_direct_sync.settings`` is the module that can be imported by that name."""
    assert ctera_direct_sync.settings is module
    namespace: dict = {}
    exec("import ctera_direct_sync.settings\nfound = ctera_direct_sync.settings", namespace)
    assert namespace["found"] is module
    assert {"max_workers", "sessions", "Settings"} <= set(dir(module))


def test_module_refuses_bad_values():
    """The process's defaults are checked like a client's own."""
    with pytest.raises(ValueError, match=r"settings\.memory"):
        module.memory = 0
    assert module.memory == 64 * MIB


def test_older_path_sets_the_defaults():
    """``settings.sessions.ctera_direct.api.ssl`` and ``.storage.ssl`` set the same two values."""
    module.sessions.ctera_direct.api.ssl = False
    module.sessions.ctera_direct.storage.ssl = "ca.pem"
    assert (module.api.ssl, module.storage.ssl) == (False, "ca.pem")
    assert (Settings().api.ssl, Settings().storage.ssl) == (False, "ca.pem")


def test_older_path_sets_ones_own():
    """The older path works on one client's settings, too, and stays there."""
    settings = Settings()
    settings.sessions.ctera_direct.api.ssl = False
    assert settings.api.ssl is False
    assert settings.storage.ssl is True
    assert module.api.ssl is True


def test_older_path_has_no_other_names():
    """Nothing but the documented names can be set below ``sessions``."""
    with pytest.raises(AttributeError):
        module.sessions.ctera_direct.portal = True
    with pytest.raises(AttributeError):
        module.sessions.ctera_direct.api.tls = True


def test_settings_do_not_share_endpoints():
    """Each Settings has endpoints of its own, also those made of the same Endpoint."""
    endpoint = Endpoint(ssl=False)
    first, second = Settings(api=endpoint), Settings(api=endpoint)
    first.api.ssl = "ca.pem"
    assert endpoint.ssl is False
    assert second.api.ssl is False
    assert first.storage.ssl is True


def test_client_keeps_a_copy():
    """What happens to the Settings or the defaults after a client was made does not reach it."""
    settings = Settings(max_workers=4)
    client = DirectIO("https://portal.example.com", "key", "secret", settings=settings)
    settings.max_workers = 5
    settings.api.ssl = False
    module.retries = 9
    kept = client.__getstate__()["settings"]
    assert (kept.max_workers, kept.api.ssl, kept.retries) == (4, True, 4)
    client.close()


def test_pickle():
    """Settings come out of a pickle as they went in, whatever the defaults are there."""
    settings = Settings(memory=MIB, checksums="all", api=Endpoint(ssl="ca.pem", timeout=2))
    pickled = pickle.dumps(settings)
    module.memory = 2 * MIB
    assert pickle.loads(pickled) == settings
    assert pickle.loads(pickled).api.ssl == "ca.pem"
    assert pickle.loads(pickle.dumps(Endpoint(ssl=False))) == Endpoint(ssl=False)


def test_equality_and_repr():
    """Settings compare by value, and their repr says all of them."""
    assert Settings() == Settings()
    assert Settings(retries=1) != Settings(retries=2)
    assert Settings() != Endpoint()
    wanted = "Endpoint(ssl=True, timeout=(10.0, 60.0), min_speed=None, cert=None)"
    assert repr(Endpoint()) == wanted
    assert all(f"{name}=" in repr(Settings()) for name in SHIPPED)


def test_settings_of_a_client_are_fixed():
    """What a client would not heed cannot be assigned. The bandwidth can, and a copy is free."""
    given = Settings(retries=1)
    with DirectIO("http://a", "key", "c2VjcmV0", settings=given) as client:
        with pytest.raises(AttributeError, match="'retries' of a client cannot be changed"):
            client.settings.retries = 2
        with pytest.raises(AttributeError, match="'timeout' of a client cannot be changed"):
            client.settings.storage.timeout = 5
        with pytest.raises(AttributeError, match="'ssl' of a client cannot be changed"):
            client.settings.sessions.ctera_direct.api.ssl = False
        client.settings.bandwidth = "2M"
        copy = pickle.loads(pickle.dumps(client.settings))
        assert copy == client.settings
        copy.retries = copy.storage.timeout = 5
        given.retries = 3
        assert client.settings.retries == 1
        with DirectIO("http://a", "key", "c2VjcmV0", settings=client.settings) as other:
            other.settings.bandwidth = None
        assert client.settings.bandwidth == "2M"

"""Settings under ``mock.patch``, pytest's monkeypatch and ``importlib.reload``."""

from __future__ import annotations

import importlib
import pickle
from unittest import mock

import pytest

import ctera_direct_sync
import ctera_direct_sync.settings as module
from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.settings import Endpoint


def kept(client: DirectIO) -> Settings:
    """The settings that a client works with."""
    return client.__getstate__()["settings"]


def new_client() -> DirectIO:
    """A client of the defaults."""
    return DirectIO("https://portal.example.com", "key", "secret")


def test_patched_default():
    """patch.object of the module holds for clients made meanwhile, and ends."""
    with mock.patch.object(module, "max_workers", 3), new_client() as client:
        assert kept(client).max_workers == Settings().max_workers == 3
    assert module.max_workers == Settings().max_workers == 128


def test_patched_default_comes_back_as_it_was():
    """What a program had set before is what comes back, not the shipped value."""
    module.max_workers = 7
    with mock.patch("ctera_direct_sync.settings.max_workers", 3):
        assert Settings().max_workers == 3
    assert module.max_workers == Settings().max_workers == 7


def test_several_patched_defaults():
    """patch.multiple, and patch.dict of the module's names, work as for any module."""
    with mock.patch.multiple(module, retries=0, backoff=1):
        assert (Settings().retries, Settings().backoff) == (0, 1.0)
    with mock.patch.dict(vars(module), {"retries": 9}):
        assert Settings().retries == 9
    assert (Settings().retries, Settings().backoff) == (4, 0.25)


def test_patched_default_is_checked():
    """A patch cannot put a value that makes no sense, nor a name that does not exist."""
    with pytest.raises(ValueError, match=r"settings\.max_workers"):
        mock.patch.object(module, "max_workers", 0).start()
    with pytest.raises(AttributeError, match="max_worker"):
        mock.patch.object(module, "max_worker", 1).start()
    unchecked = mock.patch.dict(vars(module), {"retries": -1})
    with unchecked, pytest.raises(ValueError, match=r"settings\.retries"):
        Settings()
    assert Settings() == Settings(max_workers=128, retries=4)


@pytest.mark.parametrize("target", ["ctera_direct_sync.settings.api",
                                    "ctera_direct_sync.settings.sessions.ctera_direct.api"])  # fmt: skip
def test_patched_endpoint_of_the_defaults(target):
    """An endpoint's values, and an endpoint, can be patched by each documented path."""
    with mock.patch(f"{target}.timeout", 3):
        assert Settings().api.timeout == (3.0, 3.0)
    with mock.patch(target, Endpoint(ssl=False)):
        assert Settings().api.ssl is False
    assert Settings().api == Endpoint()


def test_patched_settings_of_ones_own():
    """One client's Settings and their endpoints can be patched, too."""
    settings = Settings(max_workers=5)
    with (
        mock.patch.object(settings, "max_workers", 6),
        mock.patch.object(settings.storage, "ssl", False),
    ):
        assert (settings.max_workers, settings.storage.ssl) == (6, False)
    assert (settings.max_workers, settings.storage.ssl) == (5, True)


def test_monkeypatched(monkeypatch):
    """pytest's monkeypatch does the same."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "memory", 1000)
        patch.setattr(module.storage, "timeout", (1, 2))
        patch.setattr("ctera_direct_sync.settings.retries", 0)
        settings = Settings()
        assert (settings.memory, settings.storage.timeout, settings.retries) == (
            1000,
            (1.0, 2.0),
            0,
        )
    assert Settings() == Settings(memory=64 << 20, retries=4)
    assert module.storage == Endpoint()


def test_deleting_a_setting():
    """A setting cannot be deleted: each has a value."""
    for target, name in ((module, "retries"), (Settings(), "retries"), (Endpoint(), "ssl")):
        with pytest.raises(AttributeError, match=name):
            delattr(target, name)
        assert hasattr(target, name)


def test_older_path_sets_whole_endpoints():
    """An endpoint that is set below ``sessions`` is not lost."""
    settings = Settings()
    settings.sessions.ctera_direct.storage = Endpoint(ssl="ca.pem")
    assert settings.storage.ssl == "ca.pem"
    with pytest.raises(ValueError, match=r"settings\.api"):
        settings.sessions.ctera_direct.api = True


def test_values_as_a_mapping():
    """vars() shows the values, and is not a way around the checks."""
    settings = Settings(retries=1)
    assert vars(settings)["retries"] == 1
    with pytest.raises(TypeError):
        vars(settings)["retries"] = "many"


def test_reload_puts_the_shipped_values_back():
    """importlib.reload makes the defaults those that ship."""
    module.retries = 9
    module.api.ssl = False
    assert importlib.reload(module) is module
    assert (module.retries, Settings().retries, Settings().api.ssl) == (4, 4, True)
    module.retries = 8
    assert Settings().retries == 8


def test_reload_keeps_the_classes():
    """After a reload, Settings made before and after it fit the same clients, and each other."""
    before, endpoint, pickled = Settings(retries=1), Endpoint(ssl=False), pickle.dumps(Settings())
    importlib.reload(module)
    assert module.Settings is Settings is ctera_direct_sync.Settings
    assert module.Endpoint is Endpoint
    assert before == module.Settings(retries=1)
    assert module.Settings(api=endpoint).api == endpoint
    assert pickle.loads(pickled) == module.Settings()
    with DirectIO("https://portal.example.com", "key", "secret", settings=before) as client:
        assert kept(client) == before


def test_names_of_the_classes():
    """Pickles and messages name the public module."""
    assert {cls.__module__ for cls in (Settings, Endpoint)} == {"ctera_direct_sync.settings"}

"""What a client does to the whole process has a switch in the settings."""

from __future__ import annotations

import pytest

from ctera_direct_sync import DirectIO, Settings, _core


def make_client(**settings: bool) -> DirectIO:
    """Return a client of its own settings."""
    return DirectIO("https://portal.example.com", "key", "secret", settings=Settings(**settings))


@pytest.mark.parametrize("wanted", [True, False])
def test_allocator_is_tuned_by_a_client(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    """Making a client tunes the allocator, unless its settings say otherwise."""
    tuned: list[None] = []
    monkeypatch.setattr(_core, "tune_allocator", lambda: tuned.append(None))
    make_client(tune_allocator=wanted).close()
    assert len(tuned) == wanted

"""The command line behind a proxy."""

from __future__ import annotations

from typing import Callable

import pytest

from ctera_direct_sync import settings
from ctera_direct_sync.emulator import Emulator
from tests.faults.matrix import closed_port

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("form", ["127.0.0.0/8", "*", "127.0.0.1"])
def test_no_proxy(run: Run, file_id: int, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """A portal that NO_PROXY names is asked directly."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", form)
    code, out, _ = run("info", "-f", file_id)
    assert code == 0 and str(file_id) in out


def test_proxy_is_used(
    run: Run, portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's proxy is used; the emulator takes a proxy's requests itself."""
    monkeypatch.setenv("CTERA_DIRECT_URL", "http://portal.invalid")
    monkeypatch.setenv("http_proxy", portal.url)
    monkeypatch.setenv("no_proxy", "")
    code, out, _ = run("info", "-f", file_id)
    assert code == 0 and str(file_id) in out


def test_proxy_that_is_not_there(run: Run, file_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the proxy, without its password."""
    monkeypatch.setenv("CTERA_DIRECT_URL", "http://portal.invalid")
    port = closed_port()
    monkeypatch.setenv("http_proxy", f"http://user:c0ffee@127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(settings, "retries", 0)
    code, out, err = run("info", "-f", file_id)
    assert code != 0 and f"http://127.0.0.1:{port}" in err
    assert "c0ffee" not in out + err

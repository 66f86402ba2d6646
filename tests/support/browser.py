"""Chromium without a window, by the W3C's WebDriver over HTTP."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

__all__ = ["Browser", "open_browser"]

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required", "--window-size=660,600",
]  # fmt: skip


class Browser:
    """A session of chromedriver.

    Args:
        driver: The URL of chromedriver.
        profile: A folder for the browser's own files.
    """

    def __init__(self, driver: str, profile: Path) -> None:
        options = {"args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = requests.Session()
        self._session.trust_env = False
        made = self._session.post(f"{driver}/session", json=wanted, timeout=60).json()["value"]
        self._url = f"{driver}/session/{made['sessionId']}"

    def post(self, path: str, **values: Any) -> Any:
        """Run one command, and return its value."""
        answer = self._session.post(f"{self._url}/{path}", json=values, timeout=90)
        return answer.json()["value"]

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script, and return what it gives to its last argument, a function."""
        return self.post("execute/async", script=script, args=list(arguments))

    def ask(self, expression: str) -> Any:
        """Return the value of an expression."""
        return self.post("execute/sync", script=f"return ({expression})", args=[])

    def click(self, selector: str) -> None:
        """Click on the first element of a CSS selector, as a person does."""
        found = self.post("element", using="css selector", value=selector)
        (element,) = found.values()
        self.post(f"element/{element}/click")

    def resize(
        self, width: int, height: int, *, mobile: bool = False, scheme: str = "light"
    ) -> None:
        """Give the page a size, the touch screen of a phone or none, and a preference of colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [preferred]})

    def grant(self, *names: str) -> None:
        """Grant permissions to all pages."""
        self._devtools("Browser.grantPermissions", {"permissions": list(names)})

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self.post("goog/cdp/execute", cmd=command, params=parameters)

    def screenshot(self) -> bytes:
        """Return what the window shows, as PNG."""
        answer = self._session.get(f"{self._url}/screenshot", timeout=60)
        return base64.b64decode(answer.json()["value"])

    def close(self) -> None:
        """End the browser."""
        self._session.delete(self._url, timeout=60)
        self._session.close()


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start chromedriver and a browser, and end both afterwards."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert driver.stdout is not None
    try:
        port = None
        while port is None:
            port = re.search(r"started successfully on port (\d+)", driver.stdout.readline())
        made = Browser(f"http://127.0.0.1:{port[1]}", profile)
        try:
            yield made
        finally:
            made.close()
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()

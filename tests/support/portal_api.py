"""A client of the portal's API of the barest kind: what it gets is what the emulator sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import requests

from ctera_direct_sync.emulator import Emulator


def to_xml(value: Any) -> str:
    """Return a value as the API writes it."""
    if isinstance(value, dict):
        attributes = "".join(
            f"<att id={quoteattr(key)}>{to_xml(each)}</att>" for key, each in value.items()
        )
        return f"<obj>{attributes}</obj>"
    if isinstance(value, list):
        return f"<list>{''.join(map(to_xml, value))}</list>"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<val>{escape(text)}</val>"


class Caller:
    """Calls the API of one context, by its own session."""

    def __init__(self, emulator: Emulator, context: str = "ServicesPortal") -> None:
        self.context = context
        self.base = f"{emulator.url}/{context}"
        self.session = requests.Session()
        self.session.trust_env = False

    def login(self, name: str, password: str) -> requests.Response:
        """Send the form that signs in."""
        form = {"j_username": name, "j_password": password}
        return self.session.post(f"{self.base}/api/login", data=form)

    def get(self, path: str, **headers: str) -> requests.Response:
        """GET an attribute, without following redirects."""
        return self.session.get(
            f"{self.base}/{path}?format=jsonext", headers=headers, allow_redirects=False
        )

    def post(
        self, name: str, parameter: Any, path: str = "api", query: str = "?format=jsonext"
    ) -> Any:
        """Call a method, and return the response."""
        kind = "user-defined" if path == "api" else "db"
        body = to_xml({"type": kind, "name": name, "param": parameter})
        return self.session.post(
            f"{self.base}/{path}{query}", data=body.encode(), allow_redirects=False
        )

    def call(self, name: str, parameter: Any, path: str = "api") -> Any:
        """Call a method, and return what its answer holds."""
        response = self.post(name, parameter, path)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, name: str, **parameter: Any) -> requests.Response:
        """Call a method of the JSON dialect, and return the response."""
        url = f"{self.base}/v2/api/metadata/{name}"
        return self.session.post(url, json=parameter, allow_redirects=False)

    def changes(self, cursor: str | None = None, *folders: int, **more: Any) -> Any:
        """Return a page of the change feed."""
        response = self.ask("list", folder_ids=list(folders), cursor=cursor, **more)
        assert response.status_code == 200, response.text
        return response.json()

    def all_changes(self, cursor: str | None = None, **more: Any) -> tuple[list[Any], str]:
        """Return all events after a cursor, and the cursor of their end."""
        events, has_more = [], True
        while has_more:
            page = self.changes(cursor, **more)
            events += page["entries"]
            cursor, has_more = page["cursor"], page["has_more"]
        assert cursor is not None
        return events, cursor

    def reference(self, path: str) -> str:
        """Return a path as the API wants it."""
        return f"/{self.context}/webdav/{quote(path.strip('/'))}".rstrip("/")

    def fetch(self, path: str, depth: object = 1, **more: Any) -> Any:
        """Return the answer to fetchResources."""
        return self.call(
            "fetchResources", {"root": self.reference(path), "depth": str(depth), **more}
        )

    def names(self, path: str, depth: object = 1, **more: Any) -> list[str]:
        """Return the names that a listing has."""
        return [item["name"] for item in self.fetch(path, depth, **more)["items"]]

    def stat(self, path: str, **more: Any) -> Any:
        """Return what the portal says about a path, or None."""
        return self.fetch(path, 0, **more)["root"]

    def versions(self, path: str) -> Any:
        """Return the answer to listSnapshots."""
        return self.call("listSnapshots", self.reference(path))

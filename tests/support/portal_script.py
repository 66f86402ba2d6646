"""A scripted transport for calls of the portal: one answer after the other, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Union

from ctera_direct_sync._base.account import Bearer, Credentials
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._base.retry import RetryPolicy
from ctera_direct_sync._net.api_session import APIAnswer
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._protocol.calls import PortalCalls
from ctera_direct_sync._protocol.messages import parse
from ctera_direct_sync._protocol.names import Names
from ctera_direct_sync._protocol.sign_in import SignIn
from ctera_direct_sync.types import Token

ROOT = "https://portal.example.com/ServicesPortal"
LOGIN = APIAnswer(
    200, {}, ["JSESSIONID=C00C1E; Path=/ServicesPortal; HttpOnly"], b"<val>Login succeed</val>"
)
Answer = Union[APIAnswer, TransportError]


class Sent:
    """A request that was sent."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None):
        self.method = method
        self.url = url
        self.headers = dict(headers)
        self.body = body

    @property
    def parameter(self) -> Any:
        """The parameter of the call."""
        assert self.body is not None
        return parse(self.body)["param"]


class Script:
    """Stands for `APISession`: gives one answer after the other, and notes what was sent."""

    def __init__(self, *answers: Answer) -> None:
        self.answers: Iterator[Answer] = iter(answers)
        self.sent: list[Sent] = []

    def request(
        self,
        method: str,
        url: str,
        scope: CancelScope,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeouts: Any = None,
    ) -> APIAnswer:
        """Give the next answer."""
        self.sent.append(Sent(method, url, headers, body))
        answer = next(self.answers)
        if isinstance(answer, TransportError):
            raise answer
        return answer


def make_names(
    script: Script, credentials: Credentials | None = None, context: str = "ServicesPortal"
) -> Names:
    """Return Names that use a script, by default with a bearer token and without a delay."""
    policy = RetryPolicy(4, 0.0, 0.0, 60.0)
    root = f"https://portal.example.com/{context}"
    sign_in = SignIn(script, root, credentials or Bearer(Token("bearer")), policy)  # type: ignore[arg-type]
    return Names(PortalCalls(script, root, sign_in, policy), context)  # type: ignore[arg-type]


def answer(document: Any, status: int = 200) -> APIAnswer:
    """Return an answer in JSON."""
    return APIAnswer(
        status, {"content-type": "application/json"}, [], json.dumps(document).encode()
    )


def info(name: str = "a", **changes: Any) -> dict[str, Any]:
    """Return a ResourceInfo; a change to None removes a member."""
    members = {
        "$class": "ResourceInfo",
        "name": name,
        "href": f"/ServicesPortal/webdav/d/{name}",
        "fileId": 7,
        "isFolder": False,
        "isDeleted": False,
        "size": 5,
        "lastmodified": "2024-05-01T10:20:30",
        "permalink": "https://portal.example.com/x",
        "cloudFolderInfo": {"uid": 16, "name": "d"},
        **changes,
    }
    return {name: value for name, value in members.items() if value != "absent"}


FOLDER = info("d", isFolder=True, href="/ServicesPortal/webdav/d")


def listing(*items: Any, **changes: Any) -> APIAnswer:
    """Return an answer of fetchResources."""
    return answer({"errorType": None, "hasMore": False, "root": FOLDER, "items": items, **changes})


def read_all(names: Names, path: str = "/d") -> list[Any]:
    """Return all entries of a listing."""
    pager = names.pager(path, CancelScope())
    entries = []
    while not pager.complete:
        entries += pager.next_page()
    return entries

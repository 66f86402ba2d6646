"""The calls of the change feed: JSON both ways (PORTAL, section 5)."""

from __future__ import annotations

import json
import re
from typing import Any

from ..bodies import BytesBody
from ..messages import Response
from .accounts import User
from .calls import Call, RequestError
from .feed import Feed
from .options import PortalOptions
from .tree import Tree

PREFIX = "v2/api/"
_NAMES = ("metadata/list", "metadata/longpoll", "metadata/ancestors")
_DEFAULT_RESULTS = 2000


def identify(context: str, path: str, body: bytes) -> Call:
    """Return the call that a request makes."""
    try:
        parameter = json.loads(body) if body else None
    except ValueError:
        parameter = None
    return Call(context, path[len(PREFIX) :], path, parameter)


class FeedCalls:
    """Answers the calls of the change feed.

    Args:
        feed: The feed.
        tree: The cloud folders.
        options: How the portal behaves.
    """

    def __init__(self, feed: Feed, tree: Tree, options: PortalOptions) -> None:
        self._feed = feed
        self._tree = tree
        self._options = options

    def answer(self, method: str, call: Call, user: User) -> Any:
        """Return the answer to a call.

        Raises:
            RequestError: There is no such call, or it is refused.
        """
        served = self._options.feed.served
        if call.name not in _NAMES or served == "none" or method != "POST":
            raise RequestError(404, "Not Found")
        if call.context != "admin" and served == "admin":
            raise RequestError(404, "Not Found")
        if call.context == "admin" and not user.is_administrator:
            raise RequestError(403, "Permission denied")
        if not isinstance(call.parameter, dict):
            raise RequestError(400, "Malformed request")
        visible = self._visible(user, call.context)
        if call.name == "metadata/ancestors":
            folder, guid = call.parameter.get("folder_id"), call.parameter.get("guid")
            return self._feed.ancestors(folder, str(guid), visible)
        return self._read(call, visible)

    def _read(self, call: Call, visible: set[int]) -> Any:
        folders = self._folders(call.parameter.get("folder_ids"))
        cursor = call.parameter.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise RequestError(400, "cursor must be a string")
        if not visible.issuperset(folders):
            raise RequestError(403, "Permission denied")
        if call.name == "metadata/list":
            given = call.parameter.get("max_results")
            limit = _DEFAULT_RESULTS if given is None else given
            if not isinstance(limit, int) or limit < 1:
                raise RequestError(400, "max_results must be greater than 0")
            return self._feed.page(cursor, folders, visible, limit)
        found = re.fullmatch(r"\d{1,9}", str(call.parameter.get("timeout")))
        timeout = int(found.group()) if found else -1
        most = self._options.feed.poll_limit
        if timeout < 0 or (most is not None and timeout > most):
            raise RequestError(400, "timeout is out of range")
        seconds = timeout * self._options.feed.poll_unit_s
        return {"changes": self._feed.wait(cursor, folders, visible, seconds)}

    def _folders(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(isinstance(each, int) for each in value):
            raise RequestError(400, "folder_ids must be a list of numbers")
        limit = self._options.feed.folder_limit
        if limit is not None and len(value) > limit:
            raise RequestError(400, f"size must be between 0 and {limit}")
        return tuple(sorted(set(value)))

    def _visible(self, user: User, context: str) -> set[int]:
        """Return the IDs of the cloud folders whose changes a user may see, also deleted ones."""
        with self._tree.lock:
            folders = self._tree.cloud_folders
            if context == "admin":
                return {folder.uid for folder in folders if user.sees_users}
            shared = self._tree.shared_with(user)
            return {
                folder.uid
                for folder in folders
                if folder.owner == user.login_name or folder.root in shared
            }


def respond(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the response that holds a value."""
    body = BytesBody(json.dumps(value, ensure_ascii=False).encode("utf-8"))
    return Response(status, {"Content-Type": "application/json", **(headers or {})}, body)


def respond_error(error: RequestError, headers: dict[str, str]) -> Response:
    """Return the response to a call that is refused."""
    return respond({"details": [{"error": error.message}]}, error.status, headers)

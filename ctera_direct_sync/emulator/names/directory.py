"""The calls that list users and cloud folders."""

from __future__ import annotations

import re
from typing import Any, Callable

from .accounts import Accounts, Session, User
from .calls import Call, RequestError
from .describe import format_reference
from .nodes import CloudFolder
from .tree import Tree
from .wire import CLASS

_DEFAULT_LIMIT = 50
_LOCAL_USER = re.compile(r"api/users/([^/]+)")
_DOMAIN_USER = re.compile(r"api/domains/([^/]+)/adUsers/([^/]+)")


class Directory:
    """Answers questions about users and cloud folders.

    Args:
        tree: The cloud folders.
        accounts: The users.
    """

    def __init__(self, tree: Tree, accounts: Accounts) -> None:
        self._tree = tree
        self._accounts = accounts

    def answer(self, call: Call, session: Session) -> Any:
        """Return the answer to a call to the portal's database.

        Raises:
            RequestError: There is no such call, or the user may not make it.
        """
        if call.path == "api/cloudDrives" and call.name == "query":
            _require_administrator(session)
            return self._query(call.parameter)
        if call.name == "get-multi":
            return self._user(call, session)
        raise RequestError(500, f"There is no method {call.name} of {call.path}")

    def cloud_folder(self, call: Call, session: Session) -> Any:
        """Return a cloud folder by its ID.

        Raises:
            RequestError: There is no such cloud folder, or the user may not see it.
        """
        _require_administrator(session)
        found = re.fullmatch(r"api/objs/(\d{1,9})", call.path)
        for folder in self._tree.cloud_folders:
            if found and folder.uid == int(found.group(1)):
                return {CLASS: "CloudDrive", **self._attributes(folder)}
        raise RequestError(404, "There is no such object")

    def _query(self, parameter: Any) -> Any:
        if not isinstance(parameter, dict):
            raise RequestError(500, "query needs an object of QueryParams")
        try:
            start = int(parameter.get("startFrom") or 0)
            limit = int(parameter.get("countLimit") or _DEFAULT_LIMIT)
        except ValueError:
            raise RequestError(500, "startFrom and countLimit must be numbers") from None
        include = parameter.get("include") or ["name"]
        with self._tree.lock:
            rows = [
                self._attributes(folder)
                for folder in self._tree.cloud_folders
                if parameter.get("includeDeleted") == "true" or not folder.is_deleted
            ]
        owner = parameter.get("ownedBy")
        for accepts in map(_parse_filter, parameter.get("filters") or []):
            rows = [row for row in rows if accepts(row)]
        rows = [row for row in rows if owner is None or str(row["ownerUid"]) == str(owner)]
        return {
            CLASS: "QueryResult",
            "hasMore": start + limit < len(rows),
            "objects": [
                {CLASS: "CloudDrive", **{name: row.get(name) for name in include}}
                for row in rows[start : start + limit]
            ],
        }

    def _attributes(self, folder: CloudFolder) -> dict[str, Any]:
        owner = self._accounts.get(folder.owner)
        reference = format_reference(("Users", owner.full_name, folder.name), "admin")
        return {
            "uid": folder.uid,
            "name": folder.name,
            "group": f"objs/{owner.uid}/FoldersGroup/{owner.name}",
            "owner": f"objs/{owner.uid}/PortalUser/{owner.name}",
            "isDeleted": folder.is_deleted,
            "baseObjectRef": f"objs/{folder.uid}/CloudDrive/{folder.name}",
            "webDavPartialUrl": reference[len("/admin/webdav/") :],
            "ownerUid": owner.uid,
            "ownerName": owner.name,
        }

    def _user(self, call: Call, session: Session) -> Any:
        local, domain = _LOCAL_USER.fullmatch(call.path), _DOMAIN_USER.fullmatch(call.path)
        if local:
            user = self._accounts.find(local.group(1))
        elif domain:
            user = self._accounts.find(domain.group(2), domain.group(1))
        else:
            raise RequestError(500, f"There is no method {call.name} of {call.path}")
        names = [str(each).lstrip("/") for each in call.parameter or []]
        if user is None:
            return {CLASS: "PortalUser", **dict.fromkeys(names)}
        if user.uid != session.user.uid:
            _require_administrator(session)
        known = _user_attributes(user)
        return {CLASS: "PortalUser", **{name: known.get(name) for name in names}}


def _user_attributes(user: User) -> dict[str, Any]:
    first, _, last = user.full_name.partition(" ")
    return {
        "uid": user.uid,
        "name": user.name,
        "displayName": user.full_name,
        "firstName": first,
        "lastName": last,
        "role": user.role,
        "baseObjectRef": f"objs/{user.uid}/PortalUser/{user.name}",
    }


def _require_administrator(session: Session) -> None:
    if not session.user.is_administrator:
        raise RequestError(403, "Permission denied")


def _parse_filter(value: Any) -> Callable[[dict[str, Any]], bool]:
    if not isinstance(value, dict) or value.get("restriction") != "eq":
        raise RequestError(500, "a query can only filter by eq")
    field, wanted = str(value.get("field")), str(value.get("value"))
    if value.get(CLASS) == "RefFilter":
        field = {"owner": "ownerName"}.get(field, field)
    if value.get(CLASS) == "BooleanFilter":
        return lambda row: str(row.get(field)).lower() == wanted
    return lambda row: str(row.get(field)) == wanted

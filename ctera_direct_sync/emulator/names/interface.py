"""The portal's API for names: which call a request is, who makes it, and its answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from ..messages import Request, Response, html_response
from . import webdav
from .accounts import ROLE_SETTINGS, Accounts, Session, User
from .calls import Call, RequestError
from .describe import Describer, format_local_time, split_reference
from .directory import Directory
from .feed import Feed
from .feed_calls import PREFIX, FeedCalls, respond, respond_error
from .feed_calls import identify as identify_feed_call
from .options import PortalOptions
from .resources import Resources
from .tree import Tree
from .views import View
from .wire import CLASS, parse_xml, value_response

_CONTEXTS = ("ServicesPortal", "admin")
_COOKIE = "JSESSIONID"
_TOKEN = "X-CTERA-TOKEN"  # noqa: S105 - the name of a header
_ROLE_PERMISSIONS = (
    *("superUser", "allowRemoteWipe", "allowSSO", "allowSeedingExport", "allowSeedingImport"),
    *("canChangePortalSettings", "canChangeRoles", "canChangeUserEmail", "canChangeUserPassword"),
    *("canManageAllFolders", "canManagePlans", "canManageUsers", "canManageLogSettings"),
    *("allowFoldersFilesPermanentDelete", "canManageLegalHolds", "canManageComplianceSetting"),
)


class Interface:
    """Answers everything below `/ServicesPortal` and `/admin`.

    Args:
        tree: The files and folders.
        accounts: The users and their sessions.
        feed: The change feed.
        options: How the portal behaves.
        prefix: What the portal's paths start with, such as `/tenant`.
        tenant: The name of the portal.
        clock: Returns the time, in seconds since the epoch.
    """

    def __init__(
        self,
        tree: Tree,
        accounts: Accounts,
        feed: Feed,
        options: PortalOptions,
        prefix: str,
        tenant: str,
        clock: Callable[[], float],
    ) -> None:
        self._tree = tree
        self._accounts = accounts
        self._options = options
        self._prefix = prefix
        self._tenant = tenant
        self._clock = clock
        self._resources = Resources(tree, accounts, options)
        self._directory = Directory(tree, accounts)
        self._feed = FeedCalls(feed, tree, options)
        self._methods: dict[str, Callable[[Call, Session], Any]] = {
            "fetchResources": self._fetch_resources,
            "listSnapshots": self._list_snapshots,
            "createApiKey": self._create_key,
            "getApiKeys": self._keys,
            "deleteApiKey": self._delete_key,
            "getSessionToken": self._ticket,
        }
        self._attributes: dict[str, Callable[[Call, Session], Any]] = {
            "currentSession": self._current_session,
            "currentPortal": self._current_portal,
            "version": lambda call, session: self._options.version,
            "currentTime": self._current_time,
            "rolesSettings": self._role_settings,
            "objs": self._directory.cloud_folder,
        }

    def owns(self, path: str) -> bool:
        """Return whether a path is one of the API, of its login page or of WebDAV."""
        return self._split(path) is not None

    def identify(self, method: str, path: str, headers: Any, body: bytes) -> Call | None:
        """Return the call that a request makes, or None if it is not for the API."""
        split = self._split(path)
        if split is None:
            return None
        context, rest = split
        if rest == "webdav" or rest.startswith("webdav/"):
            parts = split_reference(
                f"/{context}/{path[len(self._prefix) + len(context) + 2 :]}", context
            )
            root = "/" + "/".join(parts or ())
            return Call(context, method, rest, root=root, depth=headers.get("Depth"))
        if rest.startswith(PREFIX):
            return identify_feed_call(context, rest, body)
        if method == "POST" and rest in ("api/login", "api/logout", "sso"):
            form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
            return Call(context, rest.rpartition("/")[2], rest, form)
        if method in ("POST", "PUT") and (rest == "api" or rest.startswith("api/")):
            return self._method_call(context, method, rest, body)
        if rest.startswith("api/rolesSettings/"):
            return Call(context, "rolesSettings", rest)
        if rest.startswith("api/objs/"):
            return Call(context, "objs", rest)
        return Call(context, rest.rpartition("/")[2], rest)

    def answer(
        self, request: Request, call: Call, edit: Callable[[Any], Any] | None = None
    ) -> Response:
        """Return the response to a call.

        Args:
            request: The HTTP request.
            call: The call that it makes.
            edit: Returns the value to send in the place of the right one (a fault).
        """
        in_json = self._options.json_answers and "format=jsonext" in request.query.split("&")
        try:
            return self._answer(request, call, in_json, edit)
        except RequestError as error:
            headers = self._fresh_cookie(call) if _is_unsigned(call, error) else {}
            if call.path.startswith(PREFIX):
                return respond_error(error, headers)
            return value_response(
                {CLASS: "Error", "msg": error.message, "rc": error.status},
                in_json=in_json and self._options.json_errors,
                status=error.status,
                headers=headers,
            )

    def _split(self, path: str) -> tuple[str, str] | None:
        if not path.startswith(f"{self._prefix}/"):
            return None
        context, _, rest = path[len(self._prefix) + 1 :].partition("/")
        return (context, unquote(rest)) if context in _CONTEXTS else None

    @staticmethod
    def _method_call(context: str, method: str, path: str, body: bytes) -> Call:
        try:
            value = parse_xml(body)
        except ValueError:
            return Call(context, "malformed", path)
        if method == "PUT" or not isinstance(value, dict):
            return Call(context, path.rpartition("/")[2], path, value)
        name, parameter = str(value.get("name")), value.get("param")
        root, depth, start = None, None, 0
        reference = parameter
        if isinstance(parameter, dict):
            reference, depth = parameter.get("root"), parameter.get("depth")
            found = re.fullmatch(r"\d{1,18}", str(parameter.get("start") or "0"))
            start = int(found.group()) if found else 0
        if isinstance(reference, str):
            parts = split_reference(reference, context)
            root = None if parts is None else "/" + "/".join(parts)
        return Call(context, name, path, parameter, root, depth, start)

    def _answer(
        self,
        request: Request,
        call: Call,
        in_json: bool,
        edit: Callable[[Any], Any] | None,
    ) -> Response:
        if call.path.startswith("public/"):
            return self._public(call, in_json)
        if call.path == "login.html":
            return html_response(200, "Sign in")
        if call.name == "login" and request.method == "POST":
            return self._login(call, in_json)
        if call.name == "sso" and request.method == "POST":
            return self._sso(call, in_json)
        session = self._session(request, call.context)
        if session is None:
            return self._session_over(request, call)
        if call.name == "logout" and request.method == "POST":
            self._accounts.close_session(_cookies(request))
            return value_response("Logout succeed", in_json=in_json)
        if call.path == "webdav" or call.path.startswith("webdav/"):
            return self._webdav(request, call, session)
        if call.path.startswith(PREFIX):
            value = self._feed.answer(request.method, call, session.user)
            return respond(value if edit is None else edit(value))
        headers = {}
        if call.name == "currentSession":
            headers[_TOKEN] = session.token
        value = self._value(request, call, session)
        if edit is not None:
            value = edit(value)
        return value_response(value, in_json=in_json, headers=headers)

    def _value(self, request: Request, call: Call, session: Session) -> Any:
        if call.name == "malformed":
            raise RequestError(500, "The request is not XML")
        if request.method == "GET":
            attribute = self._attributes.get(call.name)
            if attribute is None:
                raise RequestError(404, f"There is no {call.path}")
            return attribute(call, session)
        if request.method == "PUT":
            return self._put(call, session)
        if call.path != "api":
            return self._directory.answer(call, session)
        method = self._methods.get(call.name)
        if method is None:
            raise RequestError(500, f"There is no method {call.name} of {call.path}")
        return method(call, session)

    # Who calls.

    def _session(self, request: Request, context: str) -> Session | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._accounts.bearer_user(token.strip())
            if user is None:
                raise RequestError(401, "The token is not valid")
            return Session(user, context, self._clock(), "")
        session = self._accounts.session(_cookies(request), context)
        if session is None or not self._options.token_required or not session.by_ticket:
            return session
        told = request.headers.get(_TOKEN) == session.token
        return session if told or request.path.endswith("/api/currentSession") else None

    def _session_over(self, request: Request, call: Call) -> Response:
        headers = self._fresh_cookie(call)
        if self._options.session_over == "401":
            response = value_response(
                {CLASS: "Error", "msg": "Session expired", "rc": 401}, in_json=False, status=401
            )
        elif self._options.session_over == "html":
            response = html_response(200, "Sign in")
        else:
            response = html_response(302, "Found")
            headers["Location"] = self._prefix + self._options.login_page
        return response._replace(headers={**response.headers, **headers})

    def _login(self, call: Call, in_json: bool) -> Response:
        form = call.parameter
        name = form.get("j_username", [""])[0]
        password = form.get("j_password", [""])[0]
        user = self._accounts.check_password(name, password, call.context)
        if user is None:
            raise RequestError(403, "Invalid username or password")
        return self._opened(self._accounts.open_session(user, call.context), call, in_json)

    def _sso(self, call: Call, in_json: bool) -> Response:
        user = self._accounts.redeem_ticket(call.parameter.get("ctera_ticket", [""])[0])
        if user is None:
            raise RequestError(403, "The ticket is not valid")
        cookie = self._accounts.open_session(user, call.context, by_ticket=True)
        return self._opened(cookie, call, in_json)

    def _opened(self, cookie: str, call: Call, in_json: bool) -> Response:
        headers = {"Set-Cookie": self._cookie(cookie, call.context)}
        return value_response("Login succeed", in_json=in_json, headers=headers)

    def _fresh_cookie(self, call: Call) -> dict[str, str]:
        """Return the header of a cookie that opens no session, if the portal sends one."""
        if not self._options.fresh_cookie_on_refusal:
            return {}
        return {"Set-Cookie": self._cookie(secrets.token_hex(16).upper(), call.context)}

    def _cookie(self, value: str, context: str) -> str:
        return f"{_COOKIE}={value}; Path={self._prefix}/{context}; HttpOnly"

    def _public(self, call: Call, in_json: bool) -> Response:
        if call.path != "public/publicInfo":
            raise RequestError(404, f"There is no {call.path}")
        info = {
            CLASS: "PublicInfo",
            "name": self._tenant,
            "version": self._options.version,
            "hasWebSSO": self._options.has_web_sso,
        }
        return value_response(info, in_json=in_json)

    # What is called.

    def _view(self, call: Call, session: Session) -> View:
        return View(self._tree, self._accounts, self._options, session.user, call.context)

    def _fetch_resources(self, call: Call, session: Session) -> Any:
        return self._resources.fetch(self._view(call, session), call.context, call.parameter)

    def _list_snapshots(self, call: Call, session: Session) -> Any:
        if not self._options.versions:
            raise RequestError(500, "There is no method listSnapshots")
        view = self._view(call, session)
        return self._resources.snapshots(view, call.context, call.parameter)

    def _webdav(self, request: Request, call: Call, session: Session) -> Response:
        describer = Describer(self._accounts, self._options, call.context)
        view = self._view(call, session)
        return webdav.answer(request, call, view, describer, self._options, self._prefix)

    def _current_session(self, call: Call, session: Session) -> Any:
        user = session.user
        return {
            CLASS: "PortalSession",
            "username": user.name,
            "domain": user.domain,
            "role": user.role,
            "userRef": f"objs/{user.uid}/{self._tenant}/PortalUser/{user.name}",
            "idleTimeout": int(self._options.session_idle_s // 60),
            "fullName": user.full_name,
        }

    def _current_portal(self, call: Call, session: Session) -> Any:
        return self._tenant if call.context == "ServicesPortal" else session.tenant

    def _current_time(self, call: Call, session: Session) -> Any:
        return format_local_time(self._clock(), self._options.utc_offset_s)

    def _role_settings(self, call: Call, session: Session) -> Any:
        kind = call.path.rpartition("/")[2]
        role = next((role for role, name in ROLE_SETTINGS.items() if name == kind), None)
        if role is None:
            raise RequestError(404, f"There is no role {kind}")
        sees = session.user.can_access_end_user_folders if role == session.user.role else False
        settings: dict[str, Any] = {CLASS: "PortalRoleSettings", "name": role}
        settings.update((name, role == "ReadWriteAdmin") for name in _ROLE_PERMISSIONS)
        settings["canAccessEndUserFolders"] = sees
        return settings

    def _put(self, call: Call, session: Session) -> Any:
        if call.path != "api/currentPortal" or call.context != "admin":
            raise RequestError(404, f"There is no {call.path} to set")
        if call.parameter not in ("", None, self._tenant):
            raise RequestError(500, f"There is no portal {call.parameter}")
        session.tenant = call.parameter or None
        return session.tenant

    def _owner(self, call: Call, session: Session) -> User:
        try:
            uid = int(call.parameter)
        except (TypeError, ValueError):
            raise RequestError(500, "The parameter must be the ID of a user") from None
        user = next((user for user in self._accounts.users() if user.uid == uid), None)
        if user is None:
            raise RequestError(404, f"There is no user {uid}")
        if user.uid != session.user.uid and not session.user.is_administrator:
            raise RequestError(403, "Permission denied")
        return user

    def _create_key(self, call: Call, session: Session) -> Any:
        key = self._accounts.add_key(self._owner(call, session))
        return {
            CLASS: "ApiKey",
            "uid": key.uid,
            "accessKey": key.access_key_id,
            "secretKey": key.secret_access_key,
            "activated": True,
        }

    def _keys(self, call: Call, session: Session) -> Any:
        owner = self._owner(call, session)
        return [
            {CLASS: "ApiKey", "uid": key.uid, "accessKey": key.access_key_id, "activated": True}
            for key in self._accounts.keys(owner.uid)
        ]

    def _delete_key(self, call: Call, session: Session) -> Any:
        found = re.fullmatch(r"\d{1,9}", str(call.parameter))
        key = self._accounts.key_by_uid(int(found.group())) if found else None
        if key is None:
            raise RequestError(404, "There is no such key")
        if key.owner != session.user.uid and not session.user.is_administrator:
            raise RequestError(403, "Permission denied")
        self._accounts.remove_key(key.uid)
        return "ok"

    def _ticket(self, call: Call, session: Session) -> Any:
        if call.context != "admin" or not session.user.is_administrator:
            raise RequestError(403, "Permission denied")
        name = call.parameter.get("username") if isinstance(call.parameter, dict) else None
        user = self._accounts.find(str(name))
        if user is None:
            raise RequestError(404, f"There is no user {name}")
        return self._accounts.add_ticket(user)


def _is_unsigned(call: Call, error: RequestError) -> bool:
    """Return whether a call failed because it has no session, or got none."""
    return error.status == 401 or call.name in ("login", "sso")


def _cookies(request: Request) -> list[str]:
    """Return the values of all session cookies of a request."""
    found = []
    for header in request.headers.get_all("Cookie") or []:
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == _COOKIE:
                found.append(value.strip('"'))
    return found

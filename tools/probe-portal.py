"""Ask a real portal what its clients do not tell, by reading alone, and print an anonymised report.

    python tools/probe-portal.py https://tenant.ctera.com alice "/My Files/a folder with some files"

The password comes from CTERA_DIRECT_PASSWORD or a prompt. It is sent once, for each context that is asked.
With CTERA_DIRECT_ACCESS_KEY_ID the program also asks what that key opens.

Nothing on the portal is created, changed or deleted. The report has no names, hosts, IDs, times or tokens.
It has placeholders in their place, such as <host 2>, which are the same wherever the same thing stands.
Read it before you send it. `docs/reference/unseen.md` says where to.
"""

from __future__ import annotations

import argparse
import datetime
import email.utils
import getpass
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))

import requests

from ctera_direct_sync._protocol.messages import MalformedAnswer, is_page, parse, render_call
from ctera_direct_sync._protocol.names import check_path

CONTEXTS = ("ServicesPortal", "admin")
TIMEOUTS = (10, 60)
#: Files that are looked at closely.
SAMPLES = 5
#: Files of which the change feed is read until they are found, at most.
MAX_EVENTS = 2000

_DAV = "{DAV:}"
_CTERA = "{http://www.ctera.com/ns}"
_PROPFIND = (
    b'<?xml version="1.0"?><d:propfind xmlns:d="DAV:" xmlns:c="http://www.ctera.com/ns"><d:prop>'
    b"<d:getlastmodified/><d:getcontentlength/><c:fileid/><c:guid/></d:prop></d:propfind>"
)
#: Words of messages that are shown. A message may quote names, so all others are hidden.
_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "a access allowed an and api argument attribute authentication bad be between cannot "
        "cursor denied does error exceed exceeds exist expired failed fault folder folders for "
        "found greater has have id ids in internal invalid is large less limit list login long "
        "malformed many max maximum method missing must no not null number object of or out page "
        "parameter password path permission portal range request required server session size "
        "such supported than the there timeout to too token unable unauthorized unknown "
        "unsupported user username valid value version with wrong you ",
    )
)
_ROLES = ("EndUser", "ReadWriteAdmin", "ReadOnlyAdmin", "Support", "ComplianceOffer", "Disabled")
_ERROR_TYPES = ("DestinationNotExists", "PermissionDenied", "Conflict", "InvalidName", "ReadOnly")
_KNOWN_PATHS = ("/ServicesPortal/login.html", "/admin/login.html", "/ServicesPortal/", "/admin/")
_KNOWN_HOSTS = ("login.microsoftonline.com",)


class Anonymizer:
    """Puts the same placeholder in the place of the same thing, and notes what must not be shown."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}
        self._hidden: set[str] = set()

    def hide(self, value: object) -> None:
        """Never show a text, wherever it stands."""
        text = str(value or "")
        if len(text) > 2:
            self._hidden.update({text, quote(text)})

    def name(self, kind: str, value: object) -> str:
        """Return the placeholder of a value."""
        self.hide(value)
        known = self._known.setdefault(kind, {})
        return known.setdefault(str(value), f"<{kind} {len(known) + 1}>")

    def host(self, host: str | None) -> str:
        """Return what may be shown of a host."""
        return str(host) if host in _KNOWN_HOSTS else self.name("host", host)

    def url(self, url: str) -> str:
        """Return what may be shown of a URL: its shape."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{self.host(parts.hostname)}" if parts.netloc else ""
        if parts.path in _KNOWN_PATHS or not parts.path:
            path = parts.path
        else:
            path = "".join("/<part>" for part in parts.path.split("/") if part)
            path += ".html" if parts.path.endswith(".html") else ""
        return f"{origin}{path}{'?<query>' if parts.query else ''}"

    def words(self, text: str) -> str:
        """Return a message with only such words and numbers as tell nothing of anyone."""
        shown = []
        for word in re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9\s]", text)[:40]:
            is_limit = word.isdigit() and ("between" in text or "exceed" in text)
            shown.append(word if word.lower() in _WORDS or is_limit or len(word) == 1 else "...")
        return " ".join(shown)

    def check(self, line: str) -> str:
        """Return a line without anything that must not be shown."""
        for text in sorted(self._hidden, key=len, reverse=True):
            # A name may be an ordinary word of this report, which tells nothing.
            if text.lower() not in _WORDS:
                line = re.sub(rf"(?<![\w]){re.escape(text)}(?![\w])", "<hidden>", line)
        return line


class Portal:
    """Sends requests to one context of a portal, and follows no redirect."""

    def __init__(self, baseurl: str, context: str, verify: bool | str) -> None:
        self.context = context
        self.root = f"{baseurl}/{context}"
        self._verify = verify
        self.cookies: dict[str, str] = {}

    def send(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        *,
        cookies: dict[str, str] | None = None,
        json: Any = None,
        timeouts: tuple[float, float] = TIMEOUTS,
    ) -> requests.Response:
        """Send a request with the session's cookie, or with others. The path may be a whole URL."""
        with requests.Session() as session:
            # Without it, requests adds what a netrc file has for the host.
            session.auth = lambda request: request
            return session.request(
                method,
                path if "://" in path else self.root + path,
                data=body,
                json=json,
                headers=headers or {},
                cookies=self.cookies if cookies is None else cookies,
                allow_redirects=False,
                timeout=timeouts,
                verify=self._verify,
            )

    def call(self, name: str, parameter: Any, **options: Any) -> requests.Response:
        """Call a method of v1."""
        body = render_call(name, parameter)
        headers = {"Content-Type": "text/xml; charset=UTF-8", **options.pop("headers", {})}
        return self.send("POST", "/api?format=jsonext", body, headers, **options)

    def fetch(self, path: str, depth: object, limit: int, **more: Any) -> requests.Response:
        """Call fetchResources."""
        root = f"/{self.context}/webdav{quote(path, safe='/') if path != '/' else ''}"
        parameter = {"root": root, "depth": depth, "start": 0, "limit": limit, **more}
        return self.call("fetchResources", {"$class": "FetchResourcesParam", **parameter})

    def sign_in(self, username: str, password: str) -> requests.Response:
        """Send the form of a sign-in, and keep the cookies of its answer."""
        form = {"j_username": username, "j_password": password}
        answer = self.send("POST", "/api/login", form, cookies={})
        self.cookies = answer.cookies.get_dict()
        return answer


def content_of(answer: requests.Response) -> Any:
    """Return the value that an answer holds, or None."""
    try:
        return parse(answer.content)
    except MalformedAnswer:
        return None


class Probe:
    """Asks the questions of one user in one context, and yields the lines of the report.

    Args:
        portal: The context of the portal.
        anonymizer: Decides what is shown.
        folder: A folder with some files.
        access_key_id: A key for Direct IO, or None.
    """

    def __init__(
        self, portal: Portal, anonymizer: Anonymizer, folder: str, access_key_id: str | None
    ) -> None:
        self._portal = portal
        self._hide = anonymizer
        self._folder = folder
        self._key = access_key_id
        self._files: list[dict[str, Any]] = []
        self._folder_id: int | None = None

    def run(self, username: str, password: str) -> Iterator[str]:
        """Sign in, ask everything, and sign out."""
        yield from self._section("who answers", self._public)
        answer = self._portal.sign_in(username, password)
        yield f"- sign-in: {self._shape(answer)}; cookies: {len(self._portal.cookies)}"
        if not 200 <= answer.status_code < 300 or not self._portal.cookies:
            yield "- the sign-in was refused, so nothing more is asked here, and it is not repeated"
            return
        for value in self._portal.cookies.values():
            self._hide.hide(value)
        try:
            for title, ask in (
                ("who is signed in", self._session),
                ("1. a session that is over", self._over),
                ("2. one ID, three places", self._listing),
                ("2. previous versions", self._versions),
                ("3. the first reading of the change feed", self._feed),
                ("5. cursors", self._cursors),
                ("6. limits", self._limits),
                ("7. bearer tokens", self._bearers),
                ("8. times", self._times),
                ("what else is not known", self._others),
            ):
                yield from self._section(title, ask)
        finally:
            self._portal.send("POST", "/api/logout", {})

    def _section(self, title: str, ask: Callable[[], Iterator[str]]) -> Iterator[str]:
        yield f"### {title}"
        try:
            for line in ask():
                yield f"- {line}"
        except (
            requests.RequestException,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            ElementTree.ParseError,
        ) as error:
            # Its text may quote a URL.
            yield f"- it failed: {type(error).__name__}"

    def _shape(self, answer: requests.Response) -> str:
        """Return what may be shown of an answer."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        value = content_of(answer)
        parts = [str(answer.status_code), kind or "no content type"]
        if "Location" in answer.headers:
            parts.append(f"Location {self._hide.url(answer.headers['Location'])}")
        if not answer.content:
            parts.append("empty")
        elif is_page(kind, answer.content):
            parts.append("a web page")
        elif value is None:
            parts.append("neither JSON nor XML")
        else:
            parts.append(f"{'XML' if answer.content.lstrip()[:1] == b'<' else 'JSON'}")
        if isinstance(value, dict):
            if isinstance(value.get("msg"), str):
                parts.append(f"msg: {self._hide.words(value['msg'])}")
            details = value.get("details")
            if isinstance(details, list) and details and isinstance(details[0], dict):
                parts.append(f"error: {self._hide.words(str(details[0].get('error')))}")
            if value.get("errorType"):
                kind = str(value["errorType"])
                parts.append(f"errorType {kind if kind in _ERROR_TYPES else '...'}")
        if "Set-Cookie" in answer.headers:
            parts.append("sets a cookie")
        return ", ".join(parts)

    # --- the questions ---------------------------------------------------------------------------

    def _public(self) -> Iterator[str]:
        answer = self._portal.send("GET", "/public/publicInfo?format=jsonext", cookies={})
        value = content_of(answer) or {}
        self._hide.hide(value.get("name"))
        version = str(value.get("version") or "")
        yield f"publicInfo: {answer.status_code}; hasWebSSO {value.get('hasWebSSO')!r}"
        yield f"version {version if re.fullmatch(r'[0-9.]{1,30}', version) else 'not told'}"

    def _session(self) -> Iterator[str]:
        answer = self._portal.send("GET", "/api/currentSession?format=jsonext")
        value = content_of(answer) or {}
        role = value.get("role")
        for member in ("username", "userRef", "domain", "fullName"):
            self._hide.hide(value.get(member))
        yield f"currentSession: {self._shape(answer)}"
        yield f"role {role if role in _ROLES else 'another'}; of a directory: {bool(value.get('domain'))}"
        yield f"idleTimeout {value.get('idleTimeout')!r}"
        yield f"userRef begins with objs/: {str(value.get('userRef')).startswith('objs/')}"
        yield f"X-CTERA-TOKEN in the answer: {'X-CTERA-TOKEN' in answer.headers}"

    def _over(self) -> Iterator[str]:
        bogus = {"JSESSIONID": "0" * 32}
        for title, cookies in (("no cookie", {}), ("an unknown cookie", bogus)):
            answer = self._portal.call("fetchResources", {}, cookies=cookies)
            yield f"v1, {title}: {self._shape(answer)}"
            answer = self._changes({"folder_ids": [], "cursor": None}, cookies=cookies)
            yield f"v2, {title}: {self._shape(answer)}"
            answer = self._propfind(self._folder, "0", cookies=cookies)
            yield f"WebDAV, {title}: {answer.status_code}"

    def _propfind(self, path: str, depth: str, **options: Any) -> requests.Response:
        return self._portal.send(
            "PROPFIND",
            f"/webdav{quote(path, safe='/')}",
            _PROPFIND,
            {"Depth": depth, "Content-Type": "text/xml; charset=UTF-8"},
            **options,
        )

    def _listing(self) -> Iterator[str]:
        answer = self._portal.fetch(self._folder, 1, 100)
        value = content_of(answer) or {}
        yield f"a listing: {self._shape(answer)}"
        items = value.get("items") or []
        for item in items:
            self._hide.hide(item.get("name"))
            self._hide.hide(item.get("fileId"))
        root = value.get("root") or {}
        info = root.get("cloudFolderInfo") or {}
        uid = str(info.get("uid") or "")
        self._folder_id = int(uid) if uid.isdigit() else None
        for member in ("uid", "name", "groupUid", "ownerUid", "ownerFriendlyName"):
            self._hide.hide(info.get(member))
        folders = [item for item in items if item.get("isFolder") in (True, "true")]
        self._files = [item for item in items if item not in folders][:SAMPLES]
        yield f"items {len(items)}, folders among them {len(folders)}, hasMore {value.get('hasMore')!r}"
        yield f"root told: {bool(root)}; members of an item: {self._members(items)}"
        yield f"folders have a fileId: {sorted({bool(each.get('fileId')) for each in folders})}"
        yield f"size of folders: {sorted({_size_word(each.get('size')) for each in folders})}"
        yield f"files have a fileId: {sorted({bool(each.get('fileId')) for each in self._files})}"
        names = [str(item.get("name")) for item in items]
        is_by_letters = names == sorted(names, key=str.casefold)
        yield f"in the order of names: {names == sorted(names)}; ignoring case: {is_by_letters}"
        slashes = sorted({str(each.get("href")).endswith("/") for each in folders})
        yield f"href of folders ends in a slash: {slashes}"
        yield from self._dav_ids()

    def _members(self, items: list[Any]) -> str:
        members = sorted({str(name) for item in items for name in item})
        return ", ".join(name for name in members if re.fullmatch(r"\$?[A-Za-z]{1,30}", name))

    def _dav_ids(self) -> Iterator[str]:
        answer = self._propfind(self._folder, "1")
        yield f"PROPFIND: {answer.status_code}"
        if answer.status_code != 207:
            return
        found = {}
        for element in ElementTree.fromstring(answer.content).iter(f"{_DAV}response"):
            href = unquote(element.findtext(f"{_DAV}href") or "").rstrip("/")
            found[href.rpartition("/")[2]] = element
        same = {"the same": 0, "different": 0, "not told": 0}
        for item in self._files:
            element = found.get(str(item.get("name")))
            told = None if element is None else element.findtext(f".//{_CTERA}fileid")
            key = "not told" if not told else "different"
            same["the same" if told and told == str(item.get("fileId")) else key] += 1
            guid = "" if element is None else element.findtext(f".//{_CTERA}guid") or ""
            self._hide.hide(guid)
            item["guid"] = guid
        yield f"fileId of the listing and ctera:fileid: {same}"
        shapes = {re.sub(r"[0-9a-fA-F]", "x", str(item.get("guid")))[:60] for item in self._files}
        yield f"shapes of ctera:guid: {sorted(re.sub(r'[^x:-]', '?', shape) for shape in shapes)}"

    def _versions(self) -> Iterator[str]:
        for item in self._files[:SAMPLES]:
            reference = str(item.get("href"))
            answer = self._portal.call("listSnapshots", reference)
            value = content_of(answer)
            title = self._hide.name("file", item.get("name"))
            if not isinstance(value, list):
                yield f"{title}: {self._shape(answer)}"
                continue
            ids = []
            for version in value[:SAMPLES]:
                href = str(version.get("url")) + str(version.get("path"))
                path = unquote(href.partition("/webdav")[2])
                told = (content_of(self._portal.fetch(path, 0, 1)) or {}).get("root") or {}
                ids.append(told.get("fileId"))
                self._hide.hide(told.get("fileId"))
                if told.get("fileId"):
                    yield f"{title}: {self._directio(told['fileId'])}"
            yield (
                f"{title}: versions {len(value)}; with a fileId: {sum(map(bool, ids))} of {len(ids)}; "
                f"distinct IDs: {len(set(map(str, ids)))}; today's among them: "
                f"{str(item.get('fileId')) in set(map(str, ids))}"
            )

    def _directio(self, file_id: object) -> str:
        if not self._key:
            return "/directio was not asked: no access key ID was given"
        url = f"{self._portal.root.rpartition('/')[0]}/directio/{file_id}"
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = self._portal.send("GET", url, headers=headers, cookies={})
        return f"/directio answers {answer.status_code}"

    def _changes(self, body: dict[str, Any], **options: Any) -> requests.Response:
        return self._portal.send(
            "POST", "/v2/api/metadata/list", json={"max_results": 100, **body}, **options
        )

    def _ids(self) -> list[int]:
        return [] if self._folder_id is None else [self._folder_id]

    def _feed(self) -> Iterator[str]:
        answer = self._changes(
            {"folder_ids": self._ids(), "cursor": None, "max_results": MAX_EVENTS}
        )
        value = content_of(answer)
        yield f"metadata/list: {self._shape(answer)}"
        if not isinstance(value, dict) or not isinstance(value.get("entries"), list):
            return
        events = [event for event in value["entries"] if isinstance(event, dict)]
        for event in events:
            for member in ("guid", "parent_guid", "name", "id", "folder_id", "gvsn"):
                self._hide.hide(event.get(member))
        yield f"events {len(events)}, has_more {value.get('has_more')!r}; members: {self._members(events)}"
        types = sorted({self._hide.words(str(event.get("type"))) for event in events})
        yield f"types: {types}; deleted: {sum(bool(event.get('deleted')) for event in events)}"
        places = {event.get("guid"): place for place, event in reversed(list(enumerate(events)))}
        later = sum(places.get(e.get("parent_guid"), -1) > place for place, e in enumerate(events))
        yield f"parents that come after their child: {later}"
        yield f"guids more than once: {len(events) - len(places)}"
        known = {str(event.get("guid")): str(event.get("id")) for event in events}
        same = [
            known[item["guid"]] == str(item.get("fileId"))
            for item in self._files
            if item.get("guid") in known
        ]
        equal, different = same.count(True), same.count(False)
        yield f"id of an event and fileId of its listing: {equal} equal, {different} different"
        self._cursor = value.get("cursor")

    _cursor: Any = None

    def _cursors(self) -> Iterator[str]:
        answer = self._changes({"folder_ids": self._ids(), "cursor": "not a cursor"})
        yield f"a malformed cursor: {self._shape(answer)}"
        if isinstance(self._cursor, str):
            self._hide.hide(self._cursor)
            answer = self._changes({"folder_ids": [], "cursor": self._cursor})
            yield f"the cursor of one folder, for all folders: {self._shape(answer)}"
            answer = self._changes({"folder_ids": self._ids(), "cursor": self._cursor[:-8]})
            yield f"a cursor that was cut: {self._shape(answer)}"

    def _limits(self) -> Iterator[str]:
        if self._folder_id is not None:
            answer = self._changes({"folder_ids": self._ids() * 20_000, "cursor": None})
            yield f"20,000 folder IDs: {self._shape(answer)}"
        for number in (2_000, 10_000, 100_000):
            body = {"folder_ids": self._ids(), "cursor": None, "max_results": number}
            came = self._changes(body)
            entries = (content_of(came) or {}).get("entries") if came.ok else None
            yield f"max_results {number}: {self._shape(came)}; events {_count(entries)}"
        for number in (100, 1_000, 5_000):
            came = self._portal.fetch(self._folder, 1, number)
            items = (content_of(came) or {}).get("items")
            yield f"limit {number} of a listing: {self._shape(came)}; items {_count(items)}"
        if isinstance(self._cursor, str):
            began = time.monotonic()
            body = {"folder_ids": self._ids(), "cursor": self._cursor, "timeout": 2_000}
            answer = self._portal.send("POST", "/v2/api/metadata/longpoll", json=body)
            took = time.monotonic() - began
            yield f"longpoll with timeout 2000: {self._shape(answer)}, after {took:.0f} s"

    def _bearers(self) -> Iterator[str]:
        if not self._key:
            yield "not asked: no access key ID was given"
            return
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = self._portal.send(
            "GET", "/api/currentSession?format=jsonext", headers=headers, cookies={}
        )
        yield f"v1 with an access key ID: {self._shape(answer)}"
        answer = self._changes({"folder_ids": [], "cursor": None}, headers=headers, cookies={})
        yield f"v2 with an access key ID: {self._shape(answer)}"

    def _times(self) -> Iterator[str]:
        answer = self._portal.send("GET", "/api/currentTime?format=jsonext")
        told = _time(content_of(answer))
        sent = _http_time(answer.headers.get("Date"))
        if told and sent:
            yield f"currentTime is ahead of the Date header by {_minutes(told - sent)} minutes"
        answer = self._propfind(self._folder, "1")
        if answer.status_code != 207:
            return
        ahead = set()
        for element in ElementTree.fromstring(answer.content).iter(f"{_DAV}response"):
            name = unquote(element.findtext(f"{_DAV}href") or "").rstrip("/").rpartition("/")[2]
            gmt = _http_time(element.findtext(f".//{_DAV}getlastmodified"))
            item = next((each for each in self._files if each.get("name") == name), None)
            local = _time(None if item is None else item.get("lastmodified"))
            if gmt and local:
                ahead.add(_minutes(local - gmt))
        yield f"lastmodified is ahead of WebDAV's by these minutes: {sorted(ahead)}"

    def _others(self) -> Iterator[str]:
        path = f"{self._folder.rstrip('/')}/there is no such thing 4711"
        yield f"stat of an unknown path: {self._listed(self._portal.fetch(path, 0, 1))}"
        yield f"a listing of an unknown path: {self._listed(self._portal.fetch(path, 1, 100))}"
        for item in self._files[:1]:
            name = f"{self._folder.rstrip('/')}/{item.get('name')}"
            yield f"a listing of a file: {self._listed(self._portal.fetch(name, 1, 100))}"
        answer = self._portal.fetch(self._folder, "Infinity", 100)
        yield f"depth Infinity without filters: {self._listed(answer)}"
        answer = self._portal.fetch(self._folder, 1, 100, includeDeleted=True)
        items = (content_of(answer) or {}).get("items") or []
        deleted = [item for item in items if item.get("isDeleted") in (True, "true")]
        for item in deleted:
            self._hide.hide(item.get("name"))
            self._hide.hide(item.get("fileId"))
        with_id = sum(bool(each.get("fileId")) for each in deleted)
        yield f"deleted items {len(deleted)}, with a fileId {with_id}"
        filters = [
            {"$class": "SearchFilter", "field": "name", "operator": "contains", "value": "e"}
        ]
        answer = self._portal.fetch(self._folder, "Infinity", 100, searchFilters=filters)
        yield f"searchFilters: {self._listed(answer)}"

    def _listed(self, answer: requests.Response) -> str:
        value = content_of(answer)
        if not isinstance(value, dict):
            return self._shape(answer)
        for item in value.get("items") or []:
            self._hide.hide(item.get("name"))
            self._hide.hide(item.get("fileId"))
        root = "told" if value.get("root") else "null" if "root" in value else "absent"
        return (
            f"{self._shape(answer)}; root {root}, items {_count(value.get('items'))}, "
            f"hasMore {value.get('hasMore')!r}"
        )


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, list) else "none"


def _size_word(size: Any) -> str:
    return "null" if size is None else "0" if str(size) == "0" else "more than 0"


def _time(text: Any) -> datetime.datetime | None:
    match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(text))
    return datetime.datetime.fromisoformat(match.group()) if match else None


def _http_time(text: str | None) -> datetime.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").replace(tzinfo=None)
    except (ValueError, TypeError, IndexError):
        return None


def _minutes(difference: datetime.timedelta) -> int:
    return round(difference.total_seconds() / 60)


def report(
    baseurl: str,
    username: str,
    password: str,
    folder: str,
    *,
    contexts: tuple[str, ...] = ("ServicesPortal",),
    access_key_id: str | None = None,
    verify: bool | str = True,
) -> Iterator[str]:
    """Yield the lines of the report."""
    anonymizer = Anonymizer()
    for secret in (password, username, access_key_id, *username.split("\\")):
        anonymizer.hide(secret)
    for part in folder.split("/"):
        anonymizer.hide(part)
    anonymizer.host(urlsplit(baseurl).hostname)
    # Shown only when all is known that must be hidden.
    lines = ["# A portal, asked by tools/probe-portal.py"]
    for context in contexts:
        lines.append(f"## /{context}")
        portal = Portal(baseurl.rstrip("/"), context, verify)
        probe = Probe(portal, anonymizer, check_path(folder), access_key_id)
        try:
            lines += probe.run(username, password)
        except requests.RequestException as error:
            lines.append(f"- the portal did not answer: {type(error).__name__}")
    yield from map(anonymizer.check, lines)


def main() -> int:
    """Ask the portal, and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="the portal, such as https://tenant.ctera.com")
    parser.add_argument("username", help="the user name; domain\\user for a user of a directory")
    parser.add_argument("folder", help="a folder with some files, such as '/My Files/test'")
    parser.add_argument(
        "--context",
        action="append",
        choices=CONTEXTS,
        help="ask in this context; give it twice for both (default: ServicesPortal)",
    )
    parser.add_argument("--ca", help="the path of a CA bundle to verify certificates with")
    options = parser.parse_args()
    password = os.environ.get("CTERA_DIRECT_PASSWORD") or getpass.getpass("Password: ")
    for line in report(
        options.url,
        options.username,
        password,
        options.folder,
        contexts=tuple(options.context or ("ServicesPortal",)),
        access_key_id=os.environ.get("CTERA_DIRECT_ACCESS_KEY_ID"),
        verify=options.ca or True,
    ):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How the portal behaves where portals may differ: one option for each unknown."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from ..options import check_option
from .feed_options import FeedOptions

SessionOver = Literal["302", "401", "html"]
Order = Literal["name", "folders-first", "created", "reversed"]
FolderSize = Literal["zero", "null", "total"]
Infinity = Literal["all", "children"]
Denied = Literal["errorType", "403"]

_CHOICES = {
    "session_over": get_args(SessionOver),
    "order": get_args(Order),
    "folder_size": get_args(FolderSize),
    "infinity": get_args(Infinity),
    "denied": get_args(Denied),
}
_POSITIVE = ("page_cap", "max_limit", "lock_after")


@dataclasses.dataclass
class PortalOptions:
    """What the portal does where real portals are not known, or differ.

    Each option may be changed while the emulator runs.

    Attributes:
        session_over: What a call without a valid session gets: a redirect to `login_page`, status 401,
            or status 200 with the login page in HTML.
        login_page: Where `session_over="302"` redirects to.
        session_idle_s: Seconds without a request after which a session is over.
        fresh_cookie_on_refusal: Whether a refused call sets a new JSESSIONID, which opens no session.
        token_required: Whether a session that was opened with a ticket must send `X-CTERA-TOKEN`.
        access_keys_are_bearers: Whether an access key ID signs API calls in as a bearer token.
        json_answers: Whether `?format=jsonext` is understood. If not, answers stay in XML.
        json_errors: Whether `?format=jsonext` also applies to answers that report an error.
        file_id_changes_on_write: Whether a file gets another ID when its content is overwritten.
        file_id_changes_on_move: Whether a file gets another ID when it is renamed or moved.
        file_id_changes_on_undelete: Whether a file gets another ID when it is undeleted.
        versions_have_ids: Whether previous versions are served by Direct IO, each under an ID of its own.
        deleted_have_ids: Whether deleted files are listed with their ID, and served by Direct IO.
        files_have_ids: Whether files are listed with a `fileId`. Older portals do not know it.
        folders_have_ids: Whether folders are listed with a `fileId`.
        folder_size: The `size` of a folder: 0, null, or the bytes of the files below it.
        href_ends_in_slash: Whether the `href` of a folder ends in a slash.
        page_cap: The largest number of items in one answer, whatever `limit` the client sends.
        max_limit: The largest `limit` that a listing may ask for. More is refused. None: any.
        root_in_listings: Whether a listing tells the folder itself as its `root`. A stat always does.
        order: The order of the items in a listing.
        infinity: What a listing of depth `Infinity` without filters gives: all below, or the children.
        search_filters: Whether `searchFilters` is understood. If not, only `searchCriteria` is.
        denied: How a listing of a folder without permission is refused: `errorType`, or status 403.
        stat_error_type: Whether a stat of an unknown path has an `errorType`, too.
        utc_offset_s: How far the portal's local time, as in `lastmodified`, is ahead of UTC, in seconds.
        webdav_file_ids: Whether WebDAV knows the property `ctera:fileid`.
        versions: Whether `listSnapshots` is known.
        version: The portal's software version.
        has_web_sso: Whether the portal has single sign-on. If so, it refuses the passwords of users that
            come from a directory.
        lock_after: Wrong passwords in a row after which an account is locked. None: never.
        feed: How the change feed behaves.
    """

    session_over: SessionOver = "302"
    login_page: str = "/ServicesPortal/login.html"
    session_idle_s: float = 1800.0
    fresh_cookie_on_refusal: bool = True
    token_required: bool = False
    access_keys_are_bearers: bool = True
    json_answers: bool = True
    json_errors: bool = False
    file_id_changes_on_write: bool = True
    file_id_changes_on_move: bool = False
    file_id_changes_on_undelete: bool = False
    versions_have_ids: bool = True
    deleted_have_ids: bool = True
    files_have_ids: bool = True
    folders_have_ids: bool = False
    folder_size: FolderSize = "zero"
    href_ends_in_slash: bool = False
    page_cap: int | None = None
    max_limit: int | None = None
    root_in_listings: bool = True
    order: Order = "name"
    infinity: Infinity = "all"
    search_filters: bool = True
    denied: Denied = "errorType"
    stat_error_type: bool = False
    utc_offset_s: int = 0
    webdav_file_ids: bool = True
    versions: bool = True
    version: str = "8.3.1000.10"
    has_web_sso: bool = False
    lock_after: int | None = None
    feed: FeedOptions = dataclasses.field(default_factory=FeedOptions)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an option.

        Raises:
            AttributeError: There is no such option.
            ValueError: The option cannot have this value.
        """
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"{name!r} is not an option of the portal")
        check_option(name, value, _CHOICES, _POSITIVE)
        super().__setattr__(name, value)

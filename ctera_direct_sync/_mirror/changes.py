"""What to read on the portal: nothing, some folders, or everything. The change feed tells it.

An event tells which folders may have changed, and not what is in them: those folders are listed. So it
does not matter whether a portal sends events for what is in a folder that was moved, in which order
events come, or how often. If anything is not certain, everything is read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterator
from typing import Literal, NamedTuple

from .._base.cancellation import CancelScope
from ..exceptions import AccessDeniedError, CursorRejectedError, NamespaceError
from ..types import Event
from .feed_map import Content, FeedMap, ObjectPlace
from .options import MirrorOptions, Names
from .spill import PathSet, Spill
from .state import State
from .trash import STAMP_FORMAT, is_older
from .values import join, split

__all__ = ["Changes", "Reading", "proof_of"]

_log = logging.getLogger(__name__)

#: The change feed may have lost an event. So the source is read now and then all the same.
_MAX_DAYS_WITHOUT_WALK = 1.0
#: With more news than this, listing everything is hardly dearer.
_MAX_NEWS = 5000
#: Fewer folders are always listed one by one.
_FEW_FOLDERS = 4
#: How many objects the portal is asked for, to find out where the source is on the feed.
_MAX_QUESTIONS = 5
_MAX_CANDIDATES = 50
_MAX_DEPTH = 500


class Reading(NamedTuple):
    """What to read on the portal.

    Attributes:
        kind: How much of the source.
        folders: With "folders": the folders to list.
        deep: With "folders": new or moved folders, in which everything is read.
        stale: Files whose content may be another one, though a listing need not show it.
    """

    kind: Literal["nothing", "folders", "all"]
    folders: frozenset[str] = frozenset()
    deep: frozenset[str] = frozenset()
    stale: Container[str] = frozenset()


def proof_of(name: str, file_id: int) -> str:
    """Return the text that stands for a file of a name and a file ID in the sets of a run."""
    return f"{file_id}/{name}"


class _Contents:
    """The contents that events told, by the names of their files.

    Args:
        texts: An empty collection, which is used for them.
    """

    def __init__(self, texts: PathSet) -> None:
        self._texts = texts

    def add(self, name: str, content: Content) -> None:
        """Add a content."""
        size = "unknown" if content.size is None else content.size
        self._texts.update(f"{content.file_id}/{each}/{name}" for each in (size, "any"))

    def __contains__(self, item: tuple[str, Content]) -> bool:
        """Return whether there is an equal one. A size that is not told may be any."""
        name, (file_id, size) = item
        sizes = ("any",) if size is None else (size, "unknown")
        return any(f"{file_id}/{each}/{name}" in self._texts for each in sizes)


class Changes:
    """The change feed of the source's cloud folder, as one run reads it.

    Args:
        names: Reads the feed.
        scope: The scope that cancels the run.
        source: The path of the source.
        state: The state.
        options: The arguments of the mirror.
        spill: Makes collections.

    Attributes:
        cursor: From where on the feed tells what is new, or None without a feed.
        proven: What the feed calls deleted, by `proof_of`.
    """

    def __init__(
        self,
        names: Names,
        scope: CancelScope,
        source: str,
        state: State,
        options: MirrorOptions,
        spill: Spill,
    ) -> None:
        self._names = names
        self._scope = scope
        self._source = source
        self._state = state
        self._feed: FeedMap = state.feed
        self._options = options
        self._folder_id: int | None = None
        self._is_chain_broken = False
        self.cursor: str | None = None
        self._spill = spill
        self.proven = spill.path_set()

    # --- reading ---------------------------------------------------------------------------------

    def read(self, folder_id: int | None) -> Reading:
        """Read the feed to its end, and tell what to read on the portal.

        Args:
            folder_id: The cloud folder of the source. None: the source is above cloud folders.

        Raises:
            NamespaceError: The feed cannot be read, and the user wants it or another call would fail, too.
        """
        self._folder_id = folder_id
        if self._options.feed is False:
            return Reading("all")
        if folder_id is None:
            if self._options.feed:
                raise NamespaceError(
                    "It is not in one cloud folder, so it has no change feed: use feed=None or False",
                    self._source,
                )
            return Reading("all")
        before = self._state.get("cursor")
        try:
            try:
                self._read_feed(before, folder_id)
            except CursorRejectedError:
                before = None
                self._read_feed(None, folder_id)
        except NamespaceError as error:
            # The user may not read the feed, or the portal has none.
            if self._options.feed or type(error) not in (NamespaceError, AccessDeniedError):
                raise
            self._scope.check()
            _log.info("%s: the change feed cannot be read (%s)", self._source, error)
            self.cursor = None
            return Reading("all")
        reading = self._choose()
        return (
            reading if before is not None and self._is_trusted() else reading._replace(kind="all")
        )

    def _is_trusted(self) -> bool:
        """Return whether the last run was complete, so that only what has changed since matters."""
        walked = self._state.get("walked")
        return (
            self._state.get("clean") == "1"
            and self._state.get("patterns") == self._options.patterns
            and walked is not None
            and not is_older(walked, self._options.now(), _MAX_DAYS_WITHOUT_WALK)
            # The clock may have been wrong at that time.
            and walked <= self._options.now().strftime(STAMP_FORMAT)
        )

    def _read_feed(self, cursor: str | None, folder_id: int) -> None:
        is_inventory = cursor is None
        self._feed.begin(is_inventory=is_inventory)
        deleted = self._spill.texts()
        # What is there as it was is not among the news.
        unchanged = self._spill.path_set()
        for page in self._names.changes(cursor, folder_id):
            self._scope.check()
            self._feed.note(page.events, folder_id)
            for event in page.events:
                # A later event may tell of another object of the same name. The portal is asked again.
                if event.deleted and event.file_id is not None and event.name is not None:
                    deleted[proof_of(event.name, event.file_id)] = event.guid
                elif not event.deleted and not is_inventory:
                    unchanged.add(event.guid)
            cursor = page.cursor
        # Events may come in any order, so an object that is also told to be there may be there.
        self.proven.clear()
        self.proven.update(
            key
            for key, guid in deleted.items()
            if guid not in unchanged and not self._feed.is_alive(guid)
        )
        deleted.clear()
        unchanged.clear()
        self.cursor = cursor

    def is_settled(self) -> bool:
        """Return whether nothing has changed on the portal since `read`.

        Otherwise what was listed may be newer than the cursor: an object may have been at a place of
        which no event tells any more.
        """
        if self.cursor is None or self._folder_id is None:
            return True
        try:
            for page in self._names.changes(self.cursor, self._folder_id):
                self._scope.check()
                if self._feed.has_news(page.events, self._folder_id):
                    return False
        except NamespaceError as error:
            self._scope.check()
            _log.info("%s: the change feed cannot be read (%s)", self._source, error)
            return False
        return True

    # --- choosing --------------------------------------------------------------------------------

    def _choose(self) -> Reading:
        count = self._feed.count(_MAX_NEWS + 1)
        if not count:
            return Reading("nothing")
        chain = self._chain()
        stale = self._spill.path_set()
        stale.update(self._find_stale())
        # Whatever else is read: the map must not keep the place of a source that is elsewhere.
        self._is_chain_broken = self._feed.concerns(chain)
        is_map_whole = bool(chain) and self._state.get("feed map") == "1"
        if count > _MAX_NEWS or self._is_chain_broken or not is_map_whole:
            return Reading("all", stale=stale)
        known = self._known(chain)
        dirty: set[str] = set()
        new_folders: set[tuple[str, str]] = set()
        for news in list(self._feed.news()):
            self._scope.check()
            assert news.parent is not None and news.name is not None
            dirty.update(parent for parent, _ in self._feed.places(news.guid))
            if news.is_deleted:
                continue
            if news.is_folder and news.is_only_place:
                dirty.add(news.guid)
            elif news.is_folder:
                # Also at a place where it was long ago: what is mirrored there may be another folder's.
                new_folders.add((news.parent, news.name))
        folders = self._locate(dirty, known)
        deep: set[str] = set()
        for parent, name in new_folders:
            deep.update(join(above, name) for above in self._feed.paths(parent, known) or ())
        if folders is None:
            return Reading("all", stale=stale)
        if not folders and not deep:
            return Reading("nothing")
        return Reading("folders", frozenset(folders), frozenset(deep), stale)

    def _find_stale(self) -> Iterator[str]:
        """Return the files that have another version, although file ID and size are those of the state.

        The state may know the ID from a listing, while the last event told another one. A renaming gives
        another version as well, also to what is in a folder. So of a file that moved, only another time
        of the file itself counts.
        """
        texts = self._spill.path_set()
        found = _Contents(texts)
        for news in self._feed.news():
            if news.is_folder or news.is_deleted or news.name is None:
                continue
            content = news.content
            if not news.has_places or (news.is_known_place and content is None):
                continue
            if content is None or self._feed.is_moved(news.guid):
                for name, each in self._feed.rewritten(news):
                    found.add(name, each)
            else:
                found.add(news.name, content)
        if texts:
            for path, content in self._state.files():
                if (split(path)[1], content) in found:
                    yield path
        texts.clear()

    def _locate(self, guids: set[str], known: dict[str, frozenset[str] | None]) -> set[str] | None:
        """Return the mirrored folders that are, or that hold, some folders. None: read everything."""
        found: set[str] = set()
        for guid in guids:
            paths = self._feed.paths(guid, known)
            if paths is None:
                return None
            for path in paths:
                if self._options.filter.excludes(path, True):
                    continue
                while path and ((entry := self._state.entry(path)) is None or not entry.is_dir):
                    path = split(path)[0]
                found.add(path)
        if len(found) > _FEW_FOLDERS and 2 * len(found) > self._state.count_folders():
            return None
        return found

    def _chain(self) -> list[tuple[str, str]]:
        """Return guid and name of the folders from the cloud folder to the source, if they are known."""
        text = self._state.get("feed chain")
        return [] if text is None else [(guid, name) for guid, name in json.loads(text)]

    @staticmethod
    def _known(chain: list[tuple[str, str]]) -> dict[str, frozenset[str] | None]:
        """Return the paths below the source that are certain, by guid. Those above have none."""
        known: dict[str, frozenset[str] | None] = {guid: frozenset() for guid, _ in chain}
        known[chain[-1][0]] = frozenset({""})
        return known

    # --- the end of a run ---------------------------------------------------------------------------

    def check_map(
        self, paths: frozenset[str], listed: frozenset[str], *, has_walked: bool
    ) -> tuple[str, bool]:
        """Find out whether the feed has told of everything that is mirrored.

        Args:
            paths: The folders that were read in full. The empty path: the source.
            listed: The folders that were listed, but not what is below them.
            has_walked: Whether the whole source was read.

        Returns:
            The chain of folders from the cloud folder to the source, as text, and whether the feed tells
            of everything. If not, everything must be read after each change.
        """
        if self.cursor is None:
            return "[]", False
        chain = [] if self._is_chain_broken else self._chain()
        if not chain and has_walked:
            chain = self._find_chain()
        if not chain:
            return "[]", False
        root = chain[-1][0]
        guids = {"": [root]}
        for path in paths | listed:
            above = [root]
            for name in path.split("/") if path else ():
                above = [
                    each for guid in above for each in self._feed.in_folder(guid).get(name, ())
                ]
            guids[path] = above
        is_covered = all(self._is_covered(path, guids[path]) for path in paths) and all(
            # A listing may be ahead of the feed.
            self._is_covered(path, guids[path], is_deep=False)
            for path in listed
        )
        return json.dumps(chain), is_covered

    def _is_covered(self, path: str, guids: list[str], *, is_deep: bool = True) -> bool:
        waiting = [(path, guids)]
        while waiting:
            self._scope.check()
            path, guids = waiting.pop()
            told: dict[str, list[str]] = {}
            for guid in guids:
                for name, found in self._feed.in_folder(guid).items():
                    told.setdefault(name, []).extend(found)
            for name, is_dir in self._state.names_in(path):
                if name not in told:
                    _log.info("%s: the feed has not told of %r", self._source, join(path, name))
                    return False
                if is_dir and is_deep:
                    waiting.append((join(path, name), told[name]))
        return True

    def _find_chain(self) -> list[tuple[str, str]]:
        """Find the source among the objects of the feed, with the help of the portal."""
        questions = candidates = 0
        for known in self._state.entries():
            candidates += 1
            if candidates > _MAX_CANDIDATES or questions >= _MAX_QUESTIONS:
                break
            parts = known.path.split("/")
            for guid in self._feed.named(parts[-1]):
                steps = self._climb(guid)
                if len(steps) <= len(parts) or [name for _, name in steps[-len(parts) :]] != parts:
                    continue
                questions += 1
                if self._path_of(guid, parts[-1]) == f"{self._source.rstrip('/')}/{known.path}":
                    return steps[: -len(parts)]
        return []

    def _climb(self, guid: str) -> list[tuple[str, str]]:
        """Return guid and name of the folders above an object, and of itself, the highest first."""
        steps: list[tuple[str, str]] = []
        while len(steps) < _MAX_DEPTH:
            places = self._feed.places(guid)
            if len(places) != 1:
                return [] if places else [(guid, ""), *steps]
            ((parent, name),) = places
            steps.insert(0, (guid, name))
            guid = parent
        return []

    def _path_of(self, guid: str, name: str) -> str | None:
        event = Event("file", guid, None, self._folder_id, name, False, None, None, None, {})
        try:
            return self._names.path_of(event)
        except NamespaceError as error:
            self._scope.check()
            _log.info("%s: the portal gives no path for an object (%s)", self._source, error)
            return None

    def places_without_entry(self) -> tuple[list[ObjectPlace], list[ObjectPlace]]:
        """Find the places where the state has nothing, of the objects that the news tell of.

        Returns:
            The places that the news do not tell, and those that they do.
        """
        chain = self._chain() if self.cursor is not None else []
        if not chain or self._is_chain_broken or self._feed.count(_MAX_NEWS + 1) > _MAX_NEWS:
            return [], []
        known = self._known(chain)

        def is_empty(place: ObjectPlace) -> bool:
            _, parent, name = place
            paths = self._feed.paths(parent, known)
            if not paths:
                return False
            return all(self._state.entry(join(path, name)) is None for path in paths)

        told: set[ObjectPlace] = set()
        untold: set[ObjectPlace] = set()
        for news in list(self._feed.news()):
            if not news.is_deleted and news.parent is not None and news.name is not None:
                told.add((news.guid, news.parent, news.name))
            untold.update((news.guid, *place) for place in self._feed.places(news.guid))
        return [p for p in untold - told if is_empty(p)], [p for p in told if is_empty(p)]

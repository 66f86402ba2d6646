"""What is not known of real portals, either way: the same calls work, or say what is missing."""

from __future__ import annotations

import datetime
from typing import Any, Callable

import pytest

from ctera_direct_sync import DirectIO, LoginError, Namespace, NamespaceError, Settings
from ctera_direct_sync.emulator import Emulator

PATH = "/My Files/reports/a.pdf"
EITHER = pytest.mark.parametrize("either", [True, False])


@pytest.fixture
def read(portal: Emulator, names: Namespace, quick: Settings) -> Any:
    """Return a function that reads a file by its path, ID or entry."""
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, settings=quick, namespace=names) as client:
        yield lambda file: b"".join(block.data for block in client.stream(file))


@EITHER
def test_ids_that_change(portal: Emulator, read: Callable[[Any], bytes], either: bool) -> None:
    """A path leads to the content that is there, whatever a change makes of the ID."""
    options = portal.portal_options
    options.file_id_changes_on_write = options.file_id_changes_on_move = either
    options.file_id_changes_on_undelete = either
    assert read(PATH) == b"%PDF a"
    portal.tree.overwrite(PATH, b"written")
    assert read(PATH) == b"written"
    portal.tree.rename(PATH, "b2.pdf")
    moved = "/My Files/reports/b2.pdf"
    assert read(moved) == b"written"
    portal.tree.delete(moved)
    with pytest.raises(FileNotFoundError):
        read(moved)
    portal.tree.undelete(moved)
    assert read(moved) == b"written"


@EITHER
def test_versions_with_and_without_ids(
    portal: Emulator, names: Namespace, read: Callable[[Any], bytes], either: bool
) -> None:
    """The path of a version is read if the portal gives it an ID, and else the error says why not."""
    portal.portal_options.versions_have_ids = either
    portal.tree.overwrite(PATH, b"written")
    old = names.versions(PATH)[0].path
    if either:
        assert read(old) == b"%PDF a"
    else:
        with pytest.raises(NamespaceError, match="no file ID") as without:
            read(old)
        assert without.value.filename == old


@EITHER
def test_deleted_files_with_and_without_ids(
    portal: Emulator, names: Namespace, read: Callable[[Any], bytes], either: bool
) -> None:
    """A deleted entry is read if the portal gives it an ID."""
    portal.portal_options.deleted_have_ids = either
    portal.tree.delete(PATH)
    listed = names.listdir("/My Files/reports", include_deleted=True)
    (entry,) = [entry for entry in listed if entry.is_deleted]
    assert (entry.path, entry.file_id is not None) == (PATH, either)
    if either:
        assert read(entry) == b"%PDF a"
    else:
        with pytest.raises(NamespaceError, match="no file ID"):
            read(entry)


def test_files_without_ids(
    portal: Emulator, names: Namespace, read: Callable[[Any], bytes]
) -> None:
    """An older portal lists files without IDs: names work, and reading says what is missing."""
    portal.portal_options.files_have_ids = False
    assert names.stat(PATH).file_id is None
    with pytest.raises(NamespaceError, match=r"no file ID .* upgrade") as without:
        read(PATH)
    assert without.value.filename == PATH


def test_the_zone_of_times(portal: Emulator, names: Namespace) -> None:
    """The portal tells no zone, so a time is the portal's local one, called UTC."""
    before = names.stat(PATH).modified
    portal.portal_options.utc_offset_s = 7200
    assert before is not None
    assert names.stat(PATH).modified == before + datetime.timedelta(hours=2)


@EITHER
def test_access_keys_as_bearers(
    portal: Emulator, make_names: Callable[..., Namespace], either: bool
) -> None:
    """An access key ID signs in where the portal takes it, and else the error is told."""
    portal.portal_options.access_keys_are_bearers = either
    names = make_names(bearer=portal.access_key_id)
    if either:
        assert names.exists(PATH)
    else:
        with pytest.raises(LoginError, match="bearer token"):
            names.exists(PATH)


@EITHER
def test_users_of_a_directory(
    portal: Emulator, make_names: Callable[..., Namespace], either: bool
) -> None:
    """Where the portal has single sign-on it may refuse their passwords: it is told once."""
    portal.portal_options.has_web_sso = either
    portal.accounts.add("bob", "pw", full_name="Bob", domain="corp")
    names = make_names("corp\\bob", "pw")
    if not either:
        assert names.exists("/")
        return
    for _ in range(2):
        with pytest.raises(LoginError, match="user name and password"):
            names.exists("/")
    assert len(portal.log.records(call="login")) == 1


@pytest.mark.parametrize("json_errors", [True, False])
@pytest.mark.parametrize("json_answers", [True, False])
def test_errors_in_either_dialect(
    portal: Emulator, names: Namespace, json_answers: bool, json_errors: bool
) -> None:
    """The message of a refusal is told, whether it comes as JSON or as XML."""
    portal.portal_options.json_answers = json_answers
    portal.portal_options.json_errors = json_errors
    portal.portal_options.versions = False
    with pytest.raises(NamespaceError, match="There is no method listSnapshots"):
        names.versions(PATH)

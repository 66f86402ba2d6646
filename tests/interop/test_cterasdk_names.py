"""The emulator's names by someone else's judgement: the vendor's clients sign in, list and search."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from ctera_direct_sync.emulator import Emulator

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 10), reason="cterasdk 2.20.50 needs Python 3.10"),
    # The collector warns of connections that the vendor's client leaves open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ODD_NAMES = ["a b.txt", "100% +#?.txt", "r\u00e9sum\u00e9.pdf", "\U0001f4a7.bin", "e\u0301.txt"]
TREE = {
    "readme.txt": b"read me first",
    "reports": {
        "a.pdf": b"%PDF a",
        "b.pdf": b"%PDF b",
        "2026": {"budget.xlsx": b"numbers", "notes.txt": b"the quick brown fox"},
    },
    "odd": {name: name.encode() for name in ODD_NAMES},
    "many": {f"file-{number:03}.bin": b"x" for number in range(250)},
}


@pytest.fixture(scope="module")
def portal() -> Iterator[Emulator]:
    """A portal with a tree; TLS, for the vendor's client takes a port with https alone."""
    with Emulator(tls=True, tree=TREE) as emulator:
        emulator.accounts.add("ann", "pw&+ \u00e9", full_name="Ann Lee")
        emulator.tree.add_cloud_folder("Team", {"plan.txt": b"plan"}, owner="ann")
        yield emulator


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop that the vendor's synchronous clients run on, too."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture(scope="module")
def vendor(loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The vendor's package, which trusts any certificate here."""
    import cterasdk
    import cterasdk.clients.clients
    import cterasdk.settings

    if cterasdk.clients.clients.event_loop.is_closed():  # Another module closed it.
        cterasdk.clients.clients.event_loop = asyncio.new_event_loop()
    with pytest.MonkeyPatch.context() as patch:
        core, direct = cterasdk.settings.core, cterasdk.settings.io.direct
        for client in (core.syn, core.asyn, direct.api, direct.storage):
            patch.setattr(client.settings.connector, "ssl", False)
        yield cterasdk
    cterasdk.clients.clients.event_loop.close()


@pytest.fixture(scope="module")
def sign_in(portal: Emulator, vendor: Any) -> Iterator[Callable[..., Any]]:
    """Sign in with one of the vendor's synchronous clients; all are signed out at the end."""
    clients = []

    def make(kind: str = "ServicesPortal", name: str = "", password: str = "") -> Any:
        parts = urlsplit(portal.url)
        client = getattr(vendor, kind)(parts.hostname, parts.port)
        clients.append(client)
        client.login(name or portal.username, password or portal.password)
        return client

    yield make
    for client in clients:
        client.logout()


@pytest.fixture(scope="module")
def user(sign_in: Callable[..., Any]) -> Any:
    """The vendor's client, signed in as the default user."""
    return sign_in()


@pytest.fixture(scope="module")
def admin(sign_in: Callable[..., Any]) -> Any:
    """The vendor's client, signed in as an administrator."""
    return sign_in("GlobalAdmin")


def paths(resources: Any) -> list[str]:
    """Return the paths of what was listed."""
    return [str(resource.path) for resource in resources]


def test_session(portal, user):
    """A login tells who signed in, with which role, at which portal of which version."""
    account = user.session().account
    assert (account.name, account.domain, account.tenant) == (portal.username, None, "emulator")
    assert (account.role.name, account.role.access_end_user_folders) == ("ReadWriteAdmin", True)
    assert user.session().software_version is not None


def test_password_with_odd_characters(sign_in):
    """A password reaches the portal as it is."""
    client = sign_in(name="ann", password="pw&+ \u00e9")
    assert paths(client.files.listdir("")) == ["Team"]


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_wrong_password(sign_in, vendor, name):
    """A wrong password and an unknown name are refused as the client expects it."""
    with pytest.raises(vendor.exceptions.auth.AuthenticationError):
        sign_in(name=name, password="wrong")


def test_public_info(user):
    """The public information names the portal and its version."""
    assert user.public_info().name == "emulator"


def test_list_in_pages(user):
    """A folder of more than two pages is listed whole, in order, each item once."""
    listed = list(user.files.listdir("My Files/many"))
    assert [resource.name for resource in listed] == sorted(TREE["many"])
    assert {resource.size for resource in listed} == {1}


def test_odd_names(user):
    """Names with any character come back as they are."""
    assert sorted(paths(user.files.listdir("My Files/odd"))) == sorted(
        f"My Files/odd/{name}" for name in ODD_NAMES
    )
    for name in ODD_NAMES:
        assert user.files.properties(f"My Files/odd/{name}").size == len(name.encode())


def test_properties(portal, user):
    """A file's properties hold its ID, size and cloud folder."""
    found = user.files.properties("My Files/reports/a.pdf")
    assert found.id == portal.tree.file_id("/My Files/reports/a.pdf")
    assert (found.name, found.size, found.is_dir, found.deleted) == ("a.pdf", 6, False, False)
    assert (found.volume.name, found.volume.owner.name) == ("My Files", "Demo User")
    assert found.extension == ".pdf"


def test_unknown_path(user, vendor):
    """What is not there is not there, and listing it is the client's own error."""
    assert not user.files.exists("My Files/none")
    with pytest.raises(vendor.exceptions.io.core.GetMetadataError):
        user.files.properties("My Files/none")
    with pytest.raises(vendor.exceptions.io.core.GetMetadataError):
        list(user.files.listdir("My Files/none"))


def test_walk(portal, user):
    """A walk meets every file of the tree."""
    found = {str(each.path): each.id for each in user.files.walk("My Files") if not each.is_dir}
    assert len(found) == 1 + 2 + 2 + len(ODD_NAMES) + 250
    for path, file_id in found.items():
        assert file_id == portal.tree.file_id(f"/{path}")


def test_walk_as_administrator(admin):
    """An administrator sees everyone's cloud folders below their full names."""
    found = paths(admin.files.walk("Users/Ann Lee"))
    assert found == ["Users/Ann Lee/Team", "Users/Ann Lee/Team/plan.txt"]


def test_versions(portal, user):
    """An overwritten file has two versions, each of which has its own ID."""
    before = portal.tree.create("/My Files/versions/v.txt", b"one")
    after = portal.tree.overwrite("/My Files/versions/v.txt", b"two, longer")
    old, new = user.files.versions("My Files/versions/v.txt")
    assert (old.current, new.current) == (False, True)
    assert old.start_time < old.end_time == new.start_time
    found = [user.files.properties(version.path) for version in (old, new)]
    assert [(each.id, each.size) for each in found] == [(before, 3), (after, 11)]


def test_cloud_folders(admin, vendor):
    """An administrator lists all cloud folders, and one user's."""
    every = list(admin.cloudfs.drives.all(include=["uid", "name", "owner"]))
    assert [folder.name for folder in every] == ["My Files", "Team"]
    ann = vendor.core_types.UserAccount("ann")
    assert [each.name for each in admin.cloudfs.drives.all(user=ann)] == ["Team"]
    assert admin.cloudfs.drives.find("Team", ann, include=["uid"]).uid == every[1].uid


def test_listed_files_are_downloaded(portal, user, loop):
    """The vendor's Direct IO client gets the bytes of what was listed, with a key made for it."""
    from cterasdk.direct.client import DirectIO

    key = user.credentials.s3.create()
    listed = [each for each in user.files.walk("My Files/reports") if not each.is_dir]

    async def download(file_id: int) -> bytes:
        async with DirectIO(portal.url, key.accessKey, key.secretKey) as client:
            streamer = await client.streamer(file_id)
            return b"".join([bytes(block.data) async for block in streamer.start()])

    got = {each.name: loop.run_until_complete(download(each.id)) for each in listed}
    assert got == {
        "a.pdf": b"%PDF a",
        "b.pdf": b"%PDF b",
        "budget.xlsx": b"numbers",
        "notes.txt": b"the quick brown fox",
    }


def test_search(user):
    """The filters of the vendor's client find what they say."""
    from cterasdk.core.types import ContentFilter, FilenameFilter, TypeFilter

    for filters, names in (
        ([FilenameFilter.contains("budg")], ["budget.xlsx"]),
        ([TypeFilter.eq("pdf"), FilenameFilter.ne("a.pdf")], ["b.pdf"]),
        ([ContentFilter.contains("brown fox")], ["notes.txt"]),
    ):
        found = user.files.search("My Files/reports", filters)
        assert [each.name for each in found] == names


def test_deleted_files(portal, user):
    """Deleted files are listed on request, and told from live ones."""
    portal.tree.create("/My Files/trash/d.txt", b"1")
    portal.tree.delete("/My Files/trash/d.txt")
    assert list(user.files.listdir("My Files/trash")) == []
    (found,) = user.files.listdir("My Files/trash", include_deleted=True)
    assert (found.name, found.deleted, found.id is None) == ("d.txt", True, False)


def test_session_over(portal, sign_in, vendor):
    """The vendor's client takes the redirect of an ended session for one."""
    client = sign_in(name="ann", password="pw&+ \u00e9")
    portal.accounts.expire_sessions("ann")
    with pytest.raises(vendor.exceptions.session.SessionExpired):
        client.files.exists("Team")


def test_ticket(portal, admin, vendor):
    """An administrator's ticket signs the vendor's client in as someone else."""
    parts = urlsplit(portal.url)
    ticket = admin.users.generate_ticket("ann", "emulator")
    client = vendor.ServicesPortal(parts.hostname, parts.port)
    client.sso(ticket)
    try:
        assert client.session().account.name == "ann"
        assert paths(client.files.listdir("")) == ["Team"]
    finally:
        client.logout()


def test_webdav(user, portal):
    """The vendor's WebDAV client reads the properties of a folder's children."""
    found = user.io._webdav.propfind("/My Files/reports", 1)
    hrefs = [each.href for each in found]
    start = "/ServicesPortal/webdav/My%20Files/reports/"
    assert hrefs == [start, f"{start}2026/", f"{start}a.pdf", f"{start}b.pdf"]
    assert found[2].getcontentlength == 6


def test_asynchronous_client(portal, vendor, loop):
    """The vendor's asynchronous client signs in, lists, walks, stats and finds versions."""
    parts = urlsplit(portal.url)

    async def browse() -> Any:
        async with vendor.AsyncServicesPortal(parts.hostname, parts.port) as client:
            await client.login(portal.username, portal.password)
            listed = [each.name async for each in client.files.listdir("My Files/many")]
            walked = [str(each.path) async for each in client.files.walk("My Files/reports")]
            found = await client.files.properties("My Files/readme.txt")
            versions = await client.files.versions("My Files/readme.txt")
            await client.logout()
            return listed, walked, found, versions

    listed, walked, found, versions = loop.run_until_complete(browse())
    assert listed == sorted(TREE["many"])
    assert len(walked) == 5
    assert found.id == portal.tree.file_id("/My Files/readme.txt")
    assert [version.current for version in versions] == [True]

"""``django.CteraStorage``: what Django asks of a storage, names that lead elsewhere, and signed links."""

from __future__ import annotations

import asyncio
import datetime
import math
import pickle
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import IsAFolderError, NotAFolderError, PathNotFoundError, Settings
from ctera_direct_sync.emulator import Emulator, faults

pytest.importorskip("ctera_direct_sync.wsgi")
django = pytest.importorskip("django")

from tests.support.django_settings import configure  # noqa: E402
from tests.support.pages import blocks  # noqa: E402

configure()

from asgiref.sync import SyncToAsync  # noqa: E402
from django.conf import settings as django_settings  # noqa: E402
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.files.storage import default_storage, storages  # noqa: E402
from django.db import connections, models  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402

from ctera_direct_sync.django import CteraStorage  # noqa: E402

# test_django_servers.py has Django 4.2, too.
pytestmark = pytest.mark.skipif(
    django.VERSION < (5, 0), reason="Django 4.2 loses the OPTIONS of STORAGES that a test overrides"
)
BACKEND = "ctera_direct_sync.django.CteraStorage"
DATA = b"0123456789" * 5000


class Document(models.Model):
    """A model with a file, as sites have it. No test needs its table."""

    file = models.FileField()

    class Meta:
        """It belongs to no application that is installed."""

        app_label = "of_a_test"


@pytest.fixture
def storage(portal: Emulator, quick: Settings) -> Iterator[CteraStorage]:
    """The default storage of a site: ``/My Files/media`` of the portal."""
    portal.tree.create("/My Files/media/reports/a b ü#?%.pdf", DATA)
    portal.tree.create("/My Files/media/top.txt", b"top\n")
    portal.tree.create("/My Files/outside.txt", b"secret")
    portal.log.clear()
    account = {
        "baseurl": portal.url,
        "access_key_id": portal.access_key_id,
        "secret_access_key": portal.secret_access_key,
        "username": portal.username,
        "password": portal.password,
        "settings": quick,
    }
    site = {"default": {"BACKEND": BACKEND, "OPTIONS": {"location": "/My Files/media"}}}
    with override_settings(
        STORAGES=site,
        CTERA_DIRECT=account,
        ROOT_URLCONF="tests.integrations.django_site",
        USE_TZ=True,
    ):
        yield storages["default"]
        storages["default"].close()


NAME = "reports/a b ü#?%.pdf"


# --- reading -----------------------------------------------------------------------------------------


def test_open(storage: CteraStorage) -> None:
    """A file is a seekable File of Django's, with its size."""
    with storage.open(NAME) as file:
        assert (file.name, file.size) == (NAME, 50_000)
        file.seek(-4, 2)
        assert file.read() == DATA[-4:]
        assert b"".join(file.chunks()) == DATA


def test_open_as_text(storage: CteraStorage) -> None:
    """Mode "r" reads text."""
    with storage.open("top.txt", "r") as file:
        assert file.read() == "top\n"


def test_what_is_there(storage: CteraStorage) -> None:
    """exists, size and listdir tell of files and folders."""
    assert storage.exists(NAME) and storage.exists("reports")
    assert not storage.exists("reports/b.pdf")
    assert storage.size(NAME) == 50_000
    for root in ("", "/", "."):
        assert storage.listdir(root) == (["reports"], ["top.txt"])
    assert storage.listdir("reports/") == ([], ["a b ü#?%.pdf"])


def test_what_is_not_there(storage: CteraStorage) -> None:
    """A missing file is FileNotFoundError, as of Django's own storage; a folder has no size."""
    for call in (storage.open, storage.size, storage.get_modified_time, storage.listdir):
        with pytest.raises(PathNotFoundError) as caught:
            call("missing.pdf")
        assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(IsAFolderError):
        storage.size("reports")
    with pytest.raises(NotAFolderError):
        storage.listdir("top.txt")


def test_modified_time(storage: CteraStorage) -> None:
    """The time is aware with USE_TZ, and naive in Django's zone without."""
    aware = storage.get_modified_time("top.txt")
    assert abs(aware - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(hours=1)
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        naive = storage.get_modified_time("top.txt")
    assert naive == aware.replace(tzinfo=None) + datetime.timedelta(hours=9)


def test_errors_of_the_portal(storage: CteraStorage, portal: Emulator) -> None:
    """A portal that fails is an error, and never "there is no such file"."""
    portal.faults.add("portal", times=None, action=faults.status(503))
    with pytest.raises(OSError, match="portal"):
        storage.exists(NAME)


# --- what it refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda storage: storage.save("a.txt", ContentFile(b"x")),
        lambda storage: storage.delete("top.txt"),
        lambda storage: storage.open("top.txt", "wb"),
        lambda storage: storage.open("top.txt", "r+b"),
        lambda storage: storage.open("top.txt", "a"),
    ],
)
def test_writing(storage: CteraStorage, portal: Emulator, call: Any) -> None:
    """Each call that would write is NotImplementedError, before the portal is asked."""
    with pytest.raises(NotImplementedError, match="read-only"):
        call(storage)
    assert portal.log.total("portal") == 0


def test_local_paths(storage: CteraStorage) -> None:
    """There is no local path, and no time of creation or access."""
    for call in (storage.path, storage.get_created_time, storage.get_accessed_time):
        with pytest.raises(NotImplementedError):
            call("top.txt")


@pytest.mark.parametrize(
    "name",
    ["", "..", ".", "../outside.txt", "reports/../../outside.txt", "reports/./a", "/etc/passwd", "//a",
     "reports//a", "reports/", "..\\outside.txt", "reports\\a", "C:\\a", "a\0b", "/My Files/outside.txt"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["open", "exists", "size", "url", "get_modified_time"])
def test_names_that_lead_elsewhere(
    storage: CteraStorage, portal: Emulator, method: str, name: str
) -> None:
    """They are SuspiciousFileOperation, before the portal is asked."""
    with pytest.raises(SuspiciousFileOperation):
        getattr(storage, method)(name)
    assert portal.log.total("portal") == 0


@pytest.mark.parametrize("name", ["..", "../", "reports/..", "/etc", "a\\b", "./reports"])
def test_folders_that_lead_elsewhere(storage: CteraStorage, name: str) -> None:
    """So it is for listdir."""
    with pytest.raises(SuspiciousFileOperation):
        storage.listdir(name)


# --- links -------------------------------------------------------------------------------------------


def test_link(storage: CteraStorage, portal: Emulator) -> None:
    """A link gives the file, a range of it, and 416 past its end. Making it asks the portal nothing."""
    url = storage.url(NAME)
    assert portal.log.total("portal") == 0
    answer = Client().get(url)
    assert (answer.status_code, answer.getvalue()) == (200, DATA)
    assert answer["Content-Type"] == "application/pdf"
    part = Client().get(url, HTTP_RANGE="bytes=10-19")
    assert (part.status_code, part.getvalue()) == (206, DATA[10:20])
    assert Client().get(url, HTTP_RANGE="bytes=50000-").status_code == 416
    assert Client().head(url)["Content-Length"] == "50000"
    assert Client().post(url).status_code == 405


@pytest.fixture
def _own_executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """asgiref keeps a thread for synchronous code as long as the process lives: here, for one test."""
    with ThreadPoolExecutor(1) as executor:
        monkeypatch.setattr(SyncToAsync, "single_thread_executor", executor)
        yield


def test_link_by_asgi(storage: CteraStorage, _own_executor: None) -> None:
    """The same view serves ASGI, with an asynchronous body."""

    async def visit() -> None:
        # Django's client for tests takes only ASCII for a path; a real server is in another test.
        url = storage.url("top.txt")
        answer = await AsyncClient().get(url, headers={"Range": "bytes=1-2"})
        assert (answer.status_code, answer.is_async) == (206, True)
        assert b"".join([part async for part in answer]) == b"op"
        answer.close()
        missing = await AsyncClient().get(storage.url("missing.pdf"))
        assert missing.status_code == 404
        missing.close()
        refused = await AsyncClient().get(url + "x")
        assert refused.status_code == 403

    asyncio.run(visit())


def _synchronous(get_response: Any) -> Any:
    """A middleware that is not asynchronous."""
    return lambda request: get_response(request)


def test_link_by_asgi_behind_synchronous_middleware(
    storage: CteraStorage, _own_executor: None
) -> None:
    """The body is asynchronous also if a middleware has brought the request to a thread."""

    async def visit() -> None:
        with override_settings(MIDDLEWARE=[f"{__name__}._synchronous"]):
            answer = await AsyncClient().get(storage.url("top.txt"))
            assert (answer.status_code, answer.is_async) == (200, True)
            assert b"".join([part async for part in answer]) == b"top\n"
            answer.close()

    asyncio.run(visit())


def test_link_by_wsgi_makes_no_loop(storage: CteraStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greenlets share the thread of their worker, which has one loop at a time."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", lambda: pytest.fail("it made a loop"))
    assert Client().get(storage.url("top.txt")).getvalue() == b"top\n"


def test_client_is_made_off_the_loop(
    storage: CteraStorage, _own_executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request by ASGI makes the client on another thread: that reads files."""
    url = storage.url("top.txt")
    makers: list[int] = []
    make = CteraStorage._connect

    def note(self: CteraStorage) -> Any:
        makers.append(threading.get_ident())
        return make(self)

    monkeypatch.setattr(CteraStorage, "_connect", note)

    async def visit() -> None:
        answer = await AsyncClient().get(url)
        assert b"".join([part async for part in answer]) == b"top\n"
        answer.close()

    asyncio.run(visit())
    assert makers
    assert threading.get_ident() not in makers


def test_file_that_is_missing(storage: CteraStorage) -> None:
    """A link to a file that is gone is 404."""
    assert Client().get(storage.url("missing.pdf")).status_code == 404


def test_links_that_are_not_valid(storage: CteraStorage, portal: Emulator) -> None:
    """Another name, storage or signature is 403, without a word on why, and the portal is not asked."""
    url = storage.url("top.txt")
    head, alias, signature, name = url.lstrip("/").split("/")
    forged = [
        f"/{head}/{alias}/{signature}/other.txt",
        f"/{head}/{alias}/{signature}/reports/../top.txt",
        f"/{head}/staticfiles/{signature}/{name}",
        f"/{head}/none/{signature}/{name}",
        f"/{head}/{alias}/{signature}x/{name}",
        f"/{head}/{alias}/x/{name}",
        f"/{head}/{alias}/1{signature}/{name}",
    ]
    for each in forged:
        answer = Client().get(each)
        assert (answer.status_code, answer.content) == (
            403,
            b"The link is not valid, or has expired.\n",
        )
    assert portal.log.total("portal") == 0


def test_link_of_a_name_with_a_colon(storage: CteraStorage, portal: Emulator) -> None:
    """No part of the name can move into the signature: that would be a link to another file."""
    head, alias, signature, name = storage.url("top.txt:draft").lstrip("/").split("/")
    assert name == "top.txt%3Adraft" or name == "top.txt:draft"
    answer = Client().get(f"/{head}/{alias}/draft:{signature}/top.txt")
    assert answer.status_code == 403
    assert portal.log.total("portal") == 0


def test_no_shared_cache_keeps_a_file(storage: CteraStorage) -> None:
    """A cache on the way would serve a file after its link has expired."""
    url = storage.url("top.txt")
    assert Client().get(url)["Cache-Control"] == "private"
    part = Client().get(url, HTTP_RANGE="bytes=0-1")["Cache-Control"]
    assert {each.strip() for each in part.split(",")} == {"no-transform", "private"}


def test_link_with_atomic_requests(storage: CteraStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view works where each request is a transaction, which asynchronous views cannot have."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert Client().get(storage.url("top.txt")).status_code == 200


@pytest.mark.parametrize("expires", [math.nan, 0, -1])
def test_expiry_that_makes_no_sense(storage: CteraStorage, expires: float) -> None:
    """With NaN, a link would never expire."""
    with (
        override_settings(CTERA_DIRECT={**django_settings.CTERA_DIRECT, "expires": expires}),
        pytest.raises(ImproperlyConfigured, match="expires"),
    ):
        storage.url("top.txt")


def test_link_that_expires(storage: CteraStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is valid for an hour, or for as long as the site says."""
    url = storage.url("top.txt")
    now = time.time()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + 3590)
    assert Client().get(url).status_code == 200
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + 3610)
    assert Client().get(url).status_code == 403
    with override_settings(CTERA_DIRECT={**django_settings.CTERA_DIRECT, "expires": math.inf}):
        assert Client().get(url).status_code == 200


def test_file_field(storage: CteraStorage) -> None:
    """A FileField opens, measures and links its file."""
    document = Document(file=NAME)
    assert document.file.size == 50_000
    with document.file.open() as file:
        assert file.read(10) == DATA[:10]
    assert Client().get(document.file.url, HTTP_RANGE="bytes=-3").getvalue() == DATA[-3:]
    with pytest.raises(NotImplementedError, match="read-only"):
        document.file.save("b.pdf", ContentFile(b"x"), save=False)


def test_storage_outside_of_the_settings(storage: CteraStorage) -> None:
    """A storage that STORAGES does not name has no links. An equal one has those of its twin."""
    with pytest.raises(ImproperlyConfigured, match="STORAGES"):
        CteraStorage(location="/My Files").url("outside.txt")
    twin = CteraStorage(location="/My Files/media")
    assert Client().get(twin.url("top.txt")).getvalue() == b"top\n"


# --- clients and options -----------------------------------------------------------------------------


def test_one_client(storage: CteraStorage) -> None:
    """Storages with the same account share one client. Another account has its own."""
    assert CteraStorage().client is storage.client
    assert CteraStorage(location="/x").names is storage.names
    other = CteraStorage(access_key_id="other")
    assert other.client is not storage.client
    other.close()
    before = storage.client
    storage.close()
    assert storage.client is not before


class _Elsewhere(CteraStorage):
    """A storage of another folder, with the same options."""

    @property
    def location(self) -> str:
        """Its folder."""
        return "/My Files"


def test_subclass_is_another_storage(storage: CteraStorage) -> None:
    """A link to a file of a storage never leads to that of a subclass with the same options."""
    site = {"default": {"BACKEND": f"{__name__}._Elsewhere"}}
    with override_settings(STORAGES=site), pytest.raises(ImproperlyConfigured, match="STORAGES"):
        CteraStorage().url("outside.txt")


def test_settings_that_are_gone(storage: CteraStorage) -> None:
    """New settings never get the client of earlier ones, whose place in memory they may have."""
    for count in range(1, 9):
        client = CteraStorage(settings=Settings(max_workers=count)).client
        assert client.settings.max_workers == count
        client.close()


def test_options_come_from_the_environment(
    portal: Emulator, storage: CteraStorage, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without settings, the account comes from where DirectIO finds it."""
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    with override_settings(CTERA_DIRECT={}):
        plain = CteraStorage(location="/My Files/media")
        assert plain.size("top.txt") == 4
        plain.close()


@pytest.mark.parametrize("common", [{"secret": "x"}, ["x"]])
def test_settings_that_make_no_sense(storage: CteraStorage, common: Any) -> None:
    """An unknown key says which there are."""
    with (
        override_settings(CTERA_DIRECT=common),
        pytest.raises(ImproperlyConfigured, match="baseurl"),
    ):
        CteraStorage().exists("a")


def test_location_that_makes_no_sense(storage: CteraStorage) -> None:
    """A location is an absolute path on the portal."""
    with pytest.raises(ImproperlyConfigured, match="begins with '/'"):
        CteraStorage(location="My Files").exists("a")


def test_secrets_are_hidden(storage: CteraStorage) -> None:
    """No repr and no migration shows a key or the password."""
    from django.db.migrations.writer import MigrationWriter

    secret = CteraStorage(secret_access_key="s3cr3t-1", password="s3cr3t-2", location="/x")
    shown = repr(secret) + repr(vars(secret)) + MigrationWriter.serialize(secret)[0]
    shown += repr(storage) + repr(vars(storage))
    assert "s3cr3t" not in shown
    assert "location='/x'" in shown
    # A field's storage is in the state of a model that is copied.
    assert pickle.loads(pickle.dumps(secret)).location == "/x"


def test_default_storage(storage: CteraStorage) -> None:
    """Django's own proxy reads through it."""
    assert default_storage.open("top.txt").read() == b"top\n"


def test_page(storage: CteraStorage) -> None:
    """The settings and URLs that the page shows make a site."""
    page: dict[str, Any] = {}
    for name in ("django-storage", "django-storage-urls"):
        (code,) = blocks("django.md", name)
        exec(code, page)
    urls: Any = types.ModuleType("urls_of_the_page")
    urls.urlpatterns = page["urlpatterns"]
    with override_settings(STORAGES=page["STORAGES"], ROOT_URLCONF=urls):
        assert Client().get(default_storage.url("top.txt")).getvalue() == b"top\n"

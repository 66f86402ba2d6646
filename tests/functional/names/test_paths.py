"""Files by ID, entry and path in each method of the client."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import threading
import traceback

import pytest
import requests

from ctera_direct_sync import (
    BlockError,
    DirectIO,
    DirectIOError,
    IsAFolderError,
    LoginError,
    NamespaceError,
    NotFoundError,
    PathNotFoundError,
    StreamError,
)
from ctera_direct_sync.emulator import faults

PATH = "/My Files/reports/a.pdf"
DATA = b"%PDF a"


@pytest.fixture
def client(portal, quick, names):
    """A client that looks paths up in `names`."""
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, settings=quick, namespace=names) as client:
        yield client


@pytest.fixture
def make_client(portal, quick, monkeypatch):
    """Make a client whose own Namespace signs in by the environment."""
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    with contextlib.ExitStack() as stack:

        def make(**options):
            keys = portal.access_key_id, portal.secret_access_key
            client = DirectIO(portal.url, *keys, **{"settings": quick, **options})
            return stack.enter_context(client)

        yield make


def data_of(blocks):
    """Return the bytes of some blocks."""
    return b"".join(block.data for block in blocks)


METHODS = {
    "metadata": lambda client, file, folder: client.metadata(file).size == len(DATA) and DATA,
    "blocks": lambda client, file, folder: data_of(f.result() for f in client.blocks(file)),
    "iter_blocks": lambda client, file, folder: data_of(client.iter_blocks(file)),
    "stream": lambda client, file, folder: data_of(client.stream(file)),
    "streamer": lambda client, file, folder: data_of(client.streamer(file).start()),
    "open": lambda client, file, folder: client.open(file).read(),
    "download": lambda client, file, folder: (
        client.download(file, folder / "a") and (folder / "a").read_bytes()
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_takes_id_entry_and_path(method, client, names, tmp_path):
    """A file ID, an entry and a path lead to the same bytes."""
    entry = names.stat(PATH)
    for file in (entry.file_id, entry, PATH):
        assert METHODS[method](client, file, tmp_path) == DATA


def test_kinds_that_name_no_file(client, names):
    """A folder, a missing path, another text and an entry without an ID each have their own error."""
    folder = names.stat("/My Files/reports")
    for wrong in ("/My Files/reports", folder):
        with pytest.raises(IsAFolderError) as is_folder:
            client.metadata(wrong)
        assert is_folder.value.filename == "/My Files/reports"
    with pytest.raises(PathNotFoundError) as missing:
        client.metadata("/My Files/none.pdf")
    assert missing.value.filename == "/My Files/none.pdf"
    with pytest.raises(TypeError, match=r"pass int\('12345'\)"):
        client.metadata("12345")
    with pytest.raises(TypeError, match="begins with '/'"):
        client.metadata("a.pdf")
    with pytest.raises(TypeError, match="its ID"):
        client.metadata(b"/My Files")
    with pytest.raises(ValueError, match="negative"):
        client.metadata(-1)


def test_executor_takes_an_id_alone(client):
    """The label of an executor is an ID, not a path."""
    with pytest.raises(TypeError):
        client.executor(client.metadata(PATH), PATH)


def forgotten(answer):
    """Return the answer of a lookup with a file ID that the portal does not know."""
    return {**answer, "root": {**answer["root"], "fileId": 999}}


def test_the_id_is_looked_up_once_more(portal, client):
    """A path is looked up again if the portal forgot its ID meanwhile, once for each call."""
    edit = faults.answer(forgotten)
    portal.faults.add("portal", call="fetchResources", action=edit)
    assert data_of(client.stream(PATH)) == DATA
    lookups = [request for request in portal.requests if request.call == "fetchResources"]
    assert len(lookups) == 2
    portal.faults.add("portal", call="fetchResources", times=None, action=edit)
    with pytest.raises(NotFoundError) as gone:
        client.metadata(PATH)
    assert gone.value.filename == PATH
    lookups = [request for request in portal.requests if request.call == "fetchResources"]
    assert len(lookups) == 4


def test_a_path_leads_to_what_is_there_now(portal, client, names):
    """An overwritten file is found by its path at once. Its old entry is taken at its ID."""
    portal.portal_options.file_id_changes_on_write = True
    old = names.stat(PATH)
    assert data_of(client.stream(PATH)) == DATA
    portal.tree.overwrite(PATH, b"%PDF new")
    assert data_of(client.stream(PATH)) == b"%PDF new"
    portal.remove(old.file_id)
    asked = len(portal.requests)
    with pytest.raises(NotFoundError) as gone:
        client.metadata(old)
    assert gone.value.filename == PATH
    assert {request.call for request in portal.requests[asked:]} == {None}


def test_errors_carry_the_path(portal, client):
    """Errors of blocks and streams name the path; their block has the number. Pickling keeps both."""
    file_id = portal.tree.file_id(PATH)
    portal.faults.add("storage", file_id, times=None, action=faults.status(404))
    with pytest.raises(StreamError) as ended:
        list(client.stream(PATH))
    with pytest.raises(BlockError) as failed:
        client.blocks(PATH)[0].result()
    for error in (ended.value, failed.value):
        for same in (error, pickle.loads(pickle.dumps(error))):
            assert same.filename == PATH
            assert repr(PATH) in str(same)
    assert failed.value.block.file_id == file_id


def test_an_expired_session_is_renewed(portal, client):
    """A session that is over does not end a call by path."""
    client.metadata(PATH)
    portal.accounts.expire_sessions()
    assert data_of(client.stream(PATH)) == DATA


def test_a_client_makes_one_namespace_for_all_threads(portal, make_client):
    """Many threads that look paths up first share one session, which close signs out of."""
    client = make_client()
    barrier = threading.Barrier(8)
    sizes = []

    def work():
        barrier.wait()
        sizes.append(client.metadata(PATH).size)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [len(DATA)] * 8
    client.close()
    calls = [request.call for request in portal.requests if request.where == "portal"]
    assert calls.count("login") == 1
    assert calls.count("logout") == 1


def test_a_given_namespace_stays_open(client, names):
    """Closing the client leaves the Namespace that it was given."""
    client.metadata(PATH)
    client.close()
    assert names.exists(PATH)


def test_a_wrong_password_is_told_once(portal, make_client, monkeypatch):
    """The portal is asked once, and the client remembers. The password is nowhere in the error."""
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", "not-the-password")
    client = make_client()
    for _ in range(2):
        with pytest.raises(LoginError) as refused:
            client.metadata(PATH)
        text = "".join(
            traceback.TracebackException.from_exception(refused.value, capture_locals=True).format()
        )
        assert "not-the-password" not in text
    assert [request.call for request in portal.requests].count("login") == 1


def test_without_an_account_the_error_names_the_variables(make_client, monkeypatch):
    """A path needs an account, an ID does not."""
    monkeypatch.delenv("CTERA_DIRECT_PASSWORD")
    client = make_client()
    with pytest.raises(ValueError, match=r"set CTERA_DIRECT_PASSWORD, .*namespace="):
        client.metadata(PATH)


def test_secrets_stay_where_they_belong(portal, make_client):
    """No cookie and no call of names reaches the storage. No repr has a secret."""
    headers = []

    def make_session():
        session = requests.Session()
        session.hooks["response"].append(lambda answer, **_: headers.append(answer.request.headers))
        return session

    client = make_client(session=make_session)
    assert data_of(client.stream(PATH)) == DATA
    assert headers
    assert not any("Cookie" in each for each in headers)
    assert all(request.call is None for request in portal.requests if request.where == "storage")
    assert portal.password not in f"{client!r} {vars(client)!r} {vars(client._core)!r}"


def test_a_pickled_client_keeps_its_namespace(client):
    """The copy of a client looks paths up as the client does."""
    with pickle.loads(pickle.dumps(client)) as copy:
        assert data_of(copy.stream(PATH)) == DATA
        copy._core.namespace.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_looks_paths_up(client):
    """A child of the process uses the client with paths."""
    client.metadata(PATH)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if data_of(client.stream(PATH)) == DATA else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("closes", ["client", "namespace"])
def test_closing_ends_a_lookup(closes, portal, client, names):
    """Closing the client or its Namespace ends a lookup under way."""
    fault = portal.faults.add("portal", call="fetchResources", times=None, action=faults.stall())
    errors = []

    def look_up():
        try:
            client.metadata(PATH)
        except DirectIOError as error:
            errors.append(error)

    thread = threading.Thread(target=look_up)
    thread.start()
    assert fault.entered.wait(20)
    (client if closes == "client" else names).close()
    thread.join(20)
    assert not thread.is_alive()
    assert errors[0].errno == errno.ECANCELED
    assert errors[0].filename == PATH
    assert isinstance(errors[0], NamespaceError) == (closes == "namespace")


def test_namespace_is_a_namespace(portal):
    """Another object is refused at once."""
    with pytest.raises(TypeError, match="Namespace"):
        DirectIO(portal.url, "id", "secret", namespace="/My Files")

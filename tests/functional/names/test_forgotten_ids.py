"""A path whose ID the portal no longer knows is looked up once more, in every API that takes a path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync import DirectIO, Namespace, NotFoundError, Settings
from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator, faults

PATH = "/My Files/reports/a.pdf"
DATA = b"%PDF a"


class World:
    """What an API needs to read a file: a client, a folder and the captured output."""

    def __init__(self, portal: Emulator, client: DirectIO, folder: Path, output: Any) -> None:
        self.portal = portal
        self.client = client
        self.folder = folder
        self.output = output

    def run(self, *arguments: str) -> bytes:
        """Run the command line, and return its standard output."""
        self.output.readouterr()
        code = cli.main(list(arguments))
        out, err = self.output.readouterr()
        if code:
            raise FileNotFoundError(err.decode())
        return bytes(out)


def joined(blocks: Any) -> bytes:
    """Return the bytes of some blocks."""
    return b"".join(block.data for block in blocks)


def by_download(world: World) -> bytes:
    """Download to a path."""
    world.client.download(PATH, world.folder / "a")
    return (world.folder / "a").read_bytes()


def by_download_many(world: World) -> bytes:
    """Download a batch of one path."""
    (result,) = world.client.download_many([(PATH, "a")], world.folder, resume=False)
    if result.error is not None:
        raise result.error
    return (world.folder / "a").read_bytes()


def by_listed_batch(world: World) -> bytes:
    """Download a batch whose paths are found by one listing."""
    items = [(PATH, "a"), ("/My Files/reports/b.pdf", "b"), ("/My Files/reports/none", "n")]
    result, other, _ = world.client.download_many(items, world.folder, resume=False)
    assert other.ok
    if result.error is not None:
        raise result.error
    return (world.folder / "a").read_bytes()


def by_wsgi(world: World) -> bytes:
    """Answer a request."""
    wsgi = pytest.importorskip("ctera_direct_sync.wsgi")
    answer = wsgi.file_response(world.client, PATH, {"REQUEST_METHOD": "GET"})
    if answer.code == 404:
        raise NotFoundError("404", PATH)
    return b"".join(answer.body)


def by_fsspec(world: World) -> bytes:
    """Open a path of names by fsspec."""
    filesystem = pytest.importorskip("ctera_direct_sync.filesystem")
    from ctera_direct_sync._fsspec.instances import portal_clients

    fs = filesystem.CteraFileSystem(
        baseurl=world.portal.url,
        username=world.portal.username,
        password=world.portal.password,
        settings=world.client._core.settings,
        skip_instance_cache=True,
    )
    try:
        with fs.open(PATH.lstrip("/")) as file:
            return bytes(file.read())
    finally:
        for client in list(portal_clients.values()):
            client.close()


def by_command(*arguments: str) -> Callable[[World], bytes]:
    """Return a way through the command line that writes to standard output."""
    return lambda world: world.run(*arguments)


def by_download_command(world: World) -> bytes:
    """Download by the command line."""
    world.run("download", PATH, "-p", str(world.folder / "a"), "--quiet")
    return (world.folder / "a").read_bytes()


def by_read_into(world: World) -> bytes:
    """Read into a buffer."""
    buffer = bytearray(len(DATA) + 1)
    return bytes(buffer[: world.client.read_into(PATH, buffer)])


def by_info_command(world: World) -> bytes:
    """Show what the portal says of the file."""
    assert f"Size         {len(DATA)} bytes".encode() in world.run("info", PATH)
    return DATA


APIS: dict[str, Callable[[World], bytes]] = {
    "metadata": lambda world: DATA if world.client.metadata(PATH).size == len(DATA) else b"",
    "blocks": lambda world: joined(future.result() for future in world.client.blocks(PATH)),
    "iter_blocks": lambda world: joined(world.client.iter_blocks(PATH)),
    "stream": lambda world: joined(world.client.stream(PATH)),
    "streamer": lambda world: joined(world.client.streamer(PATH).start()),
    "executor": lambda world: joined(
        future.result() for future in world.client.executor(world.client.metadata(PATH))()
    ),
    "open": lambda world: world.client.open(PATH).read(),
    "read_into": by_read_into,
    "read_ranges": lambda world: world.client.read_ranges(PATH, [(0, len(DATA))])[0],
    "download": by_download,
    "download_many": by_download_many,
    "download_many, listed": by_listed_batch,
    "WSGI": by_wsgi,
    "fsspec": by_fsspec,
    "cat": by_command("cat", PATH),
    "cat --range": by_command("cat", PATH, "--range", f"-{len(DATA)}"),
    "download command": by_download_command,
    "info command": by_info_command,
}


@pytest.fixture
def world(
    portal: Emulator,
    quick: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: Any,
) -> Iterator[World]:
    """A client that looks paths up, and an environment that says who signs in."""
    for name, value in (
        ("URL", portal.url),
        ("ACCESS_KEY_ID", portal.access_key_id),
        ("SECRET_ACCESS_KEY", portal.secret_access_key),
        ("USERNAME", portal.username),
        ("PASSWORD", portal.password),
    ):
        monkeypatch.setenv(f"CTERA_DIRECT_{name}", value)
    with Namespace(settings=quick) as names, DirectIO(settings=quick, namespace=names) as client:
        yield World(portal, client, tmp_path, capfdbinary)


def forget(portal: Emulator, times: int | None) -> None:
    """Let the portal answer lookups with an ID that it does not know."""

    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        items = [
            {**item, "fileId": 999} if item["name"] == "a.pdf" else item for item in answer["items"]
        ]
        root = answer["root"]
        if root is not None and root["name"] == "a.pdf":
            root = {**root, "fileId": 999}
        return {**answer, "root": root, "items": items}

    portal.faults.add("portal", call="fetchResources", times=times, action=faults.answer(edit))


def lookups(portal: Emulator) -> int:
    """Return how often the portal was asked for entries."""
    return len(portal.log.records(call="fetchResources"))


@pytest.mark.parametrize("api", APIS)
def test_an_id_is_forgotten_once(api: str, world: World) -> None:
    """The file is read all the same, by one lookup more."""
    usual = lookups(world.portal)
    assert APIS[api](world) == DATA
    usual = lookups(world.portal) - usual
    forget(world.portal, 1)
    before = lookups(world.portal)
    assert APIS[api](world) == DATA
    assert lookups(world.portal) - before == usual + 1


@pytest.mark.parametrize("api", APIS)
def test_an_id_stays_unknown(api: str, world: World) -> None:
    """After the second lookup the error is told."""
    usual = lookups(world.portal)
    assert APIS[api](world) == DATA
    usual = lookups(world.portal) - usual
    forget(world.portal, None)
    before = lookups(world.portal)
    error = FileNotFoundError if api in NOT_OURS else NotFoundError
    with pytest.raises(error, match=r"a\.pdf"):
        APIS[api](world)
    assert lookups(world.portal) - before == usual + 1


#: What tells a missing file in its own way.
NOT_OURS = ("fsspec", "cat", "cat --range", "download command", "info command")


@pytest.mark.parametrize("api", [api for api in APIS if api != "info command"])
def test_an_overwritten_file_is_found_at_once(api: str, world: World) -> None:
    """Nothing is kept between calls: the next one reads what is at the path then."""
    assert APIS[api](world) == DATA
    world.portal.tree.overwrite(PATH, DATA[::-1])
    if api == "metadata":
        file_id = world.portal.tree.file_id(PATH)
        assert world.client.metadata(PATH).file_id == file_id
    else:
        assert APIS[api](world) == DATA[::-1]


def test_a_range_from_the_end_costs_one_lookup(world: World) -> None:
    """The last bytes of a path are downloaded by one lookup and one block list."""
    before = len(world.portal.log.records(where="portal"))
    target = str(world.folder / "end")
    world.run("download", PATH, "-p", target, "--range", "-2", "--quiet")
    assert Path(target).read_bytes() == DATA[-2:]
    asked = [record.call for record in world.portal.log.records(where="portal")[before:]]
    assert asked.count("fetchResources") == 1
    assert asked.count(None) == 1

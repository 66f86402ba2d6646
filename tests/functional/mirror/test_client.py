"""`client.mirror` against the emulator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync import (
    DirectIO,
    DirectIOError,
    Namespace,
    PathNotFoundError,
    Settings,
)
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.mirror_portal import OWN, local_files

TREE = {
    "a.txt": b"a" * 10,
    "docs": {"b.pdf": b"b" * 250_000, "deep": {"c.bin": bytes(range(256)) * 300}},
    "empty": {},
    "nothing.txt": b"",
}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a small tree."""
    with Emulator(tree=TREE, block_size=100_000) as emulator:
        yield emulator


@pytest.fixture
def names(portal: Emulator) -> Iterator[Namespace]:
    """The user's view of the portal."""
    # Tests count requests, so a busy machine must not send any of them twice.
    account = (portal.url, portal.username, portal.password)
    with Namespace(*account, settings=Settings(hedging=0)) as names:
        yield names


@pytest.fixture
def client(portal: Emulator, names: Namespace) -> Iterator[DirectIO]:
    """A client that looks paths up in this view."""
    keys = (portal.access_key_id, portal.secret_access_key)
    with DirectIO(portal.url, *keys, settings=names.settings, namespace=names) as client:
        yield client


def remote_files(portal: Emulator) -> dict[str, bytes]:
    """Return what the portal has below My Files, by path."""
    found = {}
    for node in portal.tree.walk():
        if not node.is_folder and node.state.file_id is not None:
            parts = [each.name for each in _lineage(node)]
            source = portal._catalog.listed(node.state.file_id).source
            found["/".join(reversed(parts[:-1]))] = bytes(source.read(0, source.size))
    return found


def _lineage(node: object) -> Iterator[object]:
    while node is not None:
        yield node
        node = node.state.parent  # type: ignore[attr-defined]


def test_mirror_follows_the_portal(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """What happens on the portal happens here, and only new bytes are downloaded."""
    result = client.mirror("/My Files", tmp_path)
    assert result[:5] == (4, 0, 0, 0, 0) and result.ok and result.seconds > 0
    assert local_files(tmp_path) == remote_files(portal)
    assert (tmp_path / "empty").is_dir()

    tree = portal.tree
    tree.overwrite("/My Files/a.txt", b"other")
    tree.rename("/My Files/docs", "papers")
    tree.delete("/My Files/nothing.txt")
    tree.create("/My Files/new/d.txt", b"d")
    before = len(portal.requests)
    result = client.mirror("/My Files", tmp_path)
    assert result[:5] == (1, 1, 2, 1, 0) and result.nbytes == 6
    assert local_files(tmp_path) == remote_files(portal)
    fetched = [r for r in portal.requests[before:] if "/directio/" in r.path]
    assert len(fetched) == 2

    result = client.mirror("/My Files", tmp_path)
    assert result[:5] == (0, 0, 0, 0, 4)


def test_mirror_of_a_folder_below(client: DirectIO, tmp_path: Path) -> None:
    """The source may be any folder. Its path begins with a slash."""
    assert client.mirror("/My Files/docs/", tmp_path).added == 2
    assert set(local_files(tmp_path)) == {"b.pdf", "deep/c.bin"}
    with pytest.raises(PathNotFoundError):
        client.mirror("/My Files/nowhere", tmp_path / "other")
    with pytest.raises(NotADirectoryError):
        client.mirror("/My Files/a.txt", tmp_path / "third")


def test_folder_without_permission(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """Lost permission deletes nothing, and is reported."""
    client.mirror("/My Files", tmp_path)
    before = local_files(tmp_path)
    portal.tree.deny("/My Files/docs")
    result = client.mirror("/My Files", tmp_path, feed=False)
    assert [path for path, _ in result.failed] == ["docs"]
    assert local_files(tmp_path) == before


def test_cloud_folder_that_is_gone(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """A cloud folder that is deleted is an error, whether it is the source or in it."""
    portal.tree.add_cloud_folder("Other", {"x": b"x"})
    client.mirror("/Other", tmp_path / "one")
    client.mirror("/", tmp_path / "all")
    portal.tree.delete("/Other")
    with pytest.raises(PathNotFoundError):
        client.mirror("/Other", tmp_path / "one")
    with pytest.raises(DirectIOError, match="cloud folder is gone"):
        client.mirror("/", tmp_path / "all")
    portal.tree.add_cloud_folder("Other", {"y": b"y"})
    for source, folder in (("/Other", "one"), ("/", "all")):
        with pytest.raises(DirectIOError, match="cloud folder is gone"):
            client.mirror(source, tmp_path / folder)
    assert (tmp_path / "one/x").exists() and (tmp_path / "all/Other/x").exists()


def test_client_that_is_closed(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """Closing the client ends a mirror with an error. The next run continues."""
    portal.faults.add("storage", action=faults.stall())
    seen = threading.Event()
    closer = threading.Thread(target=lambda: (seen.wait(30), client.close()))
    closer.start()
    with pytest.raises(DirectIOError, match="next run continues"):
        client.mirror("/My Files", tmp_path, progress=lambda done, total: seen.set())
    closer.join()
    portal.faults.clear()
    with DirectIO(
        portal.url,
        portal.access_key_id,
        portal.secret_access_key,
        namespace=Namespace(portal.url, portal.username, portal.password),
    ) as again:
        again.mirror("/My Files", tmp_path)
        again._core.namespace.close()
    assert local_files(tmp_path) == remote_files(portal)


def test_file_that_cannot_be_read(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """A file whose blocks are gone is reported. The others come, and nothing half stays."""
    file_id = portal.tree.file_id("/My Files/docs/b.pdf")
    portal.faults.add("storage", file_id=file_id, times=None, action=faults.status(404))
    result = client.mirror("/My Files", tmp_path)
    assert [path for path, _ in result.failed] == ["docs/b.pdf"]
    assert result.added == 3 and not (tmp_path / "docs/b.pdf").exists()
    assert not list((tmp_path / OWN / "downloads").iterdir())


def test_large_file_continues(
    portal: Emulator, client: DirectIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file that failed half-way is not begun again."""
    monkeypatch.setattr("ctera_direct_sync._mirror.downloads._RESUMED_SIZE_BYTES", 200_000)
    file_id = portal.tree.file_id("/My Files/docs/b.pdf")
    portal.faults.add("storage", file_id, block=3, times=None, action=faults.status(404))
    assert client.mirror("/My Files", tmp_path, max_files=1).failed
    portal.faults.clear()
    before = len(portal.requests)
    assert client.mirror("/My Files", tmp_path).ok
    blocks = [r for r in portal.requests[before:] if r.where == "storage"]
    assert 0 < len(blocks) < 3
    assert local_files(tmp_path) == remote_files(portal)
    assert not list((tmp_path / OWN / "downloads").iterdir())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"delete": "shred"}, ValueError),
        ({"max_delete": -1}, ValueError),
        ({"max_files": 0}, ValueError),
        ({"trash_days": -1}, ValueError),
        ({"include": "*.pdf"}, TypeError),
    ],
)
def test_arguments_that_make_no_sense(
    client: DirectIO, tmp_path: Path, arguments: dict[str, object], error: type[Exception]
) -> None:
    """Wrong arguments are refused before anything happens."""
    with pytest.raises(error):
        client.mirror("/My Files", tmp_path / "x", **arguments)
    with pytest.raises(TypeError):
        client.mirror(12, tmp_path / "x")
    assert not (tmp_path / "x").exists()

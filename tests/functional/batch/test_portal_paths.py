"""Batches whose files are named by their paths on the portal."""

from __future__ import annotations

import io

import pytest

from ctera_direct_sync import DirectIO, Namespace, NotFoundError, PathNotFoundError, Settings
from ctera_direct_sync._readers.manifest import read_manifest
from ctera_direct_sync.emulator import Emulator

COUNT = 12


@pytest.fixture
def portal():
    """A portal with a folder of a few small files."""
    with Emulator(tree={"many": {f"{n}.txt": b"%d" % n for n in range(COUNT)}}) as emulator:
        yield emulator


def test_paths_of_a_folder_share_its_listing(portal, tmp_path):
    """One listing serves all paths of a folder. Each that fails is a failure of its own."""
    quick = Settings(backoff=0.001, max_backoff=0.002)
    keys = portal.access_key_id, portal.secret_access_key
    account = portal.username, portal.password
    with (
        Namespace(portal.url, *account, settings=quick) as names,
        DirectIO(portal.url, *keys, settings=quick, namespace=names) as client,
    ):
        entry = names.stat("/My Files/many/0.txt")
        before = len(portal.requests)
        items = [(f"/My Files/many/{n}.txt", f"{n}.txt") for n in range(COUNT)]
        assert all(result.ok for result in client.download_many(items, tmp_path, resume=False))
        asked = [r.call for r in portal.requests[before:] if r.call == "fetchResources"]
        assert len(asked) == 1
        mixed = [(entry, "e"), ("/My Files/many/none", "n"), (999, "i"), ("0.txt", "t")]
        errors = [
            type(result.error) for result in client.download_many(mixed, tmp_path, resume=False)
        ]
    assert errors == [type(None), PathNotFoundError, NotFoundError, TypeError]
    assert (tmp_path / "3.txt").read_bytes() == b"3"


def test_manifest_takes_paths():
    """A line may have a path on the portal in place of the ID, also as the first line."""
    rows = read_manifest(io.BytesIO(b"/My Files/a.pdf,a.pdf\n12345,b.pdf\nx,c.pdf\n"))
    assert [row.item and row.item.file_id for row in rows] == ["/My Files/a.pdf", 12345, None]
    assert "a path on the portal" in rows[2].problem

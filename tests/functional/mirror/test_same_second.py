"""Two writes of one file within a second of the portal's clock, with a run between them."""

from __future__ import annotations

from pathlib import Path

from ctera_direct_sync import DirectIO, Namespace
from ctera_direct_sync.emulator import Emulator


def test_second_write_of_one_size(tmp_path: Path) -> None:
    """The feed tells of a write that no listing shows: the ID, the size and the second are the same."""
    with Emulator(tree={"a.txt": b"first!"}) as portal:
        portal.portal_options.file_id_changes_on_write = False
        portal.tree.overwrite("/My Files/a.txt", b"second", modified=1_700_000_000.1)
        keys = (portal.access_key_id, portal.secret_access_key)
        with (
            Namespace(portal.url, portal.username, portal.password) as names,
            DirectIO(portal.url, *keys, namespace=names) as client,
        ):
            client.mirror("/My Files", tmp_path, feed=True)
            portal.tree.overwrite("/My Files/a.txt", b"third!", modified=1_700_000_000.9)
            client.mirror("/My Files", tmp_path, feed=True)
        assert (tmp_path / "a.txt").read_bytes() == b"third!"

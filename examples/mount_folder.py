"""Mount a folder of a portal as a local folder that can only be read.

    export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
    export CTERA_DIRECT_USERNAME=... CTERA_DIRECT_PASSWORD=...
    python mount_folder.py 'ctera://tenant.ctera.com/My Files/reports' /mnt/reports

It serves until the folder is unmounted: `fusermount -u /mnt/reports`, or Ctrl-C.
"""

from __future__ import annotations

import argparse
from typing import Any

from fsspec.core import url_to_fs
from fsspec.fuse import FUSEr
from fuse import FUSE


class Folder(FUSEr):
    """fsspec's file operations. They run one at a time, since a file has one position."""

    def init(self, path: str) -> None:
        """Tell that the folder can be used. FUSE calls this once."""
        print("mounted", flush=True)

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        """Return what `os.stat` tells of a file or folder: it can be read, and not written."""
        found: dict[str, Any] = super().getattr(path, fh)
        return {**found, "st_mode": found["st_mode"] & ~0o222}


def main() -> None:
    """Parse the arguments, and serve the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="ctera://<portal-host>/<cloud folder>/...")
    parser.add_argument("mount_point", help="an empty local folder")
    parser.add_argument("--keep", type=float, default=10, help="seconds that listings are kept")
    arguments = parser.parse_args()
    # The system asks for each name several times. Without kept listings each time is a request.
    fs, path = url_to_fs(
        arguments.url, use_listings_cache=arguments.keep > 0, listings_expiry_time=arguments.keep
    )
    fs.ls(path, detail=False)  # A wrong password or path ends the program here.
    FUSE(Folder(fs, path), arguments.mount_point, foreground=True, nothreads=True, ro=True)


if __name__ == "__main__":
    main()

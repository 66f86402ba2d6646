"""The demo's portal and object storage, in a process of their own, until standard input ends.

Each file is stored in another way. What a client needs goes to standard output, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ctera_direct_sync.emulator import Emulator

KIB = 1024
MIB = 1024 * KIB

#: How each file of the folder is encrypted, compressed and cut into blocks.
STORED: dict[str, dict[str, Any]] = {
    "empty": {},
    "one-byte": {"compression": "SNAPPY-RAW"},
    "random.bin": {"cipher": "AES-CBC", "compression": "NONE", "block_size": 4 * MIB},
    "python": {"cipher": "AES-CBC", "compression": "SNAPPY", "block_size": 512 * KIB},
    "library.so": {"cipher": "AES-GCM", "compression": "LZ4", "block_size": MIB},
    "sources.tar": {"cipher": "AES-CBC", "compression": "GZIP", "block_size": 4 * MIB},
    "sources.tar.gz": {"cipher": "AES-GCM", "compression": "NONE", "block_size": 256 * KIB},
    "text.tar": {
        "cipher": None,
        "compression": "SNAPPY",
        "block_size": (MIB, 300 * KIB, 2 * MIB, 70 * KIB),
    },
    "mixed.img": {"cipher": "AES-CBC", "compression": "SNAPPY", "block_size": 4 * MIB},
}


def main() -> None:
    """Serve the folder named by the first argument."""
    folder = Path(sys.argv[1])
    size = sum(path.stat().st_size for path in folder.iterdir())
    with Emulator(cache=2 * size + MIB) as emulator:
        for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_size):
            file_id = emulator.add(path, name=path.name, **STORED[path.name])
            for block in range(1, emulator.files[file_id].blocks + 1):
                emulator.stored(file_id, block)  # Encoded now, so that no download waits for it.
        print(json.dumps(_description(emulator)), flush=True)
        sys.stdin.read()


def _description(emulator: Emulator) -> dict[str, Any]:
    return {
        "baseurl": emulator.url,
        "access_key_id": emulator.access_key_id,
        "secret_access_key": emulator.secret_access_key,
        "files": [
            {
                "file_id": row.file_id,
                "name": row.name,
                "size": row.size,
                "cipher": row.cipher or "none",
                "compression": row.compression.lower(),
            }
            for row in emulator.files.values()
        ],
    }


if __name__ == "__main__":
    main()

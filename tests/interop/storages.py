"""Object storages that are not ours, and a small portal that lists what lies in them.

Blocks are encoded by the emulator's encoder, put into the storage by its own tools, and listed with URLs
that it signs itself.
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ctera_direct_sync.emulator import FileOptions
from ctera_direct_sync.emulator.encoder import encode
from ctera_direct_sync.emulator.keys import new_secret_access_key, wrap

ACCESS_KEY_ID = "INTEROP"


class Object(NamedTuple):
    """A stored object: its name, its bytes, and the plaintext length to list."""

    name: str
    body: bytes
    length: int


class StoredFile(NamedTuple):
    """A file as it lies in a storage, and how the portal speaks of it."""

    data: bytes
    options: FileOptions
    key: bytes
    objects: list[Object]


def cut(data: bytes, name: str, **options: Any) -> StoredFile:
    """A file's objects, encoded as the options have it."""
    chosen, key = FileOptions(**options), secrets.token_bytes(32)
    size = chosen.block_size if isinstance(chosen.block_size, int) else chosen.block_size[0]
    size = len(data) if chosen.native else size
    objects = []
    for number, start in enumerate(range(0, len(data), size), 1):
        plain = data[start : start + size]
        body = plain if chosen.plain else encode(plain, key, 1, number, chosen)
        objects.append(Object(f"blocks/{name}/{number}", body, len(plain)))
    return StoredFile(data, chosen, key, objects)


class Portal:
    """Lists files whose blocks lie elsewhere; ``sign`` makes a URL of an object's name."""

    def __init__(self, sign: Callable[[str], str]) -> None:
        self.secret_access_key = new_secret_access_key()
        self.files: dict[int, StoredFile] = {}
        self.listings: Counter[int] = Counter()
        self.sign = sign

    def listing(self, file_id: int) -> dict[str, Any]:
        """The block list, with URLs signed now."""
        file = self.files[file_id]
        info: dict[str, Any] = {"data_encrypted": file.options.cipher is not None}
        if file.options.cipher is not None:
            info["wrapped_key"] = wrap(file.key, self.secret_access_key)
            info["cipher"] = file.options.cipher
        self.listings[file_id] += 1
        return {
            "encrypt_info": info,
            "compression_type": file.options.compression_type,
            "chunks": [{"url": self.sign(item.name), "len": item.length} for item in file.objects],
        }


@contextmanager
def serving(portal: Portal) -> Iterator[str]:
    """The portal's URL, while it is served on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(portal.listing(int(self.path.rpartition("/")[2]))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

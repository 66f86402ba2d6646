"""OpenStack Swift in one process: account, container and object server, and a proxy with TempURL.

``python -m tests.interop.swift_server FOLDER KEY`` keeps everything, in one replica, below FOLDER, and
prints the proxy's port. It serves the account ``AUTH_test``, whose TempURL key is KEY, with one container,
``container``; who comes without a TempURL is refused. It is ended by a signal.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import eventlet
import eventlet.wsgi
from swift.common import storage_policy, utils, wsgi
from swift.common.http_protocol import SwiftHttpProtocol
from swift.common.internal_client import InternalClient
from swift.common.ring import RingBuilder

ACCOUNT, CONTAINER = "AUTH_test", "container"
BACKENDS = ("account", "container", "object")

_DEFAULT = "[DEFAULT]\nswift_dir = {folder}\ndevices = {folder}/devices\nmount_check = false\n"
_BACKEND = "[app:main]\nuse = egg:swift#{name}\n"
_PROXY = """
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempurl]
use = egg:swift#tempurl
[filter:tempauth]
use = egg:swift#tempauth
"""


def configure(folder: Path, name: str, text: str) -> str:
    """Write a server's configuration; its path."""
    path = folder / f"{name}.conf"
    path.write_text(_DEFAULT.format(folder=folder) + text)
    return str(path)


def make_ring(folder: Path, name: str, port: int) -> None:
    """Write the ring that says that all of a kind is with the server at this port."""
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    place = {"region": 1, "zone": 1, "device": "device", "ip": "127.0.0.1", "port": port}
    builder.add_dev({**place, "weight": 1})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def serve(listener: Any, configuration: str) -> None:
    """Serve one of Swift's applications, as its own daemons do."""
    eventlet.wsgi.server(
        listener, wsgi.loadapp(configuration), log=logging.getLogger("access"),
        protocol=SwiftHttpProtocol, capitalize_response_headers=False,
    )  # fmt: skip


def run(folder: Path, key: str) -> None:
    """Serve until the process is ended."""
    utils.monkey_patch()
    (folder / "devices" / "device").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n")
    utils.set_swift_dir(str(folder))
    storage_policy.reload_storage_policies()

    for name in BACKENDS:
        listener = eventlet.listen(("127.0.0.1", 0))
        make_ring(folder, name, listener.getsockname()[1])
        eventlet.spawn_n(serve, listener, configure(folder, name, _BACKEND.format(name=name)))

    trusted = configure(folder, "internal", _PROXY.format(pipeline="proxy-server"))
    client = InternalClient(trusted, "tests", request_tries=3)
    client.set_account_metadata(ACCOUNT, {"Temp-URL-Key": key}, "X-Account-Meta-")
    client.create_container(ACCOUNT, CONTAINER)

    listener = eventlet.listen(("127.0.0.1", 0))
    proxy = configure(folder, "proxy", _PROXY.format(pipeline="tempurl tempauth proxy-server"))
    print(listener.getsockname()[1], flush=True)
    serve(listener, proxy)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])

"""A web application whose client is made, and used, before the server forks its workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ctera_direct_sync import DirectIO

client = DirectIO()
file_id = int(os.environ["FILE_ID"])
for _ in client.stream(file_id):
    pass
parent = os.getpid()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The file, streamed; the worker's pid in a header."""
    assert os.getpid() != parent
    start_response("200 OK", [("X-Worker", str(os.getpid()))])
    return _body()


def _body() -> Iterator[bytes]:
    for block in client.stream(file_id):
        yield block.data

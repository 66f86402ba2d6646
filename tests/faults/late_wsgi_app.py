"""A web application whose client is made in each worker, after the server forked it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from ctera_direct_sync import DirectIO

client = DirectIO()
file_id = int(os.environ["FILE_ID"])


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The file, streamed; the worker's pid in a header."""
    start_response("200 OK", [("X-Worker", str(os.getpid()))])
    return (block.data for block in client.stream(file_id))

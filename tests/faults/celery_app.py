"""A Celery application whose client is made, and used, before the worker forks its pool."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from celery import Celery

from ctera_direct_sync import DirectIO

_folder = Path(os.environ["CELERY_FOLDER"])
for _name in ("queue", "processed", "results"):
    (_folder / _name).mkdir(parents=True, exist_ok=True)

app = Celery("faults", broker="filesystem://", backend=f"file://{_folder / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(_folder / "queue"),
    "data_folder_out": str(_folder / "queue"),
    "processed_folder": str(_folder / "processed"),
    "control_folder": str(_folder / "control"),
}
app.conf.broker_connection_retry_on_startup = True

client = DirectIO()
file_id = int(os.environ["FILE_ID"])
for _ in client.stream(file_id):
    pass
parent = os.getpid()


@app.task
def digest() -> tuple[bool, str]:
    """Whether this is a forked worker, and the SHA-256 of the file that it got."""
    sha = hashlib.sha256()
    for block in client.stream(file_id):
        sha.update(block.data)
    return os.getpid() != parent, sha.hexdigest()

"""gunicorn's configuration in tests: each worker says that it serves, and heeds signals."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Print the line that `servers.py` waits for."""
    worker.log.info("Worker is ready (pid: %s)", worker.pid)

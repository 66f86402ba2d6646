"""The same work on several threads at once."""

from __future__ import annotations

import threading
from typing import Callable

#: Seconds that the threads may take.
PATIENCE = 30


def all_end(work: Callable[[], object], count: int = 4) -> bool:
    """Run work on threads, and return whether all of them ended in time. Those that hang are left."""
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in threads)

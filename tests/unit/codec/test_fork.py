"""A fork beside threads that decode for the first time."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

native = pytest.importorskip("ctera_direct_sync.codec.native")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork_waits_for_a_thread_that_is_being_prepared():
    """OpenSSL's lock for setting up a thread is never taken into a child."""
    statuses: list[int] = []

    def fork() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Threads are the point here.
            child = os.fork()
        if not child:
            os._exit(0 if not native._preparing.locked() else 1)
        statuses.append(os.waitpid(child, 0)[1])

    with native._preparing:
        forking = threading.Thread(target=fork)
        forking.start()
        forking.join(0.05)
        assert forking.is_alive(), "it forked amid the preparation"
    forking.join(20)
    assert statuses == [0]

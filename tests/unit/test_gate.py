"""The door that opens once, under timeouts that are shorter than a thread's turn."""

from __future__ import annotations

import threading

from ctera_direct_sync._base.cancellation import Gate
from tests.support.threads import all_end

#: Seconds. A thread that the system holds up for longer must still see that the time is over.
SHORT = 0.00002


def test_short_waits_end() -> None:
    """No thread waits for ever, as `SimpleQueue.get` does where its time is over before it waits."""

    def wait_often() -> None:
        for _ in range(5000):
            assert not Gate().wait_for(SHORT)

    assert all_end(wait_often)


def test_open_gate_lets_all_pass() -> None:
    """Each waiting thread passes, and those that come later; a second opening changes nothing."""
    gate = Gate()
    passed: list[bool] = []
    threads = [
        threading.Thread(target=lambda: passed.append(gate.wait_for(20)), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert not gate.wait_for(0)
    gate.open()
    gate.open()
    for thread in threads:
        thread.join(20)
    gate.wait()
    assert passed == [True] * 8 and gate.wait_for(0) and gate.wait_for(1e30)

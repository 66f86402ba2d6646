"""Counting by host and thread: bounded, without secrets, and with quantiles that are measured values."""

from __future__ import annotations

import threading

from ctera_direct_sync._base.counters import Counters
from ctera_direct_sync._net.meter import Meter, quantiles, snapshot


def test_a_listing_of_hosts_is_bounded() -> None:
    """Hosts that a block list makes up do not fill the memory."""
    meter = Meter("storage")
    for number in range(5000):
        meter.tally(f"https://node-{number}.example.com").requests += 1
    found = snapshot([meter])
    assert found.requests == 5000
    assert len(found.hosts) == 65
    assert found.hosts[0].host == "other hosts"


def test_no_login_of_a_url_is_shown() -> None:
    """The part of an authority before the host is not told."""
    meter = Meter("storage")
    meter.tally("https://user:c0ffee@Node.example.com:9000").requests += 1
    found = snapshot([meter])
    assert [host.host for host in found.hosts] == ["node.example.com:9000"]
    assert "c0ffee" not in repr(found)


def test_hosts_of_two_meters_are_one() -> None:
    """Block lists and names of one portal are requests to one host."""
    meters = [Meter("portal"), Meter("portal")]
    for meter in meters:
        tally = meter.tally("https://portal.example.com")
        tally.requests += 1
        tally.samples.append((0.1, 0.1, 100_000))
    (host,) = snapshot(meters).hosts
    assert (host.requests, host.first_byte.p50) == (2, 0.1)


def test_a_tally_belongs_to_one_thread() -> None:
    """Another thread gets another tally, whose samples are the same."""
    meter = Meter("storage")
    found = []
    thread = threading.Thread(target=lambda: found.append(meter.tally("http://a")))
    own = meter.tally("http://a")
    thread.start()
    thread.join()
    assert meter.tally("http://a") is own
    assert found[0] is not own
    assert found[0].samples is own.samples


def test_quantiles_are_measured_values() -> None:
    """Each is the least value that so many of all do not exceed."""
    assert quantiles(range(100, 0, -1)) == (50, 90, 99)
    assert quantiles([7.0]) == (7.0, 7.0, 7.0)
    assert quantiles([]) == (None, None, None)


def test_counters_of_threads_add_up() -> None:
    """No count is lost, and the names are in order."""
    counters = Counters()

    def work() -> None:
        for _ in range(10_000):
            counters.add("b")
            counters.add("a", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counters.totals().items()) == [("a", 20_000), ("b", 40_000)]
    counters.clear()
    assert counters.totals() == {}

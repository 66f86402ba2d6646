"""A short comparison of our mirror with the vendor's sample: `tests.faults.mirror_peer` is the long one."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 10), reason="cterasdk 2.20.50 needs Python 3.10"),
    # The collector warns of connections that the vendor's client leaves open, and of its lost errors.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def vendor() -> Iterator[None]:
    """Close the event loop that the vendor's package makes when it is imported."""
    import cterasdk.clients.clients

    yield
    cterasdk.clients.clients.event_loop.close()


@pytest.mark.usefixtures("vendor")
def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """After the same histories our mirror is equal to the portal, and the sample's folder is not."""
    from tests.faults.mirror_peer import FIGURES, compare, print_table

    totals = compare([8, 27, 72])
    wrong = {name for name in FIGURES if name not in ("files", "failed")}
    assert {name: totals["mirror"][name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert totals["mirror"]["files"] == totals["sample"]["files"] > 1
    for name in ("missing", "extra", "other path", "silent, session", "silent, cursor"):
        assert totals["sample"][name], name
    print_table(totals, 3)
    assert "| missing here | 0 |" in capsys.readouterr().out

"""Give every test a clean environment, check that it leaves nothing behind, and offer fixtures.

``portal``        a running emulator on loopback, empty: ``portal.add(data, block_size=...)`` gives an ID;
``client``        a DirectIO of that portal, closed afterwards;
``make_client``   the same with settings of the test's own: ``make_client(memory=MIB, retries=0)``;
``quick``         the Settings of both: the shipped ones, but failing takes milliseconds.

After each test that passed, ``_nothing_is_left`` fails it where a thread, a socket, a temporary file
or a file of an unfinished download remains. What a fixture of a wider scope made may stay until the
end of the module, and is checked there. ``@pytest.mark.keeps_partial`` says that the test leaves a part
file or journal on purpose.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import hypothesis
import pytest

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator
from tests.support.belongings import Belongings

_VARIABLES = (
    *("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "BEARER"),
    *("http_proxy", "https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_passed = pytest.StashKey[bool]()
#: Fixtures of the tests' own whose scope is wider than a test: the node that they belong to, the name.
_shared: set[tuple[str, str]] = set()


def _heed_signals() -> None:
    """A shell's background job ignores some signals, and so would every program that is tested."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that the fixtures below read."""
    _heed_signals()
    config.addinivalue_line(
        "markers", "keeps_partial: leaves a part file or a journal in tmp_path on purpose"
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long bytes and texts as their size: an ID ends up in the environment, which has little room."""
    if isinstance(val, (bytes, str)) and len(val) > 100:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Note whether the test itself passed: a failed one's traceback keeps all sorts of things alive."""
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


def pytest_fixture_setup(fixturedef: Any) -> None:
    """Note which fixtures outlive a test, but for pytest's own and this file's."""
    name = fixturedef.argname
    if fixturedef.scope != "function" and fixturedef.baseid and not name.startswith("_"):
        _shared.add((fixturedef.baseid, name))


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place of this process's own for temporary files, so that a forgotten one is seen."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))
        # No profile of the person who runs the tests, in this process and in those that it starts.
        patch.setenv("CTERA_DIRECT_CONFIG_DIR", str(folder / "no-profiles"))
        yield folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, proxies or CA bundles of the developer who runs the tests."""
    for name in _VARIABLES:
        for variable in (name, name.upper(), f"CTERA_DIRECT_{name}"):
            monkeypatch.delenv(variable, raising=False)
    for name in ("access_key_id", "secret_access_key", "bearer"):
        monkeypatch.delenv(f"cterasdk.io.direct.{name}", raising=False)
    for name in ("USERNAME", "PASSWORD", "CONTEXT", "PROFILE"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, _temporary_folder: Path) -> Iterator[None]:
    """Fail the test that leaves a thread, a socket, or a file behind."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    before = Belongings(_temporary_folder)
    yield
    if not request.node.stash.get(_passed, False):
        return
    left = [] if _uses_shared(request) else before.added()
    if folder is not None and not request.node.get_closest_marker("keeps_partial"):
        left += _partial_files(folder)
    _fail_for(left)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_by_module(
    request: pytest.FixtureRequest, _temporary_folder: Path
) -> Iterator[None]:
    """The same for what the module's own fixtures made for several tests."""
    before, failed = Belongings(_temporary_folder), request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        _fail_for(before.added())


def _uses_shared(request: pytest.FixtureRequest) -> bool:
    node, names = request.node.nodeid, request.fixturenames
    return any(node.startswith(base) and name in names for base, name in _shared)


def _fail_for(left: list[str]) -> None:
    if left:
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


def _partial_files(folder: Path) -> list[str]:
    found = [*folder.rglob(".*.ctera-part"), *folder.rglob(".*.ctera-journal*")]
    return sorted(str(path.relative_to(folder)) for path in found)


# --- a portal and its clients --------------------------------------------------------------------------


@pytest.fixture
def quick() -> Settings:
    """Settings whose failing paths take milliseconds, where the shipped ones take minutes.

    A busy machine is late, and tests count requests, so none is sent twice.
    """
    settings = Settings(retries=3, backoff=0.001, max_backoff=0.005, retry_timeout=30.0, hedging=0)
    settings.api.timeout = settings.storage.timeout = (5.0, 10.0)
    return settings


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal and its object storage on loopback, without files."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def make_client(portal: Emulator, quick: Settings) -> Iterator[Callable[..., DirectIO]]:
    """Makes clients of ``portal``, closed after the test: keywords are settings, over ``quick``'s.

    ``session`` and ``on_event`` are passed on to DirectIO; so are positional arguments, in place of
    the portal's URL and keys.
    """
    clients: list[DirectIO] = []

    def make(*arguments: str, session: Any = None, on_event: Any = None, **over: Any) -> DirectIO:
        settings = Settings(**{**quick._values, **over})
        arguments = arguments or (portal.url, portal.access_key_id, portal.secret_access_key)
        made = DirectIO(*arguments, settings=settings, session=session, on_event=on_event)
        clients.append(made)
        return made

    yield make
    for made in clients:
        made.close()


@pytest.fixture
def client(make_client: Callable[..., DirectIO]) -> DirectIO:
    """A client of ``portal`` with the ``quick`` settings."""
    return make_client()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many combinations of storage format and way in were downloaded and compared."""
    counts: dict[str, int] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "compared" and report.when == "call":
                counts[value] = counts.get(value, 0) + 1
    for peer, count in sorted(counts.items()):
        terminalreporter.write_line(f"interop: {count} combinations by {peer}, SHA-256 equal")

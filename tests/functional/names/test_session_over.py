"""A session that is over at any call and any page: renewed once, and nothing is missing or doubled."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import pytest

from ctera_direct_sync import DirectIO, LoginError, Namespace
from ctera_direct_sync.emulator import Emulator, faults

FILE = "/My Files/readme.txt"
HOME = "/My Files"


class Case(NamedTuple):
    """A call, and the request at which its session is over."""

    run: Callable[[Namespace, Emulator], Any]
    """Makes the call, and returns something comparable."""
    request: str
    """The call of the portal's API that finds the session over."""
    skip: int = 0
    """How many such requests pass before."""
    context: str = "ServicesPortal"
    """The context of the Namespace."""
    is_parallel: bool = False
    """Whether several requests may find the session over."""


def paths(entries: Any) -> list[str]:
    """Return the paths of some entries."""
    return [entry.path for entry in entries]


def make_pair(names: Namespace, portal: Emulator) -> int:
    """Make a key pair, and return how many more the portal has."""
    user = portal.accounts.get(portal.username)
    before = len(portal.accounts.keys(user.uid))
    names.create_key_pair()
    return len(portal.accounts.keys(user.uid)) - before


def delete_pair(names: Namespace, portal: Emulator) -> int:
    """Delete a key pair that was made aside, and return how many the portal then has."""
    user = portal.accounts.get(portal.username)
    names.delete_key_pair(portal.accounts.add_key(user).access_key_id)
    return len(portal.accounts.keys(user.uid))


def read_by_path(names: Namespace, portal: Emulator) -> bytes:
    """Download a file by its path."""
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, namespace=names) as client:
        return b"".join(block.data for block in client.stream(FILE))


def search(names: Namespace, portal: Emulator) -> list[str]:
    """Search for many names."""
    return paths(names.search(HOME, name="e"))


CASES: dict[str, Case] = {
    "stat": Case(lambda names, _: names.stat(FILE), "fetchResources"),
    "exists": Case(lambda names, _: names.exists(FILE), "fetchResources"),
    "listdir, first page": Case(
        lambda names, _: paths(names.listdir(HOME + "/odd")), "fetchResources"
    ),
    "listdir, third page": Case(
        lambda names, _: paths(names.listdir(HOME + "/odd")), "fetchResources", 2
    ),
    "walk, first page": Case(
        lambda names, _: paths(names.walk(HOME)), "fetchResources", is_parallel=True
    ),
    "walk, in the middle": Case(
        lambda names, _: paths(names.walk(HOME)), "fetchResources", 6, is_parallel=True
    ),
    "glob": Case(
        lambda names, _: paths(names.glob(HOME + "/**/*.pdf")),
        "fetchResources",
        3,
        is_parallel=True,
    ),
    "search, second page": Case(search, "fetchResources", 1),
    "versions": Case(lambda names, _: names.versions(FILE), "listSnapshots"),
    "folders of a user": Case(lambda names, _: list(names.folders()), "fetchResources"),
    "folders, second page": Case(lambda names, _: list(names.folders()), "query", 1, "admin"),
    "key pair, the user's ID": Case(make_pair, "currentSession"),
    "key pair": Case(make_pair, "createApiKey"),
    "no key pair, the list": Case(delete_pair, "getApiKeys"),
    "no key pair": Case(delete_pair, "deleteApiKey"),
    "download": Case(read_by_path, "fetchResources"),
}


@pytest.fixture
def portal(portal: Emulator) -> Emulator:
    """A portal of small pages, with more cloud folders than one answer holds."""
    portal.portal_options.page_cap = 2
    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    for number in range(60):
        portal.tree.add_cloud_folder(f"Team {number}", owner="ann")
    portal.tree.overwrite(FILE, b"read me second")
    return portal


def count(portal: Emulator, call: str) -> int:
    """Return how many requests made a call."""
    return len(portal.log.records(call=call))


@pytest.mark.parametrize("session_over", ["302", "401", "html"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_renewed(
    portal: Emulator, make_names: Callable[..., Namespace], case: Case, session_over: Any
) -> None:
    """The call goes on after one more sign-in, with the same result as without."""
    portal.portal_options.session_over = session_over
    names = make_names(context=case.context)
    usual = case.run(names, portal)
    logins, asked = count(portal, "login"), count(portal, case.request)

    def run(exchange: Any, _: Any) -> None:
        portal.accounts.expire_sessions()
        exchange.send(exchange.respond())

    portal.faults.add(
        "portal", call=case.request, skip=case.skip, action=faults.Action("expire", run)
    )
    assert case.run(names, portal) == usual
    assert count(portal, "login") == logins + 1
    if not case.is_parallel:
        # Nothing but the refused request was sent twice.
        assert count(portal, case.request) <= 2 * asked + 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_over_again_and_again(
    portal: Emulator, make_names: Callable[..., Namespace], case: Case
) -> None:
    """A session that is over right after the sign-in ends the call with an error."""
    names = make_names(context=case.context)
    portal.faults.add(
        "portal", call=case.request, skip=case.skip, times=None, action=faults.redirect("/x")
    )
    with pytest.raises(LoginError, match="ends each session at once"):
        case.run(names, portal)


def test_a_walk_does_not_collect_the_end_of_its_session(
    portal: Emulator, make_names: Callable[..., Namespace]
) -> None:
    """A session that cannot be had is not the error of one folder."""
    portal.faults.add(
        "portal", call="fetchResources", skip=4, times=None, action=faults.status(401)
    )
    with pytest.raises(LoginError):
        list(make_names().walk(HOME, on_error=lambda error: pytest.fail("collected")))

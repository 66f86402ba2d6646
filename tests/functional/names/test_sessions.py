"""Sessions: signing in once, again when the session is over, and out at the end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ctera_direct_sync import LoginError, Namespace, NamespaceError
from ctera_direct_sync.emulator import faults


def count(portal, call):
    """Return how many requests made a call."""
    return len(portal.log.records(call=call))


@pytest.mark.parametrize("session_over", ["302", "401", "html"])
@pytest.mark.parametrize("fresh_cookie", [True, False])
def test_session_that_is_over_is_renewed(portal, names, session_over, fresh_cookie):
    """However the portal says that a session is over, the call signs in again and is repeated."""
    portal.portal_options.session_over = session_over
    portal.portal_options.fresh_cookie_on_refusal = fresh_cookie
    assert names.exists("/My Files")
    portal.accounts.expire_sessions()
    assert names.exists("/My Files")
    assert count(portal, "login") == 2


@pytest.mark.parametrize(
    "page",
    ["/admin/login.html", "https://login.microsoftonline.com/x", "/ServicesPortal/other?a=b"],
)
def test_redirect_to_any_page_is_not_followed(portal, names, page):
    """No redirect is followed, wherever it leads."""
    portal.portal_options.login_page = page
    assert names.exists("/My Files")
    portal.accounts.expire_sessions()
    assert names.exists("/My Files")
    assert {record.path for record in portal.requests} == {
        "/ServicesPortal/api/login",
        "/ServicesPortal/api",
    }


def test_session_that_ends_at_once(portal, names):
    """A session that is over right after the sign-in is given up after one more sign-in."""
    portal.faults.add("portal", call="fetchResources", times=None, action=faults.redirect("/x"))
    with pytest.raises(LoginError, match="ends each session at once"):
        names.stat("/My Files")
    assert count(portal, "login") == 2


def test_threads_share_one_sign_in(portal, names):
    """However many threads begin together, or find the session over, one of them signs in."""
    portal.latency = 0.05
    barrier = threading.Barrier(12)

    def ask() -> bool:
        barrier.wait(30)
        return names.exists("/My Files/readme.txt")

    with ThreadPoolExecutor(12) as threads:
        for number in (1, 2):
            futures = [threads.submit(ask) for _ in range(12)]
            assert all(future.result() for future in futures)
            assert count(portal, "login") == number
            portal.accounts.expire_sessions()


def test_walk_survives_an_expiry(portal, names):
    """A session that ends during a walk is renewed, and nothing is missing or doubled."""
    # More folders than a walk fetches ahead.
    for number in range(100):
        portal.tree.create(f"/My Files/many/{number:02}/file", b"")
    walked = []
    for index, entry in enumerate(names.walk("/My Files/many")):
        if index == 5:
            portal.accounts.expire_sessions()
        walked.append(entry.path)
    assert walked == sorted(walked)
    assert len(walked) == 200
    assert count(portal, "login") == 2


def test_wrong_password_is_sent_once(portal, make_names):
    """A refused password is told at once, to all threads, and is never sent again."""
    portal.portal_options.lock_after = 2
    names = make_names(portal.username, "wrong")
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait(30)
        with pytest.raises(LoginError, match="refuses the user name and password"):
            names.stat("/")

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(ask) for _ in range(8)]:
            future.result()
    with pytest.raises(LoginError):
        list(names.walk("/My Files", on_error=lambda error: pytest.fail("collected")))
    assert count(portal, "login") == 1
    assert not portal.accounts.is_locked(portal.username)


def test_user_without_rights_in_the_context(portal, make_names):
    """A user who may not use the administrators' context is told so."""
    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    with pytest.raises(LoginError, match="may not use this context"):
        make_names("ann", "pw", context="admin").stat("/")


def test_busy_portal_is_asked_again(portal, names):
    """A sign-in and a call that meet a busy portal follow the retry policy."""
    for call in ("login", "fetchResources"):
        portal.faults.add("portal", call=call, action=faults.status(429, {"Retry-After": "0"}))
        portal.faults.add("portal", call=call, action=faults.status(503))
        portal.faults.add("portal", call=call, action=faults.reset())
    assert names.exists("/My Files")
    assert count(portal, "login") == count(portal, "fetchResources") == 4


def test_portal_that_stays_busy(portal, names):
    """When the retries are used up, the error says what came."""
    portal.faults.add("portal", call="fetchResources", times=None, action=faults.status(503))
    with pytest.raises(NamespaceError, match=r"busy or failing \(HTTP 503"):
        names.stat("/My Files")
    assert count(portal, "fetchResources") == 5


def test_key_pair_is_asked_for_once(portal, names):
    """A call that makes something is not sent again after a failure."""
    portal.faults.add("portal", call="createApiKey", times=None, action=faults.reset())
    with pytest.raises(NamespaceError):
        names.create_key_pair()
    assert count(portal, "createApiKey") == 1


def test_close_signs_out(portal, make_names):
    """Closing ends the session on the portal, once."""
    with make_names() as names:
        names.stat("/")
        assert portal.accounts.open_sessions == 1
    names.close()
    assert portal.accounts.open_sessions == 0
    assert count(portal, "logout") == 1


def test_close_without_a_call_sends_nothing(portal, make_names):
    """A Namespace that was never used has nothing to sign out of."""
    make_names().close()
    assert portal.log.total("portal") == 0


def test_given_cookie(portal, make_names):
    """A given cookie is used and never signed out of; once it is over, that is the end."""
    cookie = portal.accounts.open_session(portal.accounts.get(portal.username), "ServicesPortal")
    for text in (cookie, f"JSESSIONID={cookie}"):
        with make_names(cookie=text) as names:
            assert names.exists("/My Files")
    assert portal.accounts.open_sessions == 1
    names = make_names(cookie=cookie)
    portal.accounts.expire_sessions()
    with pytest.raises(LoginError, match="given cookie is over"):
        names.stat("/My Files")
    assert count(portal, "login") == count(portal, "logout") == 0


def test_bearer(portal, make_names):
    """A bearer token goes with each request, and a refused one is a LoginError."""
    with make_names(bearer=portal.bearer) as names:
        assert names.exists("/My Files/readme.txt")
    with pytest.raises(LoginError, match="refuses the bearer token"):
        make_names(bearer="wrong").stat("/")
    assert {record.call for record in portal.requests} == {"fetchResources"}


@pytest.mark.parametrize("token_required", [True, False])
def test_ticket(portal, make_names, token_required):
    """A ticket opens one session, which is signed out of at the end."""
    portal.portal_options.token_required = token_required
    ticket = portal.accounts.add_ticket(portal.accounts.get(portal.username))
    with make_names(ticket=ticket) as names:
        assert names.exists("/My Files/readme.txt")
        assert portal.accounts.open_sessions == 1
    assert portal.accounts.open_sessions == 0
    with pytest.raises(LoginError, match="get a new one"):
        make_names(ticket=ticket).stat("/")


def test_users_own_session_objects(portal, make_names):
    """A session factory's sessions are used, and their cookies are neither replaced nor kept."""
    made = []

    def make_session() -> requests.Session:
        session = requests.Session()
        session.headers["X-Test"] = "1"
        session.cookies.set("gateway", "open", domain="127.0.0.1")
        made.append(session)
        return session

    names = make_names(session=make_session)
    assert names.exists("/My Files")
    portal.accounts.expire_sessions()
    assert names.exists("/My Files")
    assert len(list(names.walk("/My Files"))) > 5
    assert 1 <= len(made) <= 17


def test_session_factory_that_returns_something_else(make_names):
    """What is not a session is told, and not as a portal that cannot be reached."""
    with pytest.raises(TypeError, match=r"requests\.Session"):
        make_names(session=lambda: None).stat("/")


def test_names_and_passwords_are_encoded(portal, make_names):
    """Special characters of name and password arrive as they are."""
    portal.accounts.add("a&b=c +\u00e9", "p&w+ \u00e9%41;\U0001f4a7", full_name="Odd")
    portal.tree.add_cloud_folder("Odd", owner="a&b=c +\u00e9")
    assert make_names("a&b=c +\u00e9", "p&w+ \u00e9%41;\U0001f4a7").exists("/Odd")


def test_prefix(quick):
    """A portal below a path, as behind a reverse proxy, is signed in to as well."""
    from ctera_direct_sync.emulator import Emulator

    with (
        Emulator(prefix="/tenant", tree={"a": b""}) as portal,
        Namespace(portal.url + "/", portal.username, portal.password, settings=quick) as names,
    ):
        assert [entry.path for entry in names.listdir("/My Files")] == ["/My Files/a"]

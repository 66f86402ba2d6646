"""Sign-in: passwords, cookies, expiry, bearer tokens, tickets, keys."""

from __future__ import annotations

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, PortalOptions, faults


def test_login_sets_the_cookie_of_its_context(emulator, make_caller):
    """A right password is answered by a session cookie that goes to this context alone."""
    caller = make_caller()
    response = caller.login(emulator.username, emulator.password)
    assert (response.status_code, "Login succeed" in response.text) == (200, True)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("JSESSIONID=") and "; Path=/ServicesPortal;" in cookie
    assert caller.get("api/currentSession").json()["username"] == emulator.username


def test_wrong_password(emulator, make_caller):
    """A wrong password is 403 with a message, and opens no session."""
    caller = make_caller()
    response = caller.login(emulator.username, "wrong")
    assert response.status_code == 403
    assert "Invalid username or password" in response.text
    assert caller.get("api/currentSession").status_code == 302


def test_cookie_of_a_refused_login_opens_nothing(emulator, make_caller):
    """A refusal may bring a fresh cookie, which is useless."""
    caller = make_caller()
    assert "Set-Cookie" in caller.login(emulator.username, "wrong").headers
    emulator.portal_options.fresh_cookie_on_refusal = False
    assert "Set-Cookie" not in caller.login(emulator.username, "wrong").headers


def test_end_user_has_no_administration(emulator, make_caller):
    """An end user signs in at ServicesPortal only, and a disabled one nowhere."""
    emulator.accounts.add("ann", "secret")
    emulator.accounts.add("bob", "secret", role="Disabled")
    for name, context, status in (
        ("ann", "ServicesPortal", 200),
        ("ann", "admin", 403),
        ("bob", "ServicesPortal", 403),
    ):
        assert make_caller(context).login(name, "secret").status_code == status


def test_domain_user(emulator, make_caller):
    """A user of a directory signs in with domain and name."""
    emulator.accounts.add("ann", "secret", domain="corp", full_name="Ann Lee")
    caller = make_caller(name="corp\\ann", password="secret")
    session = caller.get("api/currentSession").json()
    assert (session["username"], session["domain"]) == ("ann", "corp")
    assert make_caller().login("ann", "secret").status_code == 403


def test_single_sign_on(emulator, make_caller):
    """A portal with single sign-on takes the passwords of its own users only."""
    emulator.portal_options.has_web_sso = True
    emulator.accounts.add("ann", "secret", domain="corp")
    assert make_caller().get("public/publicInfo").json()["hasWebSSO"] is True
    assert make_caller().login("corp\\ann", "secret").status_code == 403
    assert make_caller().login(emulator.username, emulator.password).status_code == 200


def test_locked_after_wrong_passwords(emulator, make_caller):
    """After some wrong passwords in a row the right one is refused, too, until it is unlocked."""
    emulator.portal_options.lock_after = 2
    caller = make_caller()
    for _ in range(2):
        caller.login(emulator.username, "wrong")
    assert emulator.accounts.is_locked(emulator.username)
    assert caller.login(emulator.username, emulator.password).status_code == 403
    emulator.accounts.unlock(emulator.username)
    assert caller.login(emulator.username, emulator.password).status_code == 200


def test_logout(emulator, caller):
    """After a logout the cookie opens nothing."""
    assert emulator.accounts.open_sessions == 1
    assert caller.session.post(f"{caller.base}/api/logout", data={}).status_code == 200
    assert emulator.accounts.open_sessions == 0
    assert caller.get("api/currentSession").status_code == 302


@pytest.mark.parametrize(
    ("option", "status", "kind"),
    [("302", 302, "text/html"), ("401", 401, "text/xml"), ("html", 200, "text/html")],
)
def test_session_over(emulator, caller, option, status, kind):
    """A session that is over is answered as the option says, in each way the same."""
    emulator.portal_options.session_over = option
    emulator.accounts.expire_sessions()
    listing = {"root": caller.reference("/"), "depth": "0"}
    for response in (caller.get("api/version"), caller.post("fetchResources", listing)):
        assert response.status_code == status
        assert response.headers["Content-Type"].startswith(kind)
    assert caller.get("api/version").headers.get("Location") == (
        "/ServicesPortal/login.html" if option == "302" else None
    )


def test_idle_session_ends(make_caller):
    """A session that was idle for as long as the option says is over; each request keeps it."""
    now = [1_700_000_000.0]
    options = PortalOptions(session_idle_s=60)
    with (
        Emulator(clock=lambda: now[0], portal_options=options) as portal,
        requests.Session() as session,
    ):
        session.trust_env = False
        base = f"{portal.url}/ServicesPortal/api"
        form = {"j_username": portal.username, "j_password": portal.password}
        session.post(f"{base}/login", data=form)
        for seconds, status in ((59, 200), (59, 200), (60, 302)):
            now[0] += seconds
            assert session.get(f"{base}/version", allow_redirects=False).status_code == status


def test_attributes_of_a_session(emulator, caller, admin):
    """The calls that tell who is where answer what the portal was made with."""
    assert caller.get("api/version").json() == emulator.portal_options.version
    assert caller.get("api/currentPortal").json() == "emulator"
    assert admin.get("api/currentPortal").json() is None
    session = caller.get("api/currentSession").json()
    uid = emulator.accounts.get(emulator.username).uid
    assert session["userRef"] == f"objs/{uid}/emulator/PortalUser/{emulator.username}"
    settings = caller.get("api/rolesSettings/readWriteAdminSettings").json()
    assert settings["canAccessEndUserFolders"] is True


def test_current_time_is_local(emulator, caller):
    """The portal's clock is as far from UTC as the option says."""
    utc = caller.get("api/currentTime").json()
    emulator.portal_options.utc_offset_s = 7200
    local = caller.get("api/currentTime").json()
    assert (int(local[11:13]) - int(utc[11:13])) % 24 in (2, 3)


def test_choose_a_tenant(admin):
    """An administrator chooses the portal, and leaves it."""
    for chosen in ("emulator", None):
        body = f"<val>{chosen}</val>" if chosen else "<val/>"
        assert admin.session.put(f"{admin.base}/api/currentPortal", data=body).status_code == 200
        assert admin.get("api/currentPortal").json() == chosen


def test_public_info_needs_no_session(make_caller, emulator):
    """Name and version are told to everyone."""
    info = make_caller().get("public/publicInfo").json()
    assert info["version"] == emulator.portal_options.version
    assert info["hasWebSSO"] is False


def test_bearer(emulator, make_caller):
    """A bearer token signs each call in; an unknown one is 401."""
    caller = make_caller()
    for token, status in (
        (emulator.bearer, 200),
        (emulator.access_key_id, 200),
        ("unknown", 401),
    ):
        response = caller.get("api/version", Authorization=f"Bearer {token}")
        assert response.status_code == status
    emulator.portal_options.access_keys_are_bearers = False
    response = caller.get("api/version", Authorization=f"Bearer {emulator.access_key_id}")
    assert response.status_code == 401


def test_ticket(emulator, admin, make_caller):
    """An administrator's ticket signs another user in, once."""
    emulator.accounts.add("ann", "secret")
    emulator.portal_options.token_required = True
    emulator.portal_options.fresh_cookie_on_refusal = (
        False  # it would take the place of the session's
    )
    ticket = admin.call("getSessionToken", {"username": "ann", "portal": "emulator"})
    caller = make_caller()
    url = f"{caller.base}/sso"
    assert caller.session.post(url, data={"ctera_ticket": ticket}).status_code == 200
    assert caller.get("api/version").status_code == 302
    told = caller.get("api/currentSession")
    assert told.json()["username"] == "ann"
    token = told.headers["X-CTERA-TOKEN"]
    assert caller.get("api/version", **{"X-CTERA-TOKEN": token}).status_code == 200
    assert make_caller().session.post(url, data={"ctera_ticket": ticket}).status_code == 403


def test_key_pair(emulator, caller, session):
    """A key pair that was made downloads, and does no more once it was deleted."""
    uid = caller.get("api/currentSession").json()["userRef"].split("/")[1]
    made = caller.call("createApiKey", uid)
    url = f"{emulator.url}/directio/{emulator.tree.file_id('/My Files/a.txt')}"
    headers = {"Authorization": f"Bearer {made['accessKey']}"}
    assert session.get(url, headers=headers).status_code == 200
    listed = caller.call("getApiKeys", uid)
    assert [key["accessKey"] for key in listed] == [emulator.access_key_id, made["accessKey"]]
    assert not any("secretKey" in key for key in listed)
    caller.call("deleteApiKey", made["uid"])
    assert session.get(url, headers=headers).status_code == 401


def test_key_of_an_end_user_downloads_nothing(emulator, make_caller, session):
    """Direct IO takes the keys of Read Write Administrators only."""
    user = emulator.accounts.add("ann", "secret")
    made = make_caller(name="ann", password="secret").call("createApiKey", user.uid)
    url = f"{emulator.url}/directio/{emulator.tree.file_id('/My Files/a.txt')}"
    headers = {"Authorization": f"Bearer {made['accessKey']}"}
    assert session.get(url, headers=headers).status_code == 401


def test_keys_of_others(emulator, make_caller):
    """An end user makes no keys for others."""
    emulator.accounts.add("ann", "secret")
    caller = make_caller(name="ann", password="secret")
    owner = emulator.accounts.get(emulator.username).uid
    assert caller.post("createApiKey", owner).status_code == 403
    assert caller.post("createApiKey", 999).status_code == 404


def test_faults_by_call(emulator, caller):
    """A fault may be for one kind of call, and leaves the others alone."""
    fault = emulator.faults.add("portal", call="currentSession", action=faults.status(503))
    assert caller.get("api/version").status_code == 200
    assert caller.get("api/currentSession").status_code == 503
    assert caller.get("api/currentSession").status_code == 200
    assert fault.hits == 1


def test_no_secret_in_reprs(emulator, caller):
    """No repr of a user or a key shows a secret."""
    user = emulator.accounts.get(emulator.username)
    assert emulator.password not in repr(user)
    assert emulator.secret_access_key not in repr(emulator.accounts.keys(user.uid))


def test_duplicate_users(emulator):
    """A login name is one user's, and so is a full name, which paths hold."""
    with pytest.raises(ValueError, match="exists"):
        emulator.accounts.add(emulator.username, "x", full_name="Another")
    with pytest.raises(ValueError, match="full name"):
        emulator.accounts.add("another", "x", full_name="Demo User")
    with pytest.raises(ValueError, match="role"):
        emulator.accounts.add("third", "x", role="King")

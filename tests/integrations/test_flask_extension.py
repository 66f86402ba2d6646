"""``flask.Ctera`` and ``send_ctera_file``, in applications of the real Flask."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator, faults

pytest.importorskip("ctera_direct_sync.wsgi")
flask = pytest.importorskip("flask")

from ctera_direct_sync.flask import Ctera, send_ctera_file  # noqa: E402

DATA = b"0123456789" * 5000


@pytest.fixture
def configuration(portal: Emulator, quick: Settings) -> dict[str, Any]:
    """The configuration of a site."""
    portal.tree.create("/My Files/reports/a ü.pdf", DATA)
    return {
        "CTERA_URL": portal.url,
        "CTERA_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_SECRET_ACCESS_KEY": portal.secret_access_key,
        "CTERA_USERNAME": portal.username,
        "CTERA_PASSWORD": portal.password,
        "CTERA_SETTINGS": quick,
    }


def make_site(configuration: dict[str, Any], ctera: Ctera | None = None) -> Any:
    """An application that sends /<ID> and /reports/<name>."""
    app = flask.Flask(__name__)
    app.config.update(configuration)
    if ctera is None:
        ctera = Ctera(app)
    else:
        ctera.init_app(app)

    @app.get("/<int:file_id>")
    def by_id(file_id: int) -> Any:
        return send_ctera_file(file_id, filename="b.txt", content_type="text/plain")

    @app.get("/reports/<name>")
    def by_path(name: str) -> Any:
        return send_ctera_file(f"/My Files/reports/{name}")

    return app


@pytest.fixture
def app(configuration: dict[str, Any]) -> Iterator[Any]:
    """An application, whose client is closed afterwards."""
    app = make_site(configuration)
    yield app
    with app.app_context():
        app.extensions["ctera"].close()


def test_a_visit(app: Any, portal: Emulator) -> None:
    """Ranges, conditions, names and types are answered as by ``flask_response``."""
    visitor = app.test_client()
    whole = visitor.get("/reports/a ü.pdf")
    assert (whole.status_code, whole.data) == (200, DATA)
    assert whole.headers["Content-Type"] == "application/pdf"
    assert whole.headers["Content-Disposition"].endswith("filename*=UTF-8''a%20%C3%BC.pdf")
    part = visitor.get("/reports/a ü.pdf", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, DATA[10:20])
    etag = {"If-None-Match": whole.headers["ETag"]}
    assert visitor.get("/reports/a ü.pdf", headers=etag).status_code == 304
    past = visitor.get("/reports/a ü.pdf", headers={"Range": "bytes=50000-"})
    assert past.status_code == 416
    assert visitor.get("/reports/missing.pdf").status_code == 404
    plain = visitor.get(f"/{portal.add(b'data')}")
    assert (plain.data, plain.headers["Content-Type"]) == (b"data", "text/plain")


def test_timeout_of_the_configuration(app: Any, portal: Emulator) -> None:
    """``CTERA_TIMEOUT`` is the time until 504."""
    app.config["CTERA_TIMEOUT"] = 0.2
    file_id = portal.add(DATA)
    portal.faults.add("storage", times=None, action=faults.stall())
    assert app.test_client().get(f"/{file_id}").status_code == 504


def test_one_client_for_each_application(configuration: dict[str, Any]) -> None:
    """An extension that serves two applications gives each its own client, and always the same."""
    ctera = Ctera()
    clients = []
    for _ in range(2):
        app = make_site(configuration, ctera)
        with app.app_context():
            clients += [ctera.client, ctera.client]
            assert ctera.names.exists("/My Files/reports")
            ctera.close()
            assert ctera.client is not clients[-1]
            ctera.close()
    assert clients[0] is clients[1] and clients[2] is clients[3]
    assert clients[0] is not clients[2]


def test_application_that_is_dropped(configuration: dict[str, Any], portal: Emulator) -> None:
    """An application that is dropped, as in tests of a factory, takes its client along."""
    ctera = Ctera()
    app = make_site(configuration, ctera)
    assert app.test_client().get(f"/{portal.add(b'data')}").data == b"data"
    del app
    gc.collect()


def test_account_of_the_environment(
    portal: Emulator, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the configuration does not give comes from the environment."""
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    portal.tree.create("/My Files/reports/b.txt", b"text")
    app = make_site({})
    assert app.test_client().get("/reports/b.txt").data == b"text"
    with app.app_context():
        app.extensions["ctera"].close()


def test_unknown_key() -> None:
    """A misspelt key is refused, and says which there are."""
    with pytest.raises(ValueError, match=r"CTERA_URI: use keys among .*CTERA_URL"):
        make_site({"CTERA_URI": "https://tenant.ctera.com"})
    with pytest.raises(TypeError, match="CTERA_SETTINGS"):
        app = make_site({"CTERA_SETTINGS": {"retries": 2}})
        with app.app_context():
            app.extensions["ctera"].client  # noqa: B018


def test_application_without_the_extension(configuration: dict[str, Any]) -> None:
    """It is told to call ``Ctera(app)`` or ``init_app``."""
    app = flask.Flask(__name__)
    with app.test_request_context("/"), pytest.raises(RuntimeError, match=r"Ctera\(app\)"):
        send_ctera_file(1)
    with app.app_context(), pytest.raises(RuntimeError, match="init_app"):
        Ctera().client  # noqa: B018

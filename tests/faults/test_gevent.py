"""gunicorn's gevent workers over HTTPS: patched after the client was made, and used."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.faults.killing import environment
from tests.faults.test_servers import both_serve, gunicorn_site


@pytest.fixture
def tls_portal() -> Iterator[Emulator]:
    """A portal and its storage over HTTPS."""
    with Emulator(tls=True) as portal:
        yield portal


@pytest.mark.timeout(120)
@pytest.mark.parametrize("preload", [True, False], ids=["preload", "late"])
def test_gevent_workers_over_https(
    tls_portal: Emulator, preload: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn -k gevent, with --preload and without, serves from an HTTPS portal and storage."""
    for module in ("gunicorn", "gevent"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_portal.ca_bundle))
    application = "wsgi_app" if preload else "late_wsgi_app"
    options = [*["--preload"] * preload, "--worker-class", "gevent"]
    with gunicorn_site(tls_portal, *options, f"tests.faults.{application}:application") as url:
        both_serve(url)


_PATCHED_LATE = """
import sys, warnings
from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync._core import core_of
file_id, verify = int(sys.argv[1]), sys.argv[2] or False
settings = Settings(retries=0)
settings.api.ssl = settings.storage.ssl = verify
with DirectIO(settings=settings) as client:
    before = b"".join(block.data for block in client.stream(file_id))
warnings.simplefilter("ignore")
from gevent import monkey
monkey.patch_all()
with DirectIO(settings=settings) as client:
    after = b"".join(block.data for block in client.stream(file_id))
    context = core_of(client).api_tls.context
assert before == after and len(after) == 5000
print(context.minimum_version.name, context.verify_mode.name, context.check_hostname)
"""


@pytest.mark.parametrize(
    ("verified", "expected"),
    [(True, "TLSv1_2 CERT_REQUIRED True"), (False, "TLSv1_2 CERT_NONE False")],
)
def test_client_made_after_a_late_patch(
    tls_portal: Emulator, verified: bool, expected: str
) -> None:
    """A client that is made after gevent patched ssl verifies as strictly as one made before."""
    pytest.importorskip("gevent")
    file_id = tls_portal.add(bytes(5000), block_size=1000)
    bundle = str(tls_portal.ca_bundle) if verified else ""
    done = subprocess.run(
        [sys.executable, "-c", _PATCHED_LATE, str(file_id), bundle],
        env=environment(tls_portal), text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == expected, done.stderr

"""The pages of the integrations: every Python block that is not marked otherwise runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from ctera_direct_sync.emulator import Emulator
from tests.support.pages import blocks
from tests.support.servers import gunicorn, listening_process, python

from .test_fsspec import host_of

pandas = pytest.importorskip("pandas")
ROOT = Path(__file__).parents[2]
CASES = [
    pytest.param(page, code, id=f"{page}-{number}")
    for page in ("pandas.md", "fsspec.md", "dask.md")
    for number, code in enumerate(blocks(page))
]


@pytest.fixture
def files(portal: Emulator) -> None:
    """The table and the prices that the pages speak of."""
    table = pandas.DataFrame({"name": ["a", "b"] * 500, "price": range(1000)})
    portal.add(table.to_csv(index=False).encode(), file_id=12345, block_size=1000)
    target = io.BytesIO()
    table.to_parquet(target)
    portal.add(target.getvalue(), file_id=67890, block_size=1000)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), CASES)
def test_blocks(
    portal: Emulator, files: None, environment: None, tmp_path: Path, page: str, code: str
) -> None:
    """A block does what its page says, with the keys in the environment, and warns of nothing."""
    if page == "dask.md":
        pytest.importorskip("distributed")
    if "duckdb" in code:
        pytest.importorskip("duckdb")
    program = tmp_path / "program.py"
    program.write_text(code.replace("tenant.ctera.com", host_of(portal)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Threads of Arrow may still let go of a file when the interpreter ends, which aborts it.
    is_arrows = "pyarrow" in code and "terminate called without an active exception" in done.stderr
    assert done.returncode == 0 or is_arrows, done.stderr
    assert os.environ["CTERA_DIRECT_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


_DJANGO = """
import os, sys
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
{view}
from django.urls import path
urlpatterns = [path("files/<int:file_id>/<name>", file)]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
"""


def _programs() -> dict[str, tuple[str, str, str]]:
    examples = ROOT / "examples"
    (flask,) = blocks("flask.md", "flask-app")
    (django,) = blocks("django.md", "django-view")
    (extension,) = blocks("flask.md", "flask-extension")
    (fastapi,) = blocks("fastapi.md", "fastapi-app")
    return {
        "flask page": ("flask", flask, "app"),
        "django page": ("django", _DJANGO.format(view=django), "app"),
        "flask extension page": ("flask", extension, "app"),
        "fastapi page": ("fastapi", fastapi, "app"),
        "flask example": ("flask", (examples / "flask_app.py").read_text(), "app"),
        "django example": ("django", (examples / "django_app.py").read_text(), "application"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", _programs())
def test_sites(
    portal: Emulator, files: None, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    """The applications of the pages, and the examples, under gunicorn or uvicorn."""
    framework, code, variable = _programs()[name]
    pytest.importorskip(framework)
    (tmp_path / "site_of_a_test.py").write_text(code, encoding="utf-8")
    place = f"site_of_a_test:{variable}"
    if framework == "fastapi":
        pytest.importorskip("uvicorn")
        line = python("uvicorn", "--port", "0", place)
    else:
        pytest.importorskip("gunicorn")
        line = gunicorn("--worker-class", "gthread", "--threads", "8", place)
    with listening_process(line, tmp_path, environment) as site:
        place = "12345/report.pdf" if "page" in name else "report.pdf"
        url = f"http://127.0.0.1:{site.port}/files/{place}"
        part = requests.get(url, headers={"Range": "bytes=0-9"}, timeout=60)
        assert (part.status_code, part.content) == (206, b"name,price")
        assert part.headers["Content-Type"] == "application/pdf"
        assert part.headers["Content-Disposition"] == 'attachment; filename="report.pdf"'
        missing = url.replace("12345", "99") if "page" in name else url + "x"
        assert requests.get(missing, timeout=60).status_code == 404

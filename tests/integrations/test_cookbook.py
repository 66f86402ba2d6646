"""The ten examples of the cookbook, run as a reader would run them: programs with arguments, and sites."""

from __future__ import annotations

import html
import io
import json
import os
import re
import runpy
import sqlite3
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.file_systems import close_file_systems, variables_of
from tests.support.programs import load_program

EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCK = 50_000
DATA = SyntheticSource(300_000, seed=7).read(0, 300_000)


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose files have several blocks."""
    with Emulator(block_size=BLOCK) as portal:
        yield portal


@pytest.fixture
def account(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the portal and its user in the environment, here and for programs that are started."""
    for name, value in variables_of(portal).items():
        monkeypatch.setenv(name, value)


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(account: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a program in this process, and return what it prints to standard output and standard error."""

    def run_here(program: str, *arguments: str, code: int = 0) -> tuple[str, str]:
        path = str(EXAMPLES / program)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [path, *arguments])
            found: object = 0
            try:
                runpy.run_path(path, run_name="__main__")
            except SystemExit as end:
                found = end.code or 0
        printed, complained = capsys.readouterr()
        if isinstance(found, str):  # As the interpreter does.
            complained, found = f"{complained}{found}\n", 1
        assert found == code, printed + complained
        check_secrets(printed + complained)
        return printed, complained

    return run_here


def run_alone(*line: str, cwd: Path, code: int = 0, **variables: str) -> tuple[str, str]:
    """Run Python in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *line], cwd=cwd, env={**os.environ, **variables},
        timeout=120, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    check_secrets(done.stdout + done.stderr)
    return done.stdout, done.stderr


def check_secrets(printed: str) -> None:
    """Check that nothing that was printed is a secret of the account."""
    for name in ("CTERA_DIRECT_PASSWORD", "CTERA_DIRECT_SECRET_ACCESS_KEY"):
        assert os.environ[name] not in printed


def load(program: str, **variables: str) -> ModuleType:
    """Return an example as a module, as a server would load it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return load_program(EXAMPLES / f"{program}.py")


# --- mirror, scan, duplicates ----------------------------------------------------------------------------


def test_nightly_mirror(portal: Emulator, run: Run, tmp_path: Path) -> None:
    """A night is quiet and logged. A night that must not delete says how to allow it."""
    portal.tree.create("/My Files/reports/2026/a.bin", DATA)
    portal.tree.create("/My Files/reports/b.txt", b"b")
    folder, log = tmp_path / "reports", tmp_path / "log.jsonl"
    night = ("nightly_mirror.py", "/My Files/reports", str(folder), "--log", str(log))
    assert run(*night) == ("", "")
    assert (folder / "2026" / "a.bin").read_bytes() == DATA
    portal.tree.delete("/My Files/reports/b.txt")
    _, complaint = run(*night, "--max-delete", "0", code=1)
    assert "--max-delete 1" in complaint
    assert (folder / "b.txt").read_bytes() == b"b"
    assert run(*night) == ("", "")
    assert not (folder / "b.txt").exists()
    rounds = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["added"], each["deleted"]) for each in rounds] == [(2, 0), (0, 1)]


def test_nightly_mirror_without_a_portal(portal: Emulator, run: Run, tmp_path: Path) -> None:
    """A wrong path is for a person, and a conflict is reported."""
    _, complaint = run("nightly_mirror.py", "/My Files/gone", str(tmp_path / "gone"), code=1)
    assert complaint.startswith("nightly_mirror: ")
    portal.tree.create("/My Files/a.txt", b"a")
    run("nightly_mirror.py", "/My Files", str(tmp_path / "files"))
    (tmp_path / "files" / "a.txt").write_bytes(b"mine")
    printed, _ = run("nightly_mirror.py", "/My Files", str(tmp_path / "files"), code=1)
    assert printed.startswith("conflict: a.txt: ")


SCANNER = "import sys; sys.exit(b'EICAR' in sys.stdin.buffer.read())"


def test_scan_changes(portal: Emulator, run: Run, tmp_path: Path) -> None:
    """Each changed file is scanned once, and a virus is named."""
    portal.tree.create("/My Files/clean.bin", DATA)
    portal.tree.create("/My Files/in/sick.bin", DATA + b"EICAR" + DATA)
    scan = ("scan_changes.py", str(tmp_path / "scan.cursor"), "--", sys.executable, "-c")
    printed, _ = run(*scan, SCANNER, code=1)
    assert re.fullmatch(r"virus: /My Files/in/sick\.bin \(file ID \d+\)\n", printed)
    assert run(*scan, SCANNER) == ("", "")
    portal.tree.overwrite("/My Files/clean.bin", b"EICAR")
    assert "clean.bin" in run(*scan, SCANNER, code=1)[0]


def test_scan_that_fails_is_repeated(portal: Emulator, run: Run, tmp_path: Path) -> None:
    """A scanner that fails, or a file that does not come, is not a clean file: the page comes again."""
    file_id = portal.tree.create("/My Files/a.bin", DATA)
    cursor = tmp_path / "scan.cursor"
    scan = ("scan_changes.py", str(cursor), "--", sys.executable, "-c")
    assert "ended with 3" in run(*scan, "raise SystemExit(3)", code=2)[1]
    assert "without a verdict" in run(*scan, "raise SystemExit(0)", code=2)[1]
    portal.faults.add("storage", file_id=file_id, block=3, action=faults.status(403), times=9)
    assert "scan_changes: " in run(*scan, SCANNER, code=2)[1]
    portal.faults.clear()
    assert run(*scan, SCANNER) == ("", "")


def test_find_duplicates(portal: Emulator, run: Run) -> None:
    """Files of equal content are found; files of their own size, or with another head, are not read."""
    other = b"x" + DATA[1:]
    late = DATA[:-1] + b"x"
    alone = portal.tree.create("/My Files/alone.bin", DATA[:-1])
    for path, data in {"a": DATA, "b/a": DATA, "c": other, "d": late, "e": b"", "f": b""}.items():
        portal.tree.create(f"/My Files/{path}", data)
    printed, _ = run("find_duplicates.py", "/My Files")
    head, *paths = printed.splitlines()
    assert head == f"2 files of {len(DATA)} bytes:"
    assert sorted(paths) == ["  /My Files/a", "  /My Files/b/a"]
    read = Counter(each.file_id for each in portal.log.records(where="storage"))
    assert alone not in read
    assert read[portal.tree.file_id("/My Files/c")] == 1


def test_find_duplicates_of_unreadable_files(portal: Emulator, run: Run) -> None:
    """What cannot be read is reported, and is not called different."""
    for name in "ab":
        portal.tree.create(f"/My Files/{name}", DATA)
    portal.tree.create("/My Files/closed/c", DATA)
    portal.tree.deny("/My Files/closed")
    portal.faults.add(
        "storage", file_id=portal.tree.file_id("/My Files/a"), action=faults.status(403), times=9
    )
    printed, complaint = run("find_duplicates.py", "/My Files", code=1)
    assert printed == ""
    assert "not compared: /My Files/a: " in complaint and "/My Files/closed" in complaint


# --- sites -----------------------------------------------------------------------------------------------


@pytest.fixture
def site(account: None) -> Iterator[Any]:
    """Load an example that is a Flask application, and close its client afterwards."""
    pytest.importorskip("flask")
    pytest.importorskip("werkzeug")
    loaded: list[ModuleType] = []

    def load_site(program: str, **variables: str) -> Any:
        loaded.append(load(program, **variables))
        return loaded[-1].app.test_client()

    yield load_site
    for module in loaded:
        with module.app.app_context():
            module.ctera.close()


def test_flask_video(portal: Emulator, site: Any) -> None:
    """The page lists the films, and the player gets the part that it asks for."""
    portal.tree.create("/My Files/films/<b> & c.webm", DATA)
    portal.tree.create("/My Files/films/notes.txt", b"not a film")
    client = site("flask_video", FILMS="/My Files/films")
    page = client.get("/").text
    assert "&lt;b&gt; &amp; c.webm" in page and "notes.txt" not in page
    link = html.unescape(re.findall('href="([^"]+)"', page)[0])
    player = client.get(link).text
    source = html.unescape(re.findall('src="([^"]+)"', player)[0])
    part = client.get(source, headers={"Range": "bytes=200000-200009"})
    assert (part.status_code, part.data) == (206, DATA[200_000:200_010])
    assert part.content_type == "video/webm"
    assert {each.block for each in portal.log.records(where="storage")} == {5}
    assert [client.get(f"/films/{name}").status_code for name in ("notes.txt", "no.mp4")] == [
        404
    ] * 2


def test_flask_video_without_a_folder(portal: Emulator, site: Any) -> None:
    """A folder that cannot be listed is an answer, whose reason is in the log alone."""
    answer = site("flask_video", FILMS="/My Files/gone").get("/")
    assert (answer.status_code, "gone" in answer.text) == (502, False)


def test_zip_folder(portal: Emulator, site: Any) -> None:
    """The archive holds the folder's files, whole and by their names below it."""
    portal.tree.create("/My Files/reports/ü/a.bin", DATA)
    portal.tree.create("/My Files/reports/b.txt", b"b")
    portal.tree.mkdir("/My Files/reports/empty")
    answer = site("zip_folder", FOLDER="/My Files").get("/reports.zip")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["b.txt", "empty/", "ü/", "ü/a.bin"]
        assert archive.read("ü/a.bin") == DATA


def test_zip_folder_that_fails(portal: Emulator, site: Any) -> None:
    """A block that does not come breaks the answer off. What is not a folder is 404."""
    file_id = portal.tree.create("/My Files/reports/a.bin", DATA)
    client = site("zip_folder", FOLDER="/My Files")
    for place in ("gone", "reports/a.bin", "reports/.."):
        assert client.get(f"/{place}.zip").status_code == 404
    portal.faults.add("storage", file_id=file_id, block=4, action=faults.status(403), times=9)
    with pytest.raises(OSError, match=r"reports/a\.bin"):
        client.get("/reports.zip").get_data()


DJANGO = """
import html, re
import django_filefield
from django.test import Client

page = Client().get("/", headers={"host": "localhost"}).content.decode()
links = re.findall('href="([^"]+)">([^<]+)<', page)
print([title for _, title in links])
answer = Client().get(html.unescape(links[0][0]), headers={"host": "localhost", "range": "bytes=10-19"})
print(answer.status_code, b"".join(answer.streaming_content).decode("latin-1"))
"""


@pytest.mark.slow
def test_django_filefield(portal: Emulator, account: None, tmp_path: Path) -> None:
    """The rows name the portal's files, and the page's links serve their ranges."""
    pytest.importorskip("django")
    pytest.importorskip("werkzeug")
    portal.tree.create("/My Files/media/reports/a & b.pdf", b"0123456789" * 10_000)
    portal.tree.create("/My Files/media/reports/c.pdf", DATA)
    site = {
        "DJANGO_SECRET_KEY": "of a test",
        "PYTHONPATH": str(EXAMPLES),
        "MEDIA": "/My Files/media",
    }
    program = str(EXAMPLES / "django_filefield.py")
    printed, _ = run_alone(program, "reports", cwd=tmp_path, **site)
    assert printed == "2 files, 2 documents\n"
    printed, _ = run_alone("-c", DJANGO, cwd=tmp_path, **site)
    assert printed == "['a &amp; b.pdf', 'c.pdf']\n206 0123456789\n"


# --- data ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dask_folder(portal: Emulator, run: Run) -> None:
    """The words of all texts are counted once, whichever folder they are in."""
    pytest.importorskip("distributed")
    pytest.importorskip("dask.bag")
    for number in range(40):
        portal.tree.create(f"/My Files/texts/{number % 3}/{number}.txt", b"one Two two\nthree\n")
    portal.tree.create("/My Files/texts/other.bin", b"four")
    count = ("dask_folder.py", "/My Files/texts", "--scheduler", "sync")
    printed, _ = run(*count)
    assert printed.splitlines() == [
        "40 files, 160 words", "        80 two", "        40 one", "        40 three"
    ]  # fmt: skip
    file_id = portal.tree.file_id("/My Files/texts/0/0.txt")
    portal.faults.add("storage", file_id=file_id, action=faults.status(403), times=9)
    printed, complaint = run(*count, code=1)
    assert printed.startswith("39 files, 156 words")
    assert complaint.startswith("not counted: /My Files/texts/0/0.txt: ")


@pytest.mark.slow
def test_duckdb_folder(portal: Emulator, run: Run) -> None:
    """SQL sees the rows of all tables, and the columns that the folders' names say."""
    pytest.importorskip("duckdb")
    pytest.importorskip("fsspec")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for year in (2025, 2026):
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.table({"amount": [year, 1]}), buffer)
        portal.tree.create(f"/My Files/sales/year={year}/a.parquet", buffer.getvalue())
    ask = ("duckdb_folder.py", "/My Files/sales")
    printed, _ = run(*ask, "select year, sum(amount) as total from files group by year order by 1")
    assert re.findall(r"\b(202\d) +[^\d]+ +(\d+)\b", printed) == [
        ("2025", "2026"),
        ("2026", "2027"),
    ]
    assert "nothing" in run(*ask, "select nothing from files", code=1)[1]
    assert run("duckdb_folder.py", "/My Files/gone", "select 1", code=1)[1].count("\n") == 1
    close_file_systems()


def test_embed_text(portal: Emulator, run: Run, tmp_path: Path) -> None:
    """Texts are embedded once, again after a change, and forgotten when they are gone."""
    portal.tree.create("/My Files/notes/lease.txt", b"The lease of the house ends in May.")
    portal.tree.create("/My Files/notes/in/soup.md", b"Boil the carrots, then add the onions.")
    portal.tree.create("/My Files/notes/photo.jpg", b"a lease")
    notes = ("embed_text.py", str(tmp_path / "notes"))
    follow = (*notes, "--follow", "/My Files/notes", "--once")
    assert sorted(run(*follow)[0].splitlines()) == ["embedded: in/soup.md", "embedded: lease.txt"]
    assert run(*follow)[0] == ""
    assert run(*notes, "--ask", "when does the lease end?")[0].splitlines()[0].endswith("lease.txt")
    portal.tree.overwrite("/My Files/notes/in/soup.md", b"The lease ends when it ends.")
    portal.tree.delete("/My Files/notes/lease.txt")
    assert run(*follow)[0] == "embedded: in/soup.md\n"
    with closing(sqlite3.connect(tmp_path / "notes.vectors")) as index:
        assert index.execute("select path from texts").fetchall() == [("in/soup.md",)]


# --- S3 --------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket in moto's server, whose address and keys are in the environment."""
    server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
        client.close()
    finally:
        running.stop()


@pytest.mark.slow
def test_copy_to_s3(portal: Emulator, run: Run, s3: Any) -> None:
    """Files are copied once, whole or not at all, and again after they changed."""
    portal.tree.create("/My Files/reports/2026/a.bin", DATA)
    portal.tree.create("/My Files/reports/b.txt", b"b")
    copy = ("copy_to_s3.py", "/My Files/reports/", "bucket", "--prefix", "copy/")
    file_id = portal.tree.file_id("/My Files/reports/2026/a.bin")
    portal.faults.add("storage", file_id=file_id, block=4, action=faults.status(403), times=9)
    printed, complaint = run(*copy, code=1)
    assert (printed, complaint[:29]) == (
        "1 copied, 0 unchanged, 1 failed\n", "/My Files/reports/2026/a.bin:"
    )  # fmt: skip
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="bucket")["Contents"]] == [
        "copy/b.txt"
    ]
    portal.faults.clear()
    assert run(*copy)[0] == "1 copied, 1 unchanged, 0 failed\n"
    assert s3.get_object(Bucket="bucket", Key="copy/2026/a.bin")["Body"].read() == DATA
    portal.tree.overwrite("/My Files/reports/b.txt", b"c")
    assert run(*copy)[0] == "1 copied, 1 unchanged, 0 failed\n"


# --- the cookbook ----------------------------------------------------------------------------------------


def test_docstrings_say_how_to_begin() -> None:
    """Each program of the cookbook says what to install, which account it needs, and how to run it."""
    page = (EXAMPLES.parent / "docs" / "howto" / "cookbook.md").read_text("utf-8")
    shown = re.findall(r"^<!-- code: examples/(\w+\.py) -->$", page, re.MULTILINE)
    assert len(shown) == len(set(shown)) == 10
    for name in shown:
        code = (EXAMPLES / name).read_text("utf-8")
        for word in ("Install:", "Account:", "Run:"):
            assert f"\n{word} " in code.split('"""')[1], name
        assert len(code.splitlines()) <= 95, name
        assert f"`examples/{name}`" in page


@pytest.mark.parametrize("program", ["django_app", "flask_app", "flask_video", "zip_folder"])
def test_application_run_as_a_program(account: None, tmp_path: Path, program: str) -> None:
    """An application for a server says how it is started, rather than end without a word."""
    _, complained = run_alone(str(EXAMPLES / f"{program}.py"), cwd=tmp_path, code=1)
    assert f"{program}:app" in complained

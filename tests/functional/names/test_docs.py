"""The programs of the pages on names and accounts, run against an emulator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator

PAGES = Path(__file__).parents[3] / "docs" / "howto"
NAMES = ("find-files.md", "accounts.md", "migrate-files.md")
BLOCK = re.compile(r"<!-- name: (.*?) -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = {
    match[1]: (match[2], match[3])
    for name in NAMES
    for match in BLOCK.finditer((PAGES / name).read_text("utf-8"))
}
pytestmark = pytest.mark.keeps_partial

PROGRAMS = {name: code for name, (language, code) in BLOCKS.items() if language == "python"}
TREE = {
    "reports": {
        "a.pdf": b"%PDF a",
        "2025": {"budget.xlsx": b"old"},
        "2026": {"budget.xlsx": b"the termination clause", "t.parquet": b"PAR1"},
    }
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name, tmp_path, monkeypatch):
    """A program of the page runs, and finds what the page says."""
    with Emulator(username="alice", tree=TREE) as portal:
        portal.accounts.add("smith", "x", full_name="Alice Smith")
        portal.tree.add_cloud_folder("My Files", owner="smith")
        monkeypatch.chdir(tmp_path)
        for variable, value in {
            "URL": portal.url,
            "USERNAME": portal.username,
            "PASSWORD": portal.password,
            "ACCESS_KEY_ID": portal.access_key_id,
            "SECRET_ACCESS_KEY": portal.secret_access_key,
        }.items():
            monkeypatch.setenv(f"CTERA_DIRECT_{variable}", value)
        found: dict[str, object] = {}
        exec(compile(PROGRAMS[name], name, "exec"), found)
        portal.stop()
    if name in ("find-download", "find-keys"):
        assert (tmp_path / "a.pdf").read_bytes() == b"%PDF a"
    if name == "migrated-files":
        assert (tmp_path / "inbox" / "a.pdf").read_bytes() == b"%PDF a"
    if name == "find-glob":
        assert found["tables"] == ["/My Files/reports/2026/t.parquet"]
        assert found["years"] == ["2025", "2026"]
    if name == "find-search":
        assert [len(found["budgets"]), len(found["contracts"])] == [2, 1]
    if name == "find-walk":
        assert found["nbytes"] == 35


def test_environment_block():
    """The page sets the variables that a Namespace reads."""
    names = re.findall(r"export (\w+)=", BLOCKS["find-environment"][1])
    assert names == ["CTERA_DIRECT_URL", "CTERA_DIRECT_USERNAME", "CTERA_DIRECT_PASSWORD"]

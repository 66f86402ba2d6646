"""The examples of the integrations, run as a reader would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = SyntheticSource(400_000, seed=6).read(0, 400_000)


def words_of(text: bytes) -> Counter[bytes]:
    """The words, counted in one go."""
    return Counter(text.split())


@pytest.fixture
def wordcount(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the examples share."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import wordcount

    return wordcount


@pytest.mark.parametrize("share", [1, 10_000, 10**9])
@pytest.mark.parametrize("sizes", [1000, (1, 2, 3000), (0, 70_000)])
def test_shares_give_the_whole(
    wordcount: Any, portal: Emulator, environment: None, share: int, sizes: Any
) -> None:
    """However the file is cut, the shares' words are the file's; blocks are fetched once."""
    text = TEXT[: 20_000 if share == 1 else len(TEXT)]
    listing = wordcount.listed(portal.add(text, block_size=sizes))
    shares = wordcount.shares(listing, share)
    if len(shares) > 25:
        shares = [*shares[:25], wordcount.Share(shares[25].start, len(text) - 1)]
    counted = [wordcount.count(listing, each) for each in shares]
    assert wordcount.merged(counted) == words_of(text)
    assert portal.log.total("portal") == 1


@given(st.text("ab \n", max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_words_that_are_cut(text: str, cuts: list[int]) -> None:
    """Words over the edges of blocks and shares are counted once, whatever the cuts."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        import wordcount
    finally:
        sys.path.pop(0)
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    blocks = [data[a:b] for a, b in zip(edges, edges[1:])]
    for step in (1, 2, 3):
        groups = [blocks[n : n + step] for n in range(0, len(blocks), step)]
        counted = [wordcount._counted([_Done(block) for block in group]) for group in groups]
        assert wordcount.merged(counted) == words_of(data)


class _Done:
    """A future of a block that is there."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def result(self) -> _Done:
        """Itself, as it is block and future in one."""
        return self


def run(program: str, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments],
        env={**os.environ, **environment}, cwd=cwd, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("CTERA_DIRECT_ACCESS_KEY_ID", "CTERA_DIRECT_SECRET_ACCESS_KEY"):
        assert os.environ[name] not in done.stdout + done.stderr
    return done.stdout


def check_wordcount(portal: Emulator, program: str, folder: Path) -> None:
    """An example counts right, with one listing, each block once."""
    file_id = portal.add(TEXT, block_size=30_001)
    words = words_of(TEXT)
    printed = run(
        program, str(file_id), "--share", "0.1", cwd=folder, TMPDIR=str(folder)
    ).splitlines()
    assert printed[0] == f"{sum(words.values())} words, {len(words)} different"
    assert len(printed) == 11
    assert printed[1].split()[0] == str(words.most_common(1)[0][1])
    assert portal.log.total("portal") == 1
    assert sorted(each.block for each in portal.log.records(where="storage")) == list(range(1, 15))


@pytest.mark.slow
def test_dask_wordcount(portal: Emulator, environment: None, tmp_path: Path) -> None:
    """dask_wordcount.py, on the cluster that it starts."""
    pytest.importorskip("distributed")
    check_wordcount(portal, "dask_wordcount.py", tmp_path)


@pytest.mark.slow
def test_spark_wordcount(portal: Emulator, environment: None, tmp_path: Path) -> None:
    """spark_wordcount.py, on a local Spark; needs pyspark and Java, which `make test` does not install."""
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    check_wordcount(portal, "spark_wordcount.py", tmp_path)


@pytest.mark.slow
def test_ray_wordcount(portal: Emulator, environment: None, tmp_path: Path) -> None:
    """ray_wordcount.py, on a local Ray; needs ray, which `make test` does not install."""
    pytest.importorskip("ray")
    # Ray keeps sockets in its temporary folder, whose name must be short for that.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        check_wordcount(portal, "ray_wordcount.py", Path(folder))


def test_executor_after_the_urls_expired(
    wordcount: Any, portal: Emulator, client: DirectIO, environment: None
) -> None:
    """A share that is counted after the URLs have expired is listed again, and right."""
    listing = wordcount.listed(portal.add(TEXT, block_size=50_000))
    portal.expire_urls()
    whole = wordcount.Share(0, len(TEXT) - 1)
    assert wordcount.merged([wordcount.count(listing, whole)]) == words_of(TEXT)
    assert portal.log.total("portal") == 2

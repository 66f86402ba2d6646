"""Programs that take a file object, given one of ``DirectIO.open``."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource

from .conftest import Fetched

BLOCK = 16 * 1024


def rows(count: int = 5000) -> str:
    """A table as CSV: numbers, text with commas and other scripts."""
    chance = random.Random(4)
    lines = ["id,name,value"]
    lines += [f'{n},"wörd, {chance.choice("abc")}",{chance.random()}' for n in range(count)]
    return "\n".join(lines) + "\n"


# --- the standard library --------------------------------------------------------------------------------


def test_csv(portal: Emulator, client: DirectIO) -> None:
    """csv reads rows through a TextIOWrapper."""
    with client.open(portal.add(rows().encode(), block_size=BLOCK)) as file:
        found = list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))
    assert found == list(csv.DictReader(io.StringIO(rows())))
    assert found[7]["name"].startswith("wörd, ")


def test_json(portal: Emulator, client: DirectIO) -> None:
    """json.load takes the file."""
    value = {"a": list(range(20_000)), "ü": None}
    with client.open(portal.add(json.dumps(value).encode(), block_size=BLOCK)) as file:
        assert json.load(file) == value


def test_copyfileobj(portal: Emulator, client: DirectIO, fetched: Fetched) -> None:
    """shutil.copyfileobj copies all, each block fetched once."""
    data = SyntheticSource(500_001).read(0, 500_001)
    target = io.BytesIO()
    with client.open(portal.add(data, block_size=BLOCK)) as file:
        shutil.copyfileobj(file, target)
    assert target.getvalue() == data
    assert sorted(fetched()) == list(range(1, 32))


def test_gzip(portal: Emulator, client: DirectIO) -> None:
    """gzip decompresses from it."""
    data = SyntheticSource(300_000).read(0, 300_000)
    with (
        client.open(portal.add(gzip.compress(data), block_size=BLOCK)) as file,
        gzip.open(file) as plain,
    ):
        assert plain.read() == data


def archive_members() -> dict[str, bytes]:
    """Names and content; random bytes, which no archive makes smaller."""
    return {
        f"folder/{n}.bin": SyntheticSource(40_000 + n, n, kind="random").read(0, 40_000 + n)
        for n in range(20)
    }


def test_zipfile_reads_one_member(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched
) -> None:
    """Of a zip archive, the index and one member are fetched, not the rest."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in archive_members().items():
            archive.writestr(name, data)
    file_id = portal.add(packed.getvalue(), block_size=BLOCK)
    with serial_client.open(file_id) as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == list(archive_members())
        # The directory of 20 members lies in the last block or two.
        assert len(set(fetched())) <= 2
        assert archive.read("folder/11.bin") == archive_members()["folder/11.bin"]
        # 40,011 bytes span at most 4 blocks, and one or two are read ahead.
        assert len(set(fetched())) <= 2 + 4 + 2
        assert archive.testzip() is None
    assert len(fetched()) >= 49


def test_zipfile_shared_by_threads(portal: Emulator, client: DirectIO) -> None:
    """ZipFile puts a lock of its own around its file: members may be read by several threads."""
    from concurrent.futures import ThreadPoolExecutor

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in archive_members().items():
            archive.writestr(name, data)
    file_id = portal.add(packed.getvalue(), block_size=BLOCK)
    with client.open(file_id) as file, zipfile.ZipFile(file) as archive:
        pool = ThreadPoolExecutor(4)
        found = list(pool.map(archive.read, archive.namelist()))
        pool.shutdown()
    assert found == list(archive_members().values())


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
@pytest.mark.parametrize("stream", [False, True])
def test_tarfile(portal: Emulator, client: DirectIO, compression: str, stream: bool) -> None:
    """A tar archive, compressed or not, is read by seeking and as a stream."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as archive:
        for name, data in archive_members().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    file_id = portal.add(packed.getvalue(), block_size=BLOCK)
    mode = f"r|{compression}" if stream else "r"
    with client.open(file_id) as file, tarfile.open(fileobj=file, mode=mode) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert found == archive_members()


def test_tarfile_lists_without_reading(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched
) -> None:
    """Listing a tar archive of large members reads their headers alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for n in range(5):
            member = tarfile.TarInfo(f"{n}")
            member.size = 20 * BLOCK
            archive.addfile(member, io.BytesIO(bytes(20 * BLOCK)))
    file_id = portal.add(packed.getvalue(), block_size=BLOCK)
    with serial_client.open(file_id) as file, tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == list("01234")
    # 6 headers; a reader of the first bytes of a block after the last of another may read one ahead.
    assert len(fetched()) <= 12 < len(packed.getvalue()) // BLOCK


# --- data frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["c", "python", "pyarrow"])
def test_pandas_read_csv(portal: Emulator, client: DirectIO, engine: str) -> None:
    """pandas.read_csv takes the file, with each of its engines."""
    pandas = pytest.importorskip("pandas")
    with client.open(portal.add(rows().encode(), block_size=BLOCK)) as file:
        found = pandas.read_csv(file, engine=engine)
    pandas.testing.assert_frame_equal(found, pandas.read_csv(io.StringIO(rows()), engine="c"))


def test_pandas_read_csv_in_chunks(portal: Emulator, client: DirectIO) -> None:
    """pandas.read_csv(chunksize=...) reads on as the chunks are taken."""
    pandas = pytest.importorskip("pandas")
    file_id = portal.add(rows().encode(), block_size=BLOCK)
    with client.open(file_id) as file, pandas.read_csv(file, chunksize=700) as chunks:
        found = pandas.concat(chunks)
    assert len(found) == 5000 and found["id"].sum() == sum(range(5000))


COLUMNS, GROUPS, ROWS = 8, 4, 4000


@pytest.fixture(scope="module")
def parquet() -> bytes:
    """A table of 8 columns in 4 row groups; each column's chunk has 32,000 bytes and a little."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    chance = random.Random(1)
    table = pyarrow.table(
        {
            f"c{n}": pyarrow.array([chance.random() for _ in range(GROUPS * ROWS)])
            for n in range(COLUMNS)
        }
    )
    target = io.BytesIO()
    parquet.write_table(
        table, target, row_group_size=ROWS, compression="none", use_dictionary=False
    )
    return target.getvalue()


def needed_blocks(parquet_file: bytes, column: str, block: int) -> set[int]:
    """The blocks that hold a column's chunks, and the footer, by the file's own metadata."""
    from pyarrow import parquet

    metadata = parquet.ParquetFile(io.BytesIO(parquet_file)).metadata
    spans = [(len(parquet_file) - 64 * 1024, len(parquet_file))]  # What pyarrow reads of the end.
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.path_in_schema == column:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                spans.append((start, start + chunk.total_compressed_size))
    return {
        number + 1 for start, stop in spans for number in range(start // block, -(-stop // block))
    }


@pytest.mark.parametrize("column", ["c0", "c3", "c7"])
@pytest.mark.parametrize("pre_buffer", [False, True])
def test_parquet_projection_fetches_only_needed_blocks(
    portal: Emulator,
    make_serial_client: Callable[..., DirectIO],
    fetched: Fetched,
    parquet: bytes,
    column: str,
    pre_buffer: bool,
) -> None:
    """Reading one column of eight fetches the footer's blocks and that column's, and each once."""
    from pyarrow import parquet as pq

    block = 8192
    needed = needed_blocks(parquet, column, block)
    assert len(needed) < len(parquet) // block // 3
    file_id = portal.add(parquet, block_size=block)
    with make_serial_client().open(file_id) as file:
        table = pq.read_table(file, columns=[column], pre_buffer=pre_buffer)
    assert table.equals(pq.read_table(io.BytesIO(parquet), columns=[column]))
    assert sorted(fetched()) == sorted(set(fetched()))
    assert needed >= set(fetched())
    # All but what lies in the end's 64 KiB before the footer proper was needed for certain.
    assert len(fetched()) >= len(needed) - 64 * 1024 // block


def test_parquet_row_group(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched, parquet: bytes
) -> None:
    """One row group of one column is a few blocks of many."""
    from pyarrow import parquet as pq

    with serial_client.open(portal.add(parquet, block_size=8192)) as file:
        pf = pq.ParquetFile(file)
        opened = len(fetched())
        assert pf.read_row_group(1, columns=["c2"]).num_rows == ROWS
    # 32,000 bytes and a page header lie in 4 or 5 blocks of 8,192 bytes.
    assert 4 <= len(fetched()) - opened <= 5


def test_pandas_read_parquet(portal: Emulator, client: DirectIO, parquet: bytes) -> None:
    """pandas.read_parquet takes the file, whole or by column."""
    pandas = pytest.importorskip("pandas")
    file_id = portal.add(parquet, block_size=BLOCK)
    with client.open(file_id) as file:
        whole = pandas.read_parquet(file)
    with client.open(file_id) as file:
        some = pandas.read_parquet(file, columns=["c5", "c1"])
    pandas.testing.assert_frame_equal(whole, pandas.read_parquet(io.BytesIO(parquet)))
    pandas.testing.assert_frame_equal(some, whole[["c5", "c1"]])


def test_pandas_read_excel_like_zip(portal: Emulator, client: DirectIO) -> None:
    """pandas reads a compressed CSV from a zip archive in the file."""
    pandas = pytest.importorskip("pandas")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", rows())
    with client.open(portal.add(packed.getvalue(), block_size=BLOCK)) as file:
        assert len(pandas.read_csv(file, compression="zip")) == 5000


def test_arrow_ipc(portal: Emulator, client: DirectIO) -> None:
    """pyarrow reads its own file format from it."""
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": list(range(10_000)), "b": ["x"] * 10_000})
    target = io.BytesIO()
    with pyarrow.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table)
    with client.open(portal.add(target.getvalue(), block_size=BLOCK)) as file:
        assert pyarrow.ipc.open_file(file).read_all().equals(table)


# --- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_pillow(portal: Emulator, client: DirectIO, kind: str) -> None:
    """Pillow opens pictures from it."""
    image_module = pytest.importorskip("PIL.Image")
    noise = SyntheticSource(300 * 200 * 3, kind="random").read(0, 300 * 200 * 3)
    picture = image_module.frombytes("RGB", (300, 200), noise)
    saved = io.BytesIO()
    picture.save(saved, kind)
    wanted = image_module.open(saved)
    file_id = portal.add(saved.getvalue(), block_size=BLOCK)
    with client.open(file_id) as file, image_module.open(file) as found:
        assert (found.format, found.size) == (kind, (300, 200))
        assert found.tobytes() == wanted.tobytes()

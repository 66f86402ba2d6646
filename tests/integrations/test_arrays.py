"""Arrays of zarr and pyarrow over memory that the client fills, and blocks as buffers without a copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource

numpy = pytest.importorskip("numpy")

BLOCK = 16 * 1024


def test_zarr_reads_a_chunk_from_memory(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """A chunk without compression, read into an array of NumPy, is zarr's chunk without a copy."""
    zarr = pytest.importorskip("zarr", minversion="3")
    from zarr.core.buffer.cpu import Buffer
    from zarr.storage import LocalStore, MemoryStore

    data = numpy.arange(30_000, dtype="<i4").reshape(100, 300)
    written = zarr.create_array(
        LocalStore(tmp_path), shape=data.shape, chunks=data.shape, dtype="<i4", compressors=None
    )
    written[:] = data
    stored = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    description = stored.pop("zarr.json")
    ((name, chunk),) = stored.items()
    assert json.loads(description)["shape"] == [100, 300]

    file_id = portal.add(chunk, block_size=BLOCK)
    memory = numpy.empty(len(chunk), "u1")
    assert client.read_into(file_id, memory) == len(chunk)
    store = MemoryStore(
        {"zarr.json": Buffer.from_bytes(description), name: Buffer.from_array_like(memory)}
    )
    assert (zarr.open_array(store, mode="r")[:] == data).all()
    # zarr keeps two threads and an event loop for the next call.
    zarr.core.sync.cleanup_resources()


def test_arrow_reads_a_table_from_memory(portal: Emulator, client: DirectIO) -> None:
    """A file of Arrow's IPC format, read into a buffer of pyarrow, becomes a table without a copy."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc

    table = pyarrow.table({"x": numpy.arange(20_000), "y": numpy.linspace(0, 1, 20_000)})
    sink = pyarrow.BufferOutputStream()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()

    memory = pyarrow.allocate_buffer(len(data))
    assert client.read_into(portal.add(data, block_size=BLOCK), memory) == len(data)
    found = ipc.open_file(memory).read_all()
    assert found.equals(table)
    (values,) = found.column("x").chunks
    address = values.buffers()[1].address
    assert memory.address <= address < memory.address + memory.size


def test_blocks_are_buffers_without_a_copy(portal: Emulator, client: DirectIO) -> None:
    """A block's data serves as a memoryview, an array of NumPy and a buffer of pyarrow where it lies."""
    pyarrow = pytest.importorskip("pyarrow")
    data = SyntheticSource(3 * BLOCK, seed=4).read(0, 3 * BLOCK)
    found = []
    for block in client.stream(portal.add(data, block_size=BLOCK)):
        array = numpy.frombuffer(block.data, "u1")
        buffer = pyarrow.py_buffer(block.data)
        assert buffer.address == array.ctypes.data
        assert memoryview(block.data).obj is block.data
        found.append(buffer)
    # The buffers keep the blocks alive.
    assert b"".join(found) == data

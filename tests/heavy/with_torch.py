"""PyTorch's tensors over memory that the client fills, and `torch.load` from an open file."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import torch

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator

BLOCK = 256 * 1024


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal without files."""
    with Emulator() as portal:
        yield portal


@pytest.fixture
def client(portal: Emulator) -> Iterator[DirectIO]:
    """A client of `portal`."""
    with DirectIO(portal.url, portal.access_key_id, portal.secret_access_key) as client:
        yield client


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16])
def test_a_tensor_is_filled(portal: Emulator, client: DirectIO, dtype: torch.dtype) -> None:
    """Bytes of a file become the elements of a tensor that is there already."""
    wanted = torch.arange(500_000).to(dtype)
    data = wanted.view(torch.uint8).numpy().tobytes()
    tensor = torch.empty_like(wanted)
    address = tensor.data_ptr()
    # NumPy has no bfloat16, so the tensor is passed as bytes.
    count = client.read_into(portal.add(data, block_size=BLOCK), tensor.view(torch.uint8).numpy())
    assert count == len(data)
    assert torch.equal(tensor, wanted)
    assert tensor.data_ptr() == address


def test_a_tensor_over_a_bytearray(portal: Emulator, client: DirectIO) -> None:
    """A tensor can lie over the buffer that was filled."""
    wanted = torch.rand(100_000)
    data = wanted.numpy().tobytes()
    buffer = bytearray(len(data))
    tensor = torch.frombuffer(buffer, dtype=torch.float32)
    assert client.read_into(portal.add(data, block_size=BLOCK), buffer) == len(data)
    assert torch.equal(tensor, wanted)


def test_load_from_an_open_file(portal: Emulator, client: DirectIO) -> None:
    """`torch.load` reads a checkpoint from an open file, storages of several blocks included."""
    wanted = {"weight": torch.rand(1000, 1500), "bias": torch.rand(7)}
    target = io.BytesIO()
    torch.save(wanted, target)
    with client.open(portal.add(target.getvalue(), block_size=BLOCK)) as file:
        found = torch.load(file, weights_only=True)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)

"""What ``ctera-direct info`` shows of a file."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from ctera_direct_sync.emulator import Emulator, faults

from .conftest import BLOCK, DATA, assert_no_secret

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["Encryption   AES-CBC, 256-bit key", "Compression  SNAPPY"]),
        (
            {"cipher": "AES-GCM", "compression": "LZ4", "key_size": 16},
            ["Encryption   AES-GCM, 128-bit key", "Compression  LZ4"],
        ),
        ({"cipher": None, "compression": "NONE"}, ["Encryption   none", "Compression  none"]),
        ({"listing": "untyped"}, ["Compression  not told; found out from each block"]),
    ],
)
def test_info(run: Run, portal: Emulator, options: dict[str, Any], lines: list[str]) -> None:
    """Info shows size, encryption, compression, storage and blocks, and no secret."""
    file_id = portal.add(DATA, block_size=BLOCK * 2, **options)
    code, out, err = run("info", "-f", file_id)
    assert (code, err) == (0, "")
    shown = out.splitlines()
    assert shown[:2] == [f"File ID      {file_id}", f"Size         {len(DATA)} bytes"]
    assert set(lines) < set(shown)
    assert shown[-4:] == [
        f"Blocks       3 of {len(DATA)} bytes in all",
        f"Lengths      {len(DATA) - 4 * BLOCK} smallest, {2 * BLOCK} median, {2 * BLOCK} largest",
        f"First block  1 at offset 0, {2 * BLOCK} bytes",
        f"Last block   3 at offset {4 * BLOCK}, {len(DATA) - 4 * BLOCK} bytes",
    ]
    assert f"Storage      {portal.storage_url}" in shown
    assert_no_secret(out, portal, file_id)


def test_info_blocks(run: Run, portal: Emulator, file_id: int) -> None:
    """--blocks lists every block under the summary."""
    summary = run("info", "-f", file_id)[1]
    code, out, err = run("info", "-f", file_id, "--blocks")
    assert (code, err) == (0, "")
    assert out.startswith(f"{summary}\n")
    assert [line.split() for line in out.splitlines()[-6:]] == [
        [str(number + 1), str(offset), str(min(BLOCK, len(DATA) - offset))]
        for number, offset in enumerate(range(0, len(DATA), BLOCK))
    ]
    assert_no_secret(out, portal, file_id)


def test_info_of_many_blocks(run: Run, portal: Emulator) -> None:
    """The summary is as long for 20,000 blocks as for one; the list and the JSON are whole."""
    listing = portal.listing(portal.add(b"x"))
    chunk = listing["chunks"][0]
    listing["chunks"] = [{**chunk, "len": number % 7 + 1} for number in range(20_000)]
    file_id = portal.add(b"y")
    portal.faults.add("portal", file_id, times=None, action=faults.listing(lambda _: listing))
    out = run("info", "-f", file_id)[1]
    assert len(out.splitlines()) == 9
    assert "Blocks       20000 of 79997 bytes in all\nLengths      1 smallest, 4 median, 7" in out
    assert "Last block   20000 at offset 79996, 1 bytes" in out
    listed = run("info", "-f", file_id, "--blocks")[1]
    assert len(listed.splitlines()) == 9 + 2 + 20_000
    assert len(json.loads(run("info", "-f", file_id, "--json")[1])["blocks"]) == 20_000


def test_info_of_many_storages(run: Run, portal: Emulator) -> None:
    """A portal that lists a host for each block does not fill the screen."""
    file_id = portal.add(DATA, block_size=1000)

    def spread(listing: dict[str, Any]) -> dict[str, Any]:
        for number, chunk in enumerate(listing["chunks"]):
            chunk["url"] = f"https://node{number:03}.example.com/block"
        return listing

    portal.faults.add("portal", file_id, times=None, action=faults.listing(spread))
    shown = run("info", "-f", file_id)[1].splitlines()
    assert shown[4] == "Storage      https://node000.example.com"
    assert shown[14:16] == [
        "             and others",
        f"Blocks       251 of {len(DATA)} bytes in all",
    ]


def test_info_json(run: Run, portal: Emulator, file_id: int) -> None:
    """The same as JSON, of an empty file too."""
    code, out, _ = run("info", "-f", file_id, "--json")
    info = json.loads(out)
    assert code == 0
    assert info.pop("blocks")[1] == {
        "number": 2,
        "offset": BLOCK,
        "length": BLOCK,
        "storage": portal.storage_url,
    }
    assert info == {
        "file_id": file_id,
        "size": len(DATA),
        "encrypted": True,
        "cipher": "AES-CBC",
        "key_bits": 256,
        "compressed": True,
        "compression": "SNAPPY",
    }
    assert_no_secret(out, portal, file_id)
    assert out == json.dumps(json.loads(out), indent=2) + "\n"
    empty = json.loads(run("info", "--json", "-f", portal.add(b"", listing="ranged"))[1])
    assert (empty["size"], empty["blocks"]) == (0, [])

"""Manifests as spreadsheets, scripts and people write them."""

from __future__ import annotations

import io

import pytest

from ctera_direct_sync import BatchItem
from ctera_direct_sync._readers.manifest import ManifestError, Row, read_manifest

SHA, CRC = "a1" * 32, "0badcafe"


def read(text: str | bytes) -> list[Row]:
    """The rows of a manifest."""
    return read_manifest(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def items(text: str | bytes) -> list[BatchItem]:
    """The items of a manifest that has nothing wrong."""
    rows = read(text)
    assert not [row for row in rows if row.problem]
    return [row.item for row in rows if row.item is not None]


@pytest.mark.parametrize(
    "text",
    [
        "1,a b\n22,d/c\n",
        "1,a b\r\n22,d/c",
        "\ufeff1,a b\n22,d/c\n",
        "id,path\n1,a b\n22,d/c\n",
        "\ufeffID , Path\n1,a b\n22,d/c\n",
        "path,file_id\na b,1\nd/c,22\n",
        '"1","a b"\n\n  \n22, d/c\n,\n',
        "id,path,sha256\n1,a b,\n22,d/c\n",
        "1;a b\n22;d/c\n",
        "\ufeffid;path\r\n1;a b\r\n22;d/c\r\n",
        "path;id\na b;1\nd/c;22\n",
        "id;path;sha256\n1;a b;\n22;d/c\n",
        '\n"1"; "a b"\n22;d/c;\n',
        "1\ta b\n22\td/c\n",
        "path\tid\na b\t1\nd/c\t22\n",
    ],
)
def test_forms(text: str) -> None:
    """Line ends, byte order marks, headers, quotes and empty lines make no difference."""
    assert items(text) == [BatchItem(1, "a b"), BatchItem(22, "d/c")]


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        (f"1,a,{SHA.upper()}", f"sha256:{SHA}"),
        (f"1,a,{CRC}", f"crc32c:{CRC}"),
        (f"1,a,crc32c:{CRC}", f"crc32c:{CRC}"),
        (f"id,path,checksum\n1,a,{CRC}", f"crc32c:{CRC}"),
        (f"id,path,crc32c,sha256\n1,a,{CRC},{SHA}", f"sha256:{SHA}"),
        (f"id,path,crc32c,sha256\n1,a,{CRC},", f"crc32c:{CRC}"),
        ("1,a,", None),
    ],
)
def test_checksums(text: str, checksum: str | None) -> None:
    """A checksum says by its column or its length which one it is; of two, the stronger counts."""
    assert items(text) == [BatchItem(1, "a", checksum)]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("1,a;b\n", "a;b"),
        ("1,a;b,\n", "a;b"),
        ("1;a,b\n", "a,b"),
        ("id;path\n1;a,b\n", "a,b"),
        ("1\ta,b;c\n", "a,b;c"),
        ('1,"a\n2;b"\n', "a\n2;b"),
        ('1;"a;b"\n', "a;b"),
        ("1, 2;b\n", "2;b"),
        ("1;2,b\n", "2,b"),
        ("id,path;2\n1,a\n", None),
    ],
)
def test_delimiters_in_names(text: str, path: str | None) -> None:
    """The first line decides what splits columns: the other characters are part of the path."""
    if path is None:
        with pytest.raises(ManifestError, match="unknown column 'path;2'"):
            read(text)
    else:
        assert items(text) == [BatchItem(1, path)]


def test_delimiters_do_not_mix() -> None:
    """A line with another delimiter than the first is malformed, not guessed at."""
    rows = read("1;a\n2,b\n3;c\n")
    assert [row.item for row in rows] == [BatchItem(1, "a"), None, BatchItem(3, "c")]
    assert "1 columns" in rows[1].problem and "semicolon" in rows[1].problem


def test_names_of_all_kinds() -> None:
    """Commas and quotes in quotes, and letters of any language, are part of the path."""
    assert items('1,"a, ""b"".txt"\n2,żółć/文.bin\n') == [
        BatchItem(1, 'a, "b".txt'),
        BatchItem(2, "żółć/文.bin"),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x,a", "not a file ID"),
        ("-1,a", "not a file ID"),
        ("\uff11,a", "not a file ID"),
        ("7", "1 columns"),
        ("7,a,b,c", "comma"),
        ("7,", "no path"),
        ("7,a,beef", "checksum"),
        (f"7,a,sha256:{CRC}", "sha256"),
        ('7,"a"b', "not CSV"),
        (b"7,\xff", "not UTF-8"),
    ],
)
def test_malformed_lines(line: str | bytes, problem: str) -> None:
    """A malformed line is told with its number; the lines around it are read."""
    middle = line if isinstance(line, bytes) else line.encode()
    rows = read(b"1,a\n\n" + middle + b"\n4,d\n")
    assert [row.line for row in rows] == [1, 3, 4]
    assert rows[1].item is None and problem in rows[1].problem
    assert [rows[0].item, rows[2].item] == [BatchItem(1, "a"), BatchItem(4, "d")]


def test_a_quote_that_is_not_closed() -> None:
    """It takes the rest of the file with it, and is told by the line that it opens in."""
    rows = read('1,a\n2,"b\n3,c\n')
    assert [(row.line, row.item is None) for row in rows] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,path,sha265\n1,a,b", "sha265"),
        ("id,name\n1,a", "'name'"),
        ("path,sha256\na,b", "no column 'id'"),
        ("id,file_id,path\n1,1,a", "two columns"),
        ("1,a".encode("utf-16"), "UTF-16"),
    ],
)
def test_manifests_that_cannot_be_read(text: str | bytes, problem: str) -> None:
    """A header or an encoding that is not understood is refused."""
    with pytest.raises(ManifestError, match=problem):
        read(text)


def test_empty() -> None:
    """A manifest without lines, or with a header alone, has no rows."""
    assert read("") == read("id,path\n") == []

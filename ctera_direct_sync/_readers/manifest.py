"""A batch's list of files as CSV (RFC 4180): ``id,path`` or ``id,path,checksum`` on each line.

UTF-8, with or without a byte order mark. Semicolons or tabs may stand for the commas, as spreadsheets write
them: the first line that is not empty decides for all lines. It may name the columns: ``id``, ``path``, and
``sha256``, ``crc32c`` or ``checksum``, in any order. Without it they are as above, and the checksum is a
SHA-256 or a CRC32C in hexadecimal, told apart by its length.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple, Optional

from ..types import BatchItem
from .batch import Checksum

__all__ = ["ManifestError", "Row", "read_manifest"]

_COLUMNS = ("id", "path", "checksum")
_NAMES = {"id", "file_id", "path", "checksum", "sha256", "crc32c"}
#: Characters between columns, and what messages call them; the first is the default.
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class ManifestError(ValueError):
    """The manifest as a whole cannot be read; the text says why."""


class Row(NamedTuple):
    """A line that is not empty: its number from 1, and the item in it, or what is wrong with it."""

    line: int
    item: Optional[BatchItem]
    problem: str = ""


def read_manifest(file: IO[bytes]) -> list[Row]:
    """The rows of a manifest. ManifestError where its first line or its encoding is none of ours."""
    content = file.read()
    if content.startswith(_UTF16):
        raise ManifestError("the manifest is in UTF-16: save it as UTF-8")
    # Bytes that are no UTF-8 become lone surrogates, so that the line that holds them can be named.
    text = content.decode("utf-8-sig", "surrogateescape")
    delimiter = _delimiter(text)
    rows = list(_lines(text, delimiter))
    columns: Sequence[str] = _COLUMNS
    if rows and _is_header(rows[0][1]):
        columns = _header(rows.pop(0)[1])
    return [problem or _row(line, cells, columns, delimiter) for line, cells, problem in rows]


def _delimiter(text: str) -> str:
    """Return what the columns of a manifest are told apart by.

    A delimiter must split the first line into a header, or into an ID and a path. No line is split so by
    two of them: what follows the digits, or lies between the names, is one character.
    """
    for delimiter in _DELIMITERS:
        _, cells, problem = next(_lines(text, delimiter), (0, [], None))
        if problem is None and len(cells) > 1 and (_is_header(cells) or _is_id(cells[0])):
            return delimiter
    return next(iter(_DELIMITERS))


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str], Optional[Row]]]:
    """Each line's number and cells, or what is wrong with it; empty lines are left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], Row(line, None, f"is no CSV: {error}")
            continue
        if any(cell.strip() for cell in cells):
            yield line, cells, None


def _is_header(cells: list[str]) -> bool:
    names = {cell.strip().lower() for cell in cells}
    return bool(names & {"id", "file_id", "path"}) and not cells[0].strip().isdigit()


def _is_id(cell: str) -> bool:
    text = cell.strip()
    return text.isascii() and text.isdigit()


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        raise ManifestError(
            f"the manifest has an unknown column {unknown[0]!r}: use id, path, and sha256, crc32c or "
            "checksum"
        )
    names = ["id" if name == "file_id" else name for name in names]
    for name in names:
        if names.count(name) > 1:
            raise ManifestError(f"the manifest has two columns {name!r}")
    for name in ("id", "path"):
        if name not in names:
            raise ManifestError(f"the manifest has no column {name!r}")
    return names


def _row(line: int, cells: list[str], columns: Sequence[str], delimiter: str) -> Row:
    try:
        return Row(line, _item(cells, columns, _DELIMITERS[delimiter]))
    except ValueError as error:
        return Row(line, None, str(error))


def _item(cells: list[str], columns: Sequence[str], delimiter: str) -> BatchItem:
    if not 2 <= len(cells) <= len(columns):
        wanted = "2" if len(columns) == 2 else f"2 to {len(columns)}"
        raise ValueError(
            f"has {len(cells)} columns, not {wanted}: put a path that holds a {delimiter} between "
            "double quotes"
        )
    for cell in cells:
        if any("\ud800" <= character <= "\udfff" for character in cell):
            raise ValueError("is no UTF-8")
    values = dict(zip(columns, cells))
    file_id = values["id"].strip()
    if not _is_id(file_id):
        raise ValueError(f"{file_id!r} is no file ID, which is a number")
    if not values.get("path"):
        raise ValueError("has no path")
    return BatchItem(int(file_id), values["path"], _checksum(values))


def _checksum(values: dict[str, str]) -> Optional[str]:
    """The strongest one that the line gives, as ``algorithm:digest``."""
    for column in ("sha256", "checksum", "crc32c"):
        text = values.get(column, "").strip()
        if text:
            named = text if column == "checksum" or ":" in text else f"{column}:{text}"
            return "{0.algorithm}:{0.digest}".format(Checksum.parse(named))
    return None

"""Reading the list of files of a batch.

A manifest is CSV (RFC 4180) in UTF-8, with or without a byte order mark. Each line is `id,path` or
`id,path,checksum`. A path on the portal, which begins with `/`, may stand for the ID.
Spreadsheets may write semicolons or tabs instead of commas: the first line that is not empty decides
for all lines.

The first line may name the columns in any order: `id`, `path`, and `sha256`, `crc32c` or `checksum`.
Without names, the columns are as above. The length of a checksum tells a SHA-256 from a CRC32C.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from .._base.checksums import Checksum
from ..types import BatchItem

__all__ = ["ManifestError", "Row", "read_manifest"]

_COLUMNS = ("id", "path", "checksum")
_NAMES = {"id", "file_id", "path", "checksum", "sha256", "crc32c"}
#: The characters between columns, and their names in messages. The first one is the default.
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class ManifestError(ValueError):
    """The manifest as a whole cannot be read. The message says why."""


class Row(NamedTuple):
    """A line that is not empty.

    Attributes:
        line: The number of the line, from 1.
        item: The item; None if the line is malformed.
        problem: What is wrong with the line; empty if nothing is.
    """

    line: int
    item: BatchItem | None
    problem: str = ""


def read_manifest(file: IO[bytes]) -> list[Row]:
    """Return the rows of a manifest.

    Args:
        file: A binary file, which is read to its end.

    Raises:
        ManifestError: The columns have unknown names, or the encoding is UTF-16.
    """
    content = file.read()
    if content.startswith(_UTF16):
        raise ManifestError("the manifest is in UTF-16: save it as UTF-8")
    # Malformed UTF-8 becomes lone surrogates, so that an error can name the line.
    text = content.decode("utf-8-sig", "surrogateescape")
    delimiter = _find_delimiter(text)
    lines = list(_read_lines(text, delimiter))
    columns: Sequence[str] = _COLUMNS
    if lines and _is_header(lines[0].cells):
        columns = _parse_header(lines.pop(0).cells)
    return [line.malformed or _row(line.number, line.cells, columns, delimiter) for line in lines]


class _Line(NamedTuple):
    """A line that is not empty.

    Attributes:
        number: The number of the line, from 1.
        cells: Its cells.
        malformed: The row to return if the line is not CSV, else None.
    """

    number: int
    cells: list[str]
    malformed: Row | None = None


def _find_delimiter(text: str) -> str:
    """Return the character that separates the columns of a manifest.

    It must split the first line into a header, or into an ID and a path. Only one character does: the
    one after the digits of the ID, or between the names.
    """
    for delimiter in _DELIMITERS:
        line = next(_read_lines(text, delimiter), _Line(0, []))
        cells = line.cells
        if not line.malformed and len(cells) > 1 and (_is_header(cells) or _is_file(cells[0])):
            return delimiter
    return next(iter(_DELIMITERS))


def _read_lines(text: str, delimiter: str) -> Iterator[_Line]:
    """Yield the lines that are not empty."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Line(number, [], Row(number, None, f"is not CSV: {error}"))
            continue
        if any(cell.strip() for cell in cells):
            yield _Line(number, cells)


def _is_header(cells: list[str]) -> bool:
    names = {cell.strip().lower() for cell in cells}
    return bool(names & {"id", "file_id", "path"}) and not _is_file(cells[0])


def _is_file(cell: str) -> bool:
    """Return whether a cell is a file ID, or begins as a path on the portal does."""
    text = cell.strip()
    return text.startswith("/") or (text.isascii() and text.isdigit())


def _parse_header(cells: list[str]) -> list[str]:
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
        return Row(line, _parse_item(cells, columns, _DELIMITERS[delimiter]))
    except ValueError as error:
        return Row(line, None, str(error))


def _parse_item(cells: list[str], columns: Sequence[str], delimiter_name: str) -> BatchItem:
    if not 2 <= len(cells) <= len(columns):
        wanted = "2" if len(columns) == 2 else f"2 to {len(columns)}"
        raise ValueError(
            f"has {len(cells)} columns, not {wanted}: put a path that holds a {delimiter_name} between "
            "double quotes"
        )
    for cell in cells:
        if any("\ud800" <= character <= "\udfff" for character in cell):
            raise ValueError("is not UTF-8")
    values = dict(zip(columns, cells))
    file = values["id"].strip()
    if not _is_file(file):
        raise ValueError(
            f"{file!r} is not a file ID: give its number, or a path on the portal, which begins with /"
        )
    if not values.get("path"):
        raise ValueError("has no path")
    # A name may end with a blank.
    source = values["id"].lstrip() if file.startswith("/") else int(file)
    return BatchItem(source, values["path"], _checksum(values))


def _checksum(values: dict[str, str]) -> str | None:
    """Return the text of the strongest checksum of a line, or None if it has none."""
    for column in ("sha256", "checksum", "crc32c"):
        text = values.get(column, "").strip()
        if text:
            named = text if column == "checksum" or ":" in text else f"{column}:{text}"
            return str(Checksum.parse(named))
    return None

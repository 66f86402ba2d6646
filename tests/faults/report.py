"""``docs/fault-matrix.md``: every cell is run, and what came of it is written down.

``python -m tests.faults.report`` runs all cells and writes the page; it fails where one is not as
matrix.py has it. :func:`page` makes the text from the table alone, which is how a test sees that the
committed page is current.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from . import names_rows
from .cells import Worlds, run
from .matrix import CELLS, GCM, RETRIES, ROWS, WAYS, Cell, Row, expected, name_of
from .names_cells import NamesWorld
from .names_rows import CALLS, NamesCell, NamesRow

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "fault-matrix.md"
#: What cterasdk makes of the same faults: bench/faults/peer.py measured it.
_PEER = _ROOT / "bench" / "faults" / "peer.json"

_INTRODUCTION = f"""\
# The fault matrix

This page says what each API makes of each fault.
`python -m tests.faults.report` writes it, and runs all {{cells}} cells against the emulator for that.
`pytest tests/faults/test_matrix.py tests/faults/test_names_matrix.py` runs the same cells as tests.
Do not edit the page by hand.

Each cell was checked for more than its outcome:

- No wrong byte was delivered, and a failed download left nothing behind.
- An error names the file and has an errno. A stream's error has the offset at which its data ended.
- The broken side got no more requests than the failure policy allows.
- No key, token, signature or query stood in a log line at DEBUG (urllib3's included), in an event,
  in an error's text, repr or traceback with locals, in a span or metric of OpenTelemetry, in
  `client.stats()`, or in the output of the command line with `-d`.

What the entries mean:

- **recovered**: every byte is right, and the caller noticed nothing.
- A class: what is raised. With `stream` it is the `__cause__` of a StreamError, whose `offset` is where to
  resume. The command line exits with 1 and one line that says why.
- **-**: the API does not meet this fault.
- *once*: the first request meets the fault; *always*: all do. With {RETRIES} retries here (4 by default).
- Last column: `cterasdk.direct` 2.20.50 by its streamer, under the same faults, its pauses between
  attempts left out and its read timeout set to 1 s (`python -m bench.faults.peer`).

[What no client can see](reliability.md#what-no-client-can-see) is not in the table: damage to plaintext,
snappy, or AES-CBC without compression, while the storage declares no checksum.
"""

_NAMES_INTRODUCTION = f"""\
## Calls for names

These tables are about `Namespace`. A listing of several pages meets the fault after its first page.
*recovered* means that each result came once, in the right order, and none was missing.
An error names the path. What came before it was right, and no listing ended early without an error.
*sign-in* is the first call of a Namespace, which meets the fault when it signs in.
A refused password is not sent again. *folders* is an administrator's call.
With {RETRIES} retries, as above.
No password and no session cookie stood in a log line, an error, its traceback with locals, or a repr.
"""


def page() -> str:
    """The page, made from the table."""
    peer: dict[str, str] = json.loads(_PEER.read_text())
    lines = [_INTRODUCTION.format(cells=len(CELLS) + len(names_rows.CELLS))]
    for group, rows in itertools.groupby(ROWS, key=lambda row: row.group):
        lines += [f"## {group}", "", *_table(list(rows), peer), ""]
    lines.append(_NAMES_INTRODUCTION)
    for group, names in itertools.groupby(names_rows.ROWS, key=lambda row: row.group):
        lines += [f"### {group}", "", *_names_table(list(names)), ""]
    return "\n".join(lines)


def _table(rows: list[Row], peer: dict[str, str]) -> Iterator[str]:
    heads = ["fault", *WAYS, "cterasdk"]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        cells = [_short(expected(Cell(row, way))) for way in WAYS]
        other = peer.get(f"{row.group}: {row.name}", "not run")
        if row.options == GCM:
            other = "does not read AES-GCM"
        if row.ranged:
            other = "asks for whole objects"
        yield f"| {' | '.join([row.name, *cells, other])} |"


def _names_table(rows: list[NamesRow]) -> Iterator[str]:
    yield f"| {' | '.join(['fault', *CALLS])} |"
    yield f"| {' | '.join('---' for _ in ['fault', *CALLS])} |"
    for row in rows:
        cells = [_short(names_rows.expected(NamesCell(row, call))) for call in CALLS]
        yield f"| {' | '.join([row.name, *cells])} |"


def _short(outcome: str) -> str:
    if outcome == "not concerned":
        return "-"
    if outcome.startswith("StreamError ("):
        return outcome[len("StreamError (") : -1]
    return outcome


def main() -> int:
    """Run every cell; write the page where all are as they should be."""
    mistakes = 0
    with Worlds() as worlds:
        for cell in CELLS:
            result = run(worlds, cell)
            if result.outcome != expected(cell) or result.wrong or result.secrets:
                mistakes += 1
                print(f"{name_of(cell)}: {result}", file=sys.stderr)
    with NamesWorld() as world:
        for each in names_rows.CELLS:
            came = world.run(each)
            if came.outcome != names_rows.expected(each) or came.wrong or came.secrets:
                mistakes += 1
                print(f"{names_rows.name_of(each)}: {came}", file=sys.stderr)
    cells, rows = len(CELLS) + len(names_rows.CELLS), len(ROWS) + len(names_rows.ROWS)
    print(f"{cells} cells, {rows} faults, {mistakes} not as they should be")
    if mistakes:
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())

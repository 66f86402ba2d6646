"""Draw what commands print as SVG pictures, in docs/img/terminal-*.svg.

    tools/docs/screenshots.py [FOLDER]

Each picture is of real commands on a terminal of their own. The portal is the emulator, whose address
the pictures show as that of a portal.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from ctera_direct_sync.emulator import Emulator, SyntheticSource

IMAGES = Path(__file__).parents[2] / "docs" / "img"
COLUMNS = 100
MB = 1_000_000
WRITTEN = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc).timestamp()

#: The commands of each picture. A line that begins with "+" changes the portal before the next command.
PICTURES = {
    "ls": [
        "ctera-direct ls -l --human '/My Files/reports'",
        "ctera-direct find '/My Files' --name '*.pdf'",
    ],
    "info": ["ctera-direct info '/My Files/reports/survey.tif'"],
    "download": ["ctera-direct download '/My Files/reports/survey.tif' -p survey.tif"],
    "mirror": [
        "ctera-direct mirror '/My Files/reports' reports",
        "+ rename",
        "ctera-direct mirror '/My Files/reports' reports",
    ],
}

# Light enough for a dark page, and dark enough for a light one.
THEME = TerminalTheme(
    (30, 34, 42),
    (222, 226, 232),
    [(64, 70, 82), (224, 108, 117), (152, 195, 121), (229, 192, 123),
     (110, 176, 245), (198, 140, 230), (86, 194, 202), (200, 206, 214)],
    [(110, 118, 130), (240, 140, 148), (176, 215, 150), (240, 210, 150),
     (150, 200, 255), (216, 170, 240), (130, 214, 220), (255, 255, 255)],
)  # fmt: skip

# Rich's own frame loads a font from elsewhere. Each text has its length, so any fixed font fits.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>{label}</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; white-space: pre; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@contextmanager
def open_portal() -> Iterator[Emulator]:
    """Start a portal with a few files, on a line of 40 MB per second."""
    with Emulator() as portal:
        files = {
            "reports/2026/march.pdf": 2_431_870,
            "reports/2026/april.pdf": 2_219_004,
            "reports/survey.tif": 60 * MB,
            "reports/totals.xlsx": 48_213,
            "notes.txt": 812,
        }
        for number, (path, size) in enumerate(files.items()):
            source = SyntheticSource(size, seed=number)
            portal.tree.create(f"/My Files/{path}", source, modified=WRITTEN + 86_400 * number)
        portal.rate = 40 * MB
        yield portal


def run(command: str, folder: Path, variables: dict[str, str]) -> str:
    """Return what a command prints to its terminal, with the codes of colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=folder, env=variables, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    printed = b""
    try:
        while piece := os.read(master, 65_536):
            printed += piece
    except OSError:
        pass  # Linux ends a terminal with an error.
    finally:
        os.close(master)
    if process.wait() != 0:
        raise SystemExit(f"{command}: {printed.decode()}")
    return printed.decode()


def settle(printed: str) -> list[str]:
    """Return the lines that a terminal shows in the end: a bar that was drawn again is there once."""
    lines = []
    for line in printed.replace("\r\n", "\n").rstrip("\n").split("\n"):
        parts = [part for part in line.split("\r") if part.strip()]
        lines.append(parts[-1].replace("\x1b[A", "") if parts else "")
    return lines


def draw(name: str, portal: Emulator, folder: Path, target: Path) -> None:
    """Run the commands of a picture, and write it."""
    variables = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_USERNAME": portal.username,
        "CTERA_DIRECT_PASSWORD": portal.password,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
        "CTERA_DIRECT_CONFIG_DIR": str(folder / "no-profile"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }
    with open(os.devnull, "w") as nothing:
        console = Console(record=True, width=COLUMNS, file=nothing, force_terminal=True)
        for command in PICTURES[name]:
            if command == "+ rename":
                portal.tree.rename("/My Files/reports/2026", "2026 (final)")
                continue
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            for line in settle(run(command, folder, variables)):
                # Portal and storage of the emulator are at one address, and only the storage is shown.
                line = line.replace(portal.storage_url, "https://storage.example.com")
                console.print(Text.from_ansi(line), soft_wrap=True)
        commands = [command for command in PICTURES[name] if not command.startswith("+")]
        frame = FRAME.replace("{label}", escape("; ".join(commands)))
        svg = console.export_svg(title="", theme=THEME, code_format=frame, unique_id=f"t-{name}")
    target.write_text(
        "\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8"
    )


def main() -> None:
    """Draw all pictures."""
    images = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    for name in PICTURES:
        with open_portal() as portal, tempfile.TemporaryDirectory() as folder:
            draw(name, portal, Path(folder), images / f"terminal-{name}.svg")


if __name__ == "__main__":
    main()

"""The codec beside its rivals: a table of plaintext MB/s and ratios, and a plot. ``make bench-codec``.

All contenders, each in a process of its own, decode the same blocks in turn, again and again; the best
turn of each counts, so what else the machine does falls on all alike. The first run makes an
environment of its own for the rivals.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
from importlib import metadata

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = HERE / "build" / "venv"
PACKAGES = HERE / "apt-packages.txt"


def main() -> int:
    """Prepare, measure, print, draw."""
    options = parse()
    if pathlib.Path(sys.prefix).resolve() != ENVIRONMENT.resolve():
        return rerun(draws=not options.only)
    try:
        import contenders
        import measure

        contenders.stock()
    except ImportError as error:
        print(f"bench: {error}: build the native codec first (pip install -e .)", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print(f"bench: stock.c does not compile: are all of {PACKAGES} there?", file=sys.stderr)
        return 1
    rows = measure.measure(options.rounds, options.only)
    text = f"{measure.table(rows)}\n\n{measure.details(options.rounds)}\n"
    print(text)
    if not options.only:
        import plot
        import report

        plot.draw(rows, ROOT / "docs" / "img" / "codec.svg")
        report.write(ROOT / "bench" / "RESULTS.md", text)
    return 0


def rerun(draws: bool) -> int:
    """The same command with the rivals at hand, and with what draws."""
    if subprocess.run([ROOT / "tools" / "system-packages.sh", PACKAGES]).returncode:
        return 1
    try:
        # The package itself is imported from the tree, beside what it needs.
        needed = [
            line for line in metadata.requires("ctera-direct-sync") or () if "extra ==" not in line
        ]
    except metadata.PackageNotFoundError:
        print("bench: install the package first (pip install -e .)", file=sys.stderr)
        return 1
    files = [HERE / "requirements.txt"]
    if draws:
        files.append(HERE.parent / "requirements-plots.txt")
    wanted = "\n".join([*(file.read_text(encoding="utf-8") for file in files), *needed])
    complete = ENVIRONMENT / "complete"
    if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *(f"-r{file}" for file in files), *needed], check=True)
        complete.write_text(wanted, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    python = str(ENVIRONMENT / "bin" / "python")
    return subprocess.run([python, str(HERE / "run.py"), *sys.argv[1:]], env=environment).returncode


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=4, help="turns in each pass, of which the best counts"
    )
    parser.add_argument("--only", help='combinations whose name contains this, such as "gzip"')
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

# PYTHON_ARGCOMPLETE_OK: argcomplete's global completion looks for this.
"""The command line ``ctera-direct``: one module per command, and what they share."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    Args:
        arguments: What follows the program's name; None for those of the process.
    """
    # Imported late: the package imports `startup` from here before all else.
    from .program import main as run

    return run(arguments)

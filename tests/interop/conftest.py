"""What the interoperability suite says at its end."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many combinations of storage format and way in were downloaded and compared."""
    counts: dict[str, int] = {}
    for report in terminalreporter.getreports('passed'):
        for name, value in report.user_properties:
            if name == 'compared' and report.when == 'call':
                counts[value] = counts.get(value, 0) + 1
    for peer, count in sorted(counts.items()):
        terminalreporter.write_line(f'interop: {count} combinations by {peer}, SHA-256 equal')

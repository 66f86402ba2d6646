"""Tests with programs that are too large for the suite. `make test-heavy` runs them.

The names of the files keep the suite from collecting them. They run against the installed package, so
they import nothing of the other tests.
"""

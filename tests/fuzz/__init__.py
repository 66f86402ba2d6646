"""Fuzzers for code in Python."""

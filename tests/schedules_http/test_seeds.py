"""The inputs of the fuzzer that are kept: one of each kind, and what was found."""

from __future__ import annotations

import pytest

from tests.fuzz import http_response


@pytest.mark.parametrize("name", sorted(path.name for path in http_response.SEEDS.iterdir()))
def test_seed(name: str) -> None:
    """Each kept input passes."""
    http_response.one_input((http_response.SEEDS / name).read_bytes())


def test_seeds_are_those_of_the_program() -> None:
    """`--seeds` writes what is kept."""
    for name, data in http_response.seeds().items():
        assert (http_response.SEEDS / name).read_bytes() == data


@pytest.mark.parametrize("data", [b"", b"0", b"\xff|request|", b"0|connection||reset|"])
def test_any_input(data: bytes) -> None:
    """An input of any form is a case."""
    case = http_response.decode(data)
    assert http_response.decode(http_response.encode(case)) == case

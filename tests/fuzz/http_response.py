"""Fuzz the response reader and the pool: `python -m tests.fuzz.http_response FOLDER [OPTIONS]`.

The options are libFuzzer's. An input is one byte that says how the client reads, and the scripts of its
servers as text: bytes, and marks for times, such as `|request|` or `|pause|`. So mutations move the cuts
and the ends of connections as well. `tests.schedules_http.model` explains the marks.
Each answer is also compared with h11 and http.client.

`tests/schedules_http/test_seeds.py` replays the seeds in `http_response/`. `--seeds` writes those that have
names, and keeps those that were found. What atheris finds new goes to FOLDER.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

from ctera_direct_sync._net import requests_response, response, session, strict_response
from tests.schedules_http import peers, reference
from tests.schedules_http.cases import ANSWERS, plain
from tests.schedules_http.exchange import Case, Take, check
from tests.schedules_http.model import Mark, format_scripts, parse_scripts

SEEDS = Path(__file__).with_name("http_response")
DICTIONARY = Path(__file__).with_name("http_response.dict")
_FIRST = ord("0")
_MAX_INPUT_BYTES = 4096


def encode(case: Case) -> bytes:
    """Return a case as an input. How the first body is read is kept, and whether requests are hurried."""
    options = case.takes[0].value + 6 * case.hooked + 12 * (1 in case.hurried)
    return bytes([_FIRST + options]) + format_scripts(case.scripts)


def decode(data: bytes) -> Case:
    """Return the case of an input."""
    options = (data[0] - _FIRST) % 24 if data else 0
    return Case(
        parse_scripts(data[1:]),
        (Take(options % 6), Take.WHOLE, Take.WHOLE),
        frozenset({1} if options // 12 else ()),
        hooked=bool(options // 6 % 2),
    )


def one_input(data: bytes) -> None:
    """Raise AssertionError if the client breaks a rule, or reads an answer in a way of its own."""
    case = decode(data)
    check(case)
    peers.compare(b"".join(part for part in case.scripts[0] if isinstance(part, bytes)))


def seeds() -> dict[str, bytes]:
    """Return an input for each kind of answer, way to read it and way to end it."""
    request, pause = Mark.REQUEST, Mark.PAUSE
    cases = {
        name.replace(" ", "-").replace("/", "-"): Case([(request, answer, request, plain(2))])
        for name, answer in ANSWERS.items()
    }
    cases["surplus"] = Case([(request, plain(1) + plain(9), request), (request, plain(2))])
    cases["late-surplus"] = Case([(request, plain(1), pause, b"\r\n", request, plain(2))])
    cases["early"] = Case([(plain(1), request, request, plain(2))])
    cases["closed"] = Case([(request, plain(1), Mark.CLOSE), (request, plain(2))])
    cases["closed-late"] = Case([(request, plain(1), request, Mark.RESET), (request, plain(2))])
    cases["refused-amid-request"] = Case([(plain(1), Mark.CLOSE)])
    wrong_end = ANSWERS["chunks"].replace(b"\r\n7\r\n1", b"\n+7\r\n1")
    cases["wrong-end-of-chunk-by-requests"] = Case([(request, wrong_end)], hooked=True)
    both = ANSWERS["HTTP/1.0"].replace(b"n: k", b"n: close, k")
    cases["close-and-keep-alive"] = Case([(request, both, request, plain(2))])
    empty = b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n4"
    cases["204-with-chunks-by-requests"] = Case([(request, empty)], [Take.STEPS], hooked=True)
    cases["to-the-end"] = Case([(request, b"HTTP/1.1 200 OK\r\n\r\nabc", pause, b"d", Mark.END)])
    for take in Take:
        case = Case([(request, ANSWERS["chunks"][:50], pause, ANSWERS["chunks"][50:])], [take])
        cases[f"take-{take.name.lower()}"] = case
        cases[f"take-{take.name.lower()}-by-requests"] = case._replace(hooked=True)
    return {name: encode(case) for name, case in cases.items()}


def _functions(*owners: object) -> list[types.FunctionType]:
    """Return the functions of modules and of the classes in them."""
    found = []
    for owner in owners:
        module = getattr(owner, "__name__", "")
        for value in list(vars(owner).values()):
            if isinstance(value, type) and value.__module__ == module:
                value_functions = [v for v in vars(value).values() if type(v) is types.FunctionType]
                found += value_functions
            elif type(value) is types.FunctionType and value.__module__ == module:
                found.append(value)
    return found


def main() -> None:
    """Write the seeds, or fuzz until libFuzzer's options say that it is enough."""
    if "--seeds" in sys.argv:
        SEEDS.mkdir(exist_ok=True)
        for name, data in seeds().items():
            (SEEDS / name).write_bytes(data)
        return
    import atheris
    import h11._connection
    import h11._readers

    atheris.enabled_hooks.add("RegEx")
    # llhttp is not instrumented. What reads the same bytes in Python shows the way.
    for function in _functions(
        response, strict_response, requests_response, session, reference, h11._readers
    ):
        atheris.instrument_func(function)
    folder, *options = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    defaults = [
        f"-dict={DICTIONARY}",
        f"-max_len={_MAX_INPUT_BYTES}",
        "-timeout=20",
        f"-artifact_prefix={folder}-",
    ]
    atheris.Setup([sys.argv[0], *defaults, *options, folder, str(SEEDS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

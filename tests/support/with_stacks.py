"""Run a Python program that prints its stacks at SIGXCPU: `with_stacks.py gunicorn --workers 2 app`.

The program is a module, as for `python -m`, or a file whose name ends with `.py`. The processes that it
forks do the same. gevent's greenlets are printed, too, unless one of them blocks their thread.
"""

from __future__ import annotations

import faulthandler
import os
import runpy
import signal
import sys


def _print_greenlets(number: int, frame: object) -> None:
    """Print gevent's greenlets, and that this was all."""
    # The module alone says nothing: gunicorn's master imports it, too.
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        from gevent.util import print_run_info

        print_run_info(file=sys.stderr)
    print("end of the stacks of", os.getpid(), file=sys.stderr, flush=True)


def main() -> None:
    """Run the program in place of this one."""
    signal.signal(signal.SIGXCPU, _print_greenlets)
    # Printed first, and by the signal itself: also where Python runs no more code.
    faulthandler.register(signal.SIGXCPU, chain=True)
    del sys.argv[0]
    sys.path[0] = os.getcwd()
    program = sys.argv[0]
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

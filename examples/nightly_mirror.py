"""Mirror a folder of the portal every night, and print only what a person must look at.

Install:  pip install ctera-direct-sync
Account:  CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment (docs/howto/mirror.md)
Run:      python nightly_mirror.py '/My Files/reports' /srv/reports --log /var/log/reports.jsonl

Exit codes: 0 the folder is equal; 1 a person must look; 75 try again later. cron mails what is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from ctera_direct_sync import (
    DirectIO,
    Mirrored,
    NamespaceConnectionError,
    NamespaceTimeout,
    TooManyDeletionsError,
)

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


def main() -> int:
    """Run the mirror once, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", help="a folder on the portal, such as '/My Files/reports'")
    parser.add_argument("folder", help="the local folder, which is made if it does not exist")
    parser.add_argument("--log", help="a file that gets one line of JSON for each complete run")
    parser.add_argument("--max-delete", type=int, default=1000, help="default: %(default)s files")
    arguments = parser.parse_args()
    try:
        with DirectIO() as client:
            result = client.mirror(
                arguments.source, arguments.folder, max_delete=arguments.max_delete
            )
        if arguments.log:
            write_log(arguments.log, result)
    except (BlockingIOError, NamespaceConnectionError, NamespaceTimeout) as error:
        return complain(error, EXIT_TRY_AGAIN)
    except TooManyDeletionsError as error:
        return complain(f"{error}\nIf that is right: --max-delete {error.count}", 1)
    except (OSError, ValueError) as error:  # Each DirectIOError is an OSError.
        return complain(error, 1)
    for path, reason in result.conflicts:
        print(f"conflict: {path}: {reason}")
    for path, reason in result.failed:
        print(f"failed: {path}: {reason}")
    return 1 if result.conflicts or result.failed else 0


def write_log(path: str, result: Mirrored) -> None:
    """Append the counts of a run to a log."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **result._asdict()}
    with open(path, "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def complain(reason: object, code: int) -> int:
    """Print why the run did not succeed, and return the exit code."""
    print(f"nightly_mirror: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

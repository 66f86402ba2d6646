"""Count the words of all text files below a folder of the portal, by Dask.

Install:  pip install ctera-direct-sync 'dask[distributed]'
Account:  CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment, on each worker as well
Run:      python dask_folder.py '/My Files/texts'
          python dask_folder.py '/My Files/texts' --scheduler tcp://scheduler:8786

The folder is listed once, here. Each worker then fetches its files from the storage itself.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections import Counter
from collections.abc import Iterable

import dask.bag
from dask.distributed import Client

from ctera_direct_sync import DirectIO, DirectIOError, Entry, Namespace

FILES_PER_TASK = 32


def count(entries: Iterable[Entry]) -> list[tuple[Counter[str], list[str]]]:
    """Return the words of some files, and why files could not be counted. Workers run this."""
    words: Counter[str] = Counter()
    failed = []
    with DirectIO() as client:
        for entry in entries:
            found: Counter[str] = Counter()
            try:
                with client.open(entry) as file:
                    for line in file:
                        found.update(line.decode("utf-8", "replace").lower().split())
            except DirectIOError as error:
                failed.append(f"{entry.path}: {error}")
            else:
                words += found  # A file counts whole, or not at all.
    return [(words, failed)]


def main() -> int:
    """List, count, and print the ten most frequent words."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", help="a folder on the portal")
    parser.add_argument("--scheduler", default="processes", help="processes, threads or an address")
    arguments = parser.parse_args()
    try:
        with Namespace() as names:
            pattern = f"{glob.escape(arguments.folder)}/**/*.txt"
            entries = [entry for entry in names.glob(pattern) if not entry.is_dir]
    except (DirectIOError, ValueError) as error:
        sys.exit(f"{arguments.folder} cannot be listed: {error}")
    if not entries:
        sys.exit(f"{arguments.folder}: no file ends with .txt there")
    tasks = dask.bag.from_sequence(entries, partition_size=FILES_PER_TASK).map_partitions(count)
    if "://" in arguments.scheduler:
        with Client(arguments.scheduler):
            counted = tasks.compute()
    else:
        counted = tasks.compute(scheduler=arguments.scheduler)
    words: Counter[str] = Counter()
    for each, _ in counted:
        words += each
    failed = [reason for _, reasons in counted for reason in reasons]
    print(f"{len(entries) - len(failed)} files, {sum(words.values())} words")
    for word, times in words.most_common(10):
        print(f"{times:10} {word}")
    for reason in failed:
        print(f"not counted: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

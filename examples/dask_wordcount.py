"""Count the words of a file on a Dask cluster; each worker fetches its own blocks.

    export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
    python dask_wordcount.py FILE_ID [--scheduler tcp://...]

Without a scheduler, two worker processes are started here.
"""

from __future__ import annotations

import argparse

import wordcount
from dask.distributed import Client, LocalCluster

MIB = 1024 * 1024


def main() -> None:
    """Parse the arguments, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_id", type=int)
    parser.add_argument("--scheduler", help="default: two processes on this machine")
    parser.add_argument("--share", type=float, default=64, help="MiB that a task counts")
    arguments = parser.parse_args()
    if arguments.scheduler:
        with Client(arguments.scheduler) as dask:
            dask.upload_file(wordcount.__file__)
            run(dask, arguments)
    else:
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        with cluster, Client(cluster) as dask:
            run(dask, arguments)


def run(dask: Client, arguments: argparse.Namespace) -> None:
    """List once, send the list to every worker, count the shares, merge in their order."""
    listing = wordcount.listed(arguments.file_id)
    shares = wordcount.shares(listing, int(arguments.share * MIB))
    sent = dask.scatter(listing, broadcast=True)
    counted = dask.map(lambda share, listing: wordcount.count(listing, share), shares, listing=sent)
    wordcount.show(wordcount.merged(dask.gather(counted)))


if __name__ == "__main__":
    main()

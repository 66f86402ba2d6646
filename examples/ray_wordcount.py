"""Count the words of a file with Ray; each worker fetches its own blocks.

export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
python ray_wordcount.py FILE_ID [--address auto]
"""

from __future__ import annotations

import argparse

import ray
import wordcount

MIB = 1024 * 1024


def main() -> None:
    """Parse the arguments, list once, put the list into the object store, count, merge in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_id", type=int)
    parser.add_argument("--address", help="default: a Ray of two processors on this machine")
    parser.add_argument("--share", type=float, default=64, help="MiB that a task counts")
    arguments = parser.parse_args()
    if arguments.address:
        ray.init(arguments.address, runtime_env={"py_modules": [wordcount]})
    else:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        count = ray.remote(wordcount.count)
        listing = wordcount.listed(arguments.file_id)
        shares = wordcount.shares(listing, int(arguments.share * MIB))
        sent = ray.put(listing)
        wordcount.show(wordcount.merged(ray.get([count.remote(sent, share) for share in shares])))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()

"""Count the words of a file with Spark; each executor fetches its own blocks.

export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
python spark_wordcount.py FILE_ID [--master local[2]]
"""

from __future__ import annotations

import argparse
import os
import sys

import wordcount
from pyspark import SparkConf, SparkContext

MIB = 1024 * 1024


def main() -> None:
    """Parse the arguments, list once, broadcast the list, count the shares, merge in their order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file_id", type=int)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--share", type=float, default=64, help="MiB that a task counts")
    arguments = parser.parse_args()
    conf = SparkConf().setMaster(arguments.master).setAppName("wordcount")
    # What Spark keeps on disk and sends to its workers holds the file's key and URLs.
    for setting in ("authenticate", "network.crypto.enabled", "io.encryption.enabled"):
        conf.set(f"spark.{setting}", "true")
    if arguments.master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    context = SparkContext(conf=conf)
    try:
        context.addPyFile(wordcount.__file__)
        listing = wordcount.listed(arguments.file_id)
        sent = context.broadcast(listing)
        shares = wordcount.shares(listing, int(arguments.share * MIB))
        spread = context.parallelize(shares, numSlices=max(1, len(shares)))
        counted = spread.map(lambda share: wordcount.count(sent.value, share)).collect()
        wordcount.show(wordcount.merged(counted))
    finally:
        context.stop()


if __name__ == "__main__":
    main()

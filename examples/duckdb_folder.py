"""Ask a question in SQL of all Parquet files below a folder of the portal, by DuckDB.

Install:  pip install 'ctera-direct-sync[fsspec]' duckdb
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      python duckdb_folder.py '/My Files/sales' 'select region, sum(amount) from files group by 1'

The view `files` has the rows of all files, and the columns of folder names such as `year=2026`.
DuckDB reads only the blocks with the columns and row groups that a query needs.
"""

from __future__ import annotations

import argparse
import glob
import sys
from urllib.parse import urlsplit

import duckdb

from ctera_direct_sync import DirectIOError, Namespace
from ctera_direct_sync.filesystem import CteraFileSystem


def main() -> int:
    """Connect DuckDB with the portal, and print the answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", help="a folder on the portal")
    parser.add_argument("query", help="SQL that reads from the view `files`")
    arguments = parser.parse_args()
    try:
        with Namespace() as names:  # It knows the portal from the environment or the profile.
            baseurl = names.baseurl
            names.stat(arguments.folder)  # A wrong password or path ends the program here.
        pattern = f"{glob.escape(arguments.folder)}/**/*.parquet"
        with duckdb.connect() as connection:
            connection.register_filesystem(CteraFileSystem(baseurl=baseurl))
            files = connection.read_parquet(
                f"ctera://{urlsplit(baseurl).netloc}{pattern}",
                hive_partitioning=True,
                union_by_name=True,
            )
            files.create_view("files")
            answer = connection.sql(arguments.query)
            print(answer if answer is not None else "That was not a query.")
    except (DirectIOError, duckdb.Error, OSError, ValueError) as error:
        print(f"{arguments.folder}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

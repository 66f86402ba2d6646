"""Copy a folder of the portal to a bucket of S3, without a copy on disk.

Install:  pip install ctera-direct-sync boto3
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment;
          and what boto3 reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...
Run:      python copy_to_s3.py '/My Files/reports' my-bucket --prefix reports/

An object that is there with the same size and content mark is not copied again. Nothing is deleted.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from ctera_direct_sync import DirectIO, DirectIOError, Entry, Namespace

MARK = "ctera-content"


def mark_of(entry: Entry) -> str:
    """Return what changes when the content of a file does, for the object's metadata."""
    changed = "" if entry.modified is None else entry.modified.strftime("%Y%m%dT%H%M%S")
    return f"{entry.file_id}-{changed}"


def is_there(s3: Any, bucket: str, key: str, entry: Entry) -> bool:
    """Return whether the bucket has the file as it is now."""
    try:
        found = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    kept = (found["ContentLength"], found["Metadata"].get(MARK))
    return kept == (entry.size, mark_of(entry))


def main() -> int:
    """Copy each file, go on after a failure, and return 1 if there was one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", help="a folder on the portal")
    parser.add_argument("bucket")
    parser.add_argument("--prefix", default="", help="what the keys begin with, such as reports/")
    arguments = parser.parse_args()
    folder = arguments.folder.rstrip("/")
    copied = unchanged = failed = 0
    s3 = boto3.client("s3")
    try:
        with Namespace() as names, DirectIO(namespace=names) as client:
            for entry in names.walk(folder):
                if entry.is_dir:
                    continue
                key = arguments.prefix + entry.path[len(folder) + 1 :]
                try:
                    if is_there(s3, arguments.bucket, key, entry):
                        unchanged += 1
                        continue
                    # A read that fails ends the upload, so no object is shorter than its file.
                    with client.open(entry) as file:
                        extra = {"Metadata": {MARK: mark_of(entry)}}
                        s3.upload_fileobj(file, arguments.bucket, key, ExtraArgs=extra)
                    copied += 1
                except (Boto3Error, BotoCoreError, ClientError, DirectIOError) as error:
                    failed += 1
                    print(f"{entry.path}: {error}", file=sys.stderr)
    except (DirectIOError, ValueError) as error:
        sys.exit(f"{folder}: {error}")
    print(f"{copied} copied, {unchanged} unchanged, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

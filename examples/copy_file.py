"""Download one file: ``copy_file.py FILE_ID TARGET``. URL and keys come from the environment."""

import sys

import ctera_direct_sync as ctera_direct

with ctera_direct.DirectIO() as client:
    done = client.download(int(sys.argv[1]), sys.argv[2])
print(f"{done.path}: {done.size} bytes, CRC32C {done.crc32c:08x}")

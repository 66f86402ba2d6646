"""The public names and signatures, which users' programs hold on to."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import ctera_direct_sync as ctera_direct
from ctera_direct_sync import DirectIO, exceptions

NAMES = [
    "Ancestor",
    "BatchItem",
    "BatchResult",
    "Block",
    "ByteRange",
    "ChangePage",
    "Chunk",
    "DirectIO",
    "Download",
    "BlockEvent",
    "Metadata",
    "Mirrored",
    "Settings",
    "Streamer",
    "client",
    "codec",
    "CloudFolder",
    "EndpointStats",
    "Entry",
    "Event",
    "HostStats",
    "KeyPair",
    "Namespace",
    "Quantiles",
    "Stats",
    "Version",
    "Waits",
    "aio",
    "exceptions",
    "namespace",
    "settings",
    "types",
]

#: Parameters and defaults of DirectIO's methods; after "self".
SIGNATURES = {
    "__init__": lambda self, baseurl=None, access_key_id=None, secret_access_key=None,
    bearer=None, *, settings=None, session=None, on_event=None, namespace=None: 0,
    "metadata": lambda self, file_id: 0,
    "blocks": lambda self, file_id, byte_range=None, max_workers=None: 0,
    "iter_blocks": lambda self, file_id, byte_range=None, max_workers=None: 0,
    "stream": lambda self, file_id, byte_range=None, max_workers=None: 0,
    "streamer": lambda self, file_id, byte_range=None, max_workers=None: 0,
    "executor": lambda self, metadata, file_id=None, byte_range=None, max_workers=None: 0,
    "download": lambda self, file_id, target, *, byte_range=None, resume=False, progress=None,
    max_workers=None: 0,
    "download_many": lambda self, items, folder, *, max_files=None, resume=True, progress=None,
    workers=None: 0,
    "open": lambda self, file_id, *, readahead=None: 0,
    "read_into": lambda self, file, buffer, offset=0: 0,
    "read_ranges": lambda self, file, ranges: 0,
    "mirror": lambda self, source, folder, *, delete="trash", trash_days=30, max_delete=1000,
    include=(), exclude=(), dry_run=False, max_files=None, progress=None, feed=None: 0,
    "follow": lambda self, source, folder, *, delete="trash", trash_days=30, max_delete=1000,
    include=(), exclude=(), dry_run=False, max_files=None, progress=None, feed=None: 0,
    "info": lambda self, file_id, *, blocks=False: 0,
    "stats": lambda self: 0,
    "close": lambda self: 0,
}  # fmt: skip

#: What importing the package must not load: costly, and needed by some calls only.
LAZY = ["Crypto", "cramjam", "lz4", "google_crc32c", "isal", "tqdm", "fsspec", "asyncio", "trustme",
        "multiprocessing", "pytest", "hypothesis", "cterasdk", "ctera_direct_sync.emulator",
        "ctera_direct_sync.cli.program", "ctera_direct_sync.codec.portable"]  # fmt: skip


def parameters(function) -> list:
    """Names, kinds and defaults of a function's parameters, without their annotations."""
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def test_names():
    """The package exports these names and no other, and has each of them."""
    assert sorted(ctera_direct.__all__) == sorted([*NAMES, *exceptions.__all__])
    assert all(hasattr(ctera_direct, name) for name in ctera_direct.__all__)


def test_methods():
    """DirectIO has the methods that users may call, and no other."""
    public = {name for name, _ in inspect.getmembers(DirectIO, callable) if name[0] != "_"}
    assert public == SIGNATURES.keys() - {"__init__"}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    """Each method takes what the documentation says, by these names, in this order."""
    assert parameters(getattr(DirectIO, name)) == parameters(SIGNATURES[name])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (ctera_direct.ByteRange, lambda start=None, end=None: 0),
        (
            ctera_direct.codec.decode,
            lambda object, *, key=None, cipher="AES-CBC", compression="SNAPPY", length,
            number=None, overwrite_input=False: 0,
        ),
        (ctera_direct.Metadata.deserialize, lambda data: 0),
        (ctera_direct.Streamer.start, lambda self: 0),
        (ctera_direct.Streamer.stop, lambda self: 0),
    ],
)  # fmt: skip
def test_other_signatures(function, expected):
    """So do the other things that users call."""
    assert parameters(function) == parameters(expected)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        ("Block", "file_id number offset length data"),
        ("Chunk", "number offset length url"),
        ("Download", "path size crc32c seconds"),
        ("BlockInfo", "file_id number offset length"),
    ],
)
def test_fields(cls, fields):
    """The small values have the documented fields, in this order."""
    assert getattr(ctera_direct, cls)._fields == tuple(fields.split())


def test_metadata_attributes():
    """Metadata has the documented attributes."""
    names = {"file_id", "size", "encrypted", "compressed", "compression_library", "chunks"}
    assert names <= set(dir(ctera_direct.Metadata))


def test_paths_of_the_vendors_examples():
    """The classes are found where programs written for cterasdk look for them."""
    assert ctera_direct.client.DirectIO is DirectIO
    assert ctera_direct.types.ByteRange is ctera_direct.ByteRange
    assert ctera_direct.exceptions.StreamError is ctera_direct.StreamError
    assert ctera_direct.settings.sessions.ctera_direct.api.ssl is True


def test_everything_public_is_described():
    """Every exported class and function, and each of their public methods, has a docstring."""
    for name in ctera_direct.__all__:
        exported = getattr(ctera_direct, name)
        assert inspect.getdoc(exported), name
        if inspect.isclass(exported):
            for member, value in vars(exported).items():
                if not member.startswith("_") and inspect.isfunction(value):
                    assert inspect.getdoc(value), f"{name}.{member}"


def run(program: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_import_is_light():
    """With the native codec, importing the package loads no other codec, no event loop, no tool."""
    program = f"""
import sys, threading
import ctera_direct_sync
assert ctera_direct_sync.codec.backend == "native", ctera_direct_sync.codec.backend
print([name for name in {LAZY} if name in sys.modules], threading.active_count())
"""
    assert run(program, CTERA_DIRECT_CODEC="native").split("\n")[0] == "[] 1"


def test_client_costs_nothing_before_its_first_use():
    """Making a client opens no socket, starts no thread and makes no TLS context."""
    program = """
import ssl, socket, threading
from ctera_direct_sync import DirectIO
class Forbidden:
    def __init__(self, *args, **keywords): raise AssertionError("too early")
ssl.SSLContext.load_verify_locations = Forbidden
socket.socket = socket.create_connection = Forbidden
DirectIO("https://portal.example.com", "key", "secret").close()
print(threading.active_count())
"""
    assert run(program).strip() == "1"

"""The modules that the package imports by name, which PyInstaller cannot see in its source."""

from PyInstaller.utils.hooks import can_import_module

hiddenimports = [
    # Imported when a name of theirs is first used.
    "ctera_direct_sync.client",
    "ctera_direct_sync.codec",
    "ctera_direct_sync._readers.stream",
    # Chosen by ctera_direct_sync.codec.
    "ctera_direct_sync.codec.native",
    "ctera_direct_sync.codec.portable",
]

# Looked for by ctera_direct_sync.codec.packages, which has stand-ins for those that are missing.
hiddenimports += [
    name
    for name in ("cramjam", "lz4.frame", "google_crc32c", "isal.isal_zlib", "anycrc")
    if can_import_module(name)
]

# Imported by the compiled module, whose source PyInstaller does not have.
hiddenimports += [
    name for name in ("ctera_direct_sync.codec._native", "_cffi_backend") if can_import_module(name)
]

# The package imports these only for programs that import them as well. A program that does not would
# otherwise carry all of Django, if it happens to be installed where the program is frozen.
excludedimports = ["django", "starlette"]

"""Build hook of the native codec. Everything else about the package is in pyproject.toml.

``CTERA_DIRECT_BUILD=portable`` leaves the extension out and gives an honest pure-Python wheel.
"""

import os
import sysconfig

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

# The stable ABI does not exist on free-threaded CPython: there the wheel is for one version only.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

NOT_BUILT = (
    "The native codec could not be compiled (the compiler's own words are above): install a C "
    "compiler and the headers of Python, OpenSSL 3, libdeflate, lz4 and xxHash (Debian: apt-get "
    "install gcc python3-dev libssl-dev libdeflate-dev liblz4-dev libxxhash-dev), or set "
    "CTERA_DIRECT_BUILD=portable for a pure-Python package that gives the same results more slowly."
)


class BuildCodec(build_ext):
    """A build that ends, where it fails, with a sentence on what to do."""

    def build_extension(self, ext):
        """Build the extension, or end with advice for users without a compiler."""
        try:
            super().build_extension(ext)
        except (CompileError, LinkError) as error:
            raise SystemExit(NOT_BUILT) from error


if os.environ.get("CTERA_DIRECT_BUILD", "native") == "portable":
    setup()
else:
    setup(
        cffi_modules=["csrc/ffi_build.py:ffibuilder"],
        cmdclass={"build_ext": BuildCodec},
        options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp39"}},
    )

"""Build hook of the native codec. Everything else about the package is in pyproject.toml.

``CTERA_DIRECT_BUILD=portable`` leaves the extension out and gives an honest pure-Python wheel.
"""

import os
import sysconfig

from setuptools import setup

# The stable ABI does not exist on free-threaded CPython: there the wheel is for one version only.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

if os.environ.get("CTERA_DIRECT_BUILD", "native") == "portable":
    setup()
else:
    setup(
        cffi_modules=["csrc/ffi_build.py:ffibuilder"],
        options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp39"}},
    )

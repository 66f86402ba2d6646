"""The recipe for conda-forge says what pyproject.toml and the sources of the codec say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import ctera_direct_sync

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipe" / "recipe.yaml"

pytestmark = pytest.mark.skipif(
    not RECIPE.exists(), reason="an installed package is tested without the recipe"
)

#: The package of conda-forge with the library that the linker knows by a name, or with a header.
CONDA_NAMES = {"crypto": "openssl", "deflate": "libdeflate", "lz4": "lz4-c", "xxhash.h": "xxhash"}


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """Return the recipe. Its expressions stay as they are."""
    yaml = pytest.importorskip("yaml")
    read: dict[str, Any] = yaml.safe_load(RECIPE.read_text("utf-8"))
    return read


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def plain(requirements: list[Any]) -> set[str]:
    """Return the requirements of all systems, without their blanks."""
    return {each.replace(" ", "") for each in requirements if isinstance(each, str)}


def of_unix(requirements: list[Any]) -> list[str]:
    """Return the requirements of Linux and macOS alone."""
    (found,) = [
        each["then"] for each in requirements if isinstance(each, dict) and each["if"] == "unix"
    ]
    return list(found)


def test_version(recipe: dict[str, Any]) -> None:
    """The recipe is of this version, and takes its release's archive."""
    assert recipe["context"]["version"] == ctera_direct_sync.__version__
    assert recipe["source"]["url"].endswith("/v${{ version }}.tar.gz")
    assert re.fullmatch("[0-9a-f]{64}", recipe["source"]["sha256"])


def test_dependencies(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    """The package needs what it needs from PyPI, in the same versions; and the build likewise."""
    wanted = {each.partition(";")[0].strip() for each in project["project"]["dependencies"]}
    assert plain(recipe["requirements"]["run"]) == wanted | {"python"}
    needed = set(project["build-system"]["requires"])
    assert plain(recipe["requirements"]["host"]) == needed | {"python", "pip"}


def test_libraries(recipe: dict[str, Any]) -> None:
    """The libraries are those that the codec is linked with, and those of whose headers it is made."""
    build = (ROOT / "csrc" / "ffi_build.py").read_text("utf-8")
    (names,) = re.findall(r"^LIBRARIES = \((.*)\)$", build, re.MULTILINE)
    wanted = {CONDA_NAMES[name] for name in re.findall(r'"(\w+)"', names)}
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "csrc").glob("*.[ch]"))
    wanted |= {package for name, package in CONDA_NAMES.items() if f"<{name}>" in sources}
    assert set(of_unix(recipe["requirements"]["host"])) == wanted
    assert "${{ compiler('c') }}" in of_unix(recipe["requirements"]["build"])


def test_what_users_see(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    """Command, summary, licence and homepage are those of the package."""
    commands = [f"{name} = {place}" for name, place in project["project"]["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands
    assert recipe["about"]["summary"] == project["project"]["description"]
    assert recipe["about"]["license"] == project["project"]["license"]
    assert [recipe["about"]["license_file"]] == project["project"]["license-files"]
    assert recipe["about"]["homepage"] == project["project"]["urls"]["Homepage"]
    for test in recipe["tests"]:
        for name in test.get("python", {}).get("imports", []):
            __import__(name)


@pytest.mark.parametrize("system", ["linux-64", "linux-aarch64", "osx-arm64", "win-64"])
def test_rattler_build_reads_it(system: str) -> None:
    """rattler-build accepts the recipe, also where it is built on another machine."""
    rattler = pytest.importorskip("rattler_build")
    builder = "linux-64" if system == "linux-aarch64" else system
    platform = rattler.PlatformConfig(
        target_platform=system, build_platform=builder, host_platform=system
    )
    variants = rattler.VariantConfig({"c_compiler": ["gcc"], "c_stdlib": ["sysroot"]})
    recipe = rattler.Stage0Recipe.from_file(str(RECIPE))
    (found,) = recipe.render(variants, rattler.RenderConfig(platform=platform))
    needed = found.recipe.to_dict()["requirements"]
    assert (f"gcc_{system}" in needed.get("build", [])) is (system != "win-64")
    assert (f"cross-python_{system}" in needed.get("build", [])) is (builder != system)
    assert ("openssl" in needed["host"]) is (system != "win-64")

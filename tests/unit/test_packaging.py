"""What is published: the contents of the sdist and of the wheel."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import strongroom

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "strongroom": "core",
    "strongroom_aws": "backends",
    "strongroom_azure": "backends",
    "strongroom_env": "backends",
    "strongroom_etcd": "backends",
    "strongroom_github": "backends",
    "strongroom_google": "backends",
    "strongroom_keepass": "backends",
    "strongroom_kubernetes": "backends",
    "strongroom_local": "backends",
    "strongroom_rotators": "backends",
    "strongroom_vault": "backends",
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> zipfile.ZipFile:
    (file,) = dist.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(wheel.read(name).decode())


def sources() -> set[str]:
    """Every file of the packages, as the wheel names it."""
    return {
        file.relative_to(ROOT / root).as_posix()
        for package, root in PACKAGES.items()
        for file in (ROOT / root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    """No tests, no docs, no file of a developer's; what applications test with is in it."""
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == sources()
    assert "strongroom/testing/__init__.py" in names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(wheel, package):
    """A type checker reads hints out of an installed package only where it finds this file."""
    assert f"{package}/py.typed" in wheel.namelist()


def test_the_wheel_has_the_command_and_the_license(wheel):
    """And each entry point names a module that is in the wheel."""
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "strongroom = strongroom._cli.main:main" in points
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    for line in points.splitlines():
        if " = " in line:
            module = line.partition(" = ")[2].partition(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist()), line


def test_the_readme_names_each_top_level_package(metadata):
    """An installation takes these names, and a search of the package index finds the README."""
    assert {name for name in PACKAGES if f"`{name}`" in metadata.get_payload()} == {*PACKAGES}


def test_the_metadata_says_what_pyproject_says(metadata):
    """The lowest Python, the license, the author, and the extras that the README names."""
    assert metadata["Author"] == "The Strongroom maintainers"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"vault", "dev-server", "testing", "all", "dev"} <= set(metadata.get_all("Provides-Extra"))
    assert metadata.get_payload().startswith("# Strongroom")


def test_no_extra_means_no_sdk(metadata):
    """An installation without extras brings no client of a service."""
    always = {line.split(">")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert always == {"click", "cryptography", "platformdirs", "python-dotenv", "rich", "stevedore"}


def test_the_sdist_can_be_tested(dist):
    """It holds all that `.ci/run` needs: whoever packages Strongroom runs the tests from it."""
    top = f"strongroom-{strongroom.__version__}"
    with tarfile.open(dist / f"{top}.tar.gz") as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "noxfile.py", "docs/conf.py"}
    wanted |= {".ci/run", ".ci/constraints.txt", ".github/workflows/ci.yml"}
    assert wanted <= names
    assert "tests/unit/test_packaging.py" in names
    assert {f"{PACKAGES[name.split('/')[0]]}/{name}" for name in sources()} <= names
    assert not [name for name in names if ".venv" in name or "__pycache__" in name or name.endswith(".env")]


def test_ci_installs_a_known_release_of_each_package():
    """After a change of a requirement, `nox -s constraints` renews the file."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    left, seen = ["dev"], set()
    while left:
        for needed in map(Requirement, extras[left.pop()]):
            if needed.name == "strongroom":
                left += needed.extras - seen
                seen |= needed.extras
                continue
            releases = [str(pin.specifier) for pin in pins if pin.name == needed.name.lower()]
            assert releases, f"nox -s constraints: no release of {needed.name}"
            assert all(needed.specifier.contains(release.removeprefix("==")) for release in releases), needed

"""A Docker daemon of the tests, with images under the names that the pages use, made of programs of this machine.

Nothing comes from a registry. The images run the real programs: this Python with Strongroom and its packages, OpenBao
from its wheel, and a PostgreSQL that takes the variables of the official image.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO

import pytest
from packaging.requirements import Requirement

from strongroom_vault.dev.server import find_binary
from support.programs import require
from support.scenarios.load import wait_until
from support.scenarios.pages import ROOT
from support.services import postgres

PACKAGES = ("strongroom[vault,postgres]", "psycopg-pool", "fastapi", "uvicorn", "gunicorn", "pip")
"""The packages that an image of a page installs: its `pip install` finds them installed."""

_SYSTEM_SOCKET = Path("/var/run/docker.sock")

_POSTGRES = """#!/bin/sh
# Takes the variables of the image postgres:17: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE.
if [ "$(id -u)" = 0 ]; then
  export POSTGRES_PASSWORD="${POSTGRES_PASSWORD-$(cat "$POSTGRES_PASSWORD_FILE")}"
  exec setpriv --reuid=999 --regid=999 --clear-groups "$0"
fi
export PGUSER="${POSTGRES_USER:-postgres}"
printf %s "$POSTGRES_PASSWORD" >/tmp/password
initdb -U "$PGUSER" -A scram-sha-256 --no-sync --no-locale -E UTF8 --pwfile=/tmp/password -D /data/postgres
echo 'host all all all scram-sha-256' >>/data/postgres/pg_hba.conf
[ -z "$POSTGRES_DB" ] || echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D /data/postgres postgres
exec postgres -D /data/postgres -c 'listen_addresses=*' -c unix_socket_directories=/tmp
"""


def _libraries(*files: Path) -> set[Path]:
    """The shared libraries that these programs and libraries load."""
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    words = {word for line in listed.splitlines() if not line.endswith(":") for word in line.split()}
    return {Path(word) for word in words if word.startswith("/")}


def _copy_programs(root: Path, *programs: Path | str) -> None:
    """Copy programs to `/usr/bin` of an image, and the libraries of all its programs to `/usr/lib`."""
    for program in programs:
        found = shutil.which(program)
        assert found is not None, program
        shutil.copy(found, root / "usr" / "bin" / Path(program).name)
    binaries = [file for file in root.rglob("*") if ".so" in file.name or file.parent.name == "bin"]
    for library in _libraries(*(file for file in binaries if file.is_file() and not file.is_symlink())):
        shutil.copy(library, root / "usr" / "lib")


def new_root(folder: Path) -> Path:
    """Make the root folder of an image: a shell and a few programs."""
    for name in ("usr/bin", "usr/lib", "etc", "run", "root", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to("usr/lib" if name.startswith("lib") else "usr/bin")
    (folder / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/data:/bin/sh\n", "utf-8"
    )
    (folder / "etc" / "group").write_text("root:x:0:\npostgres:x:999:\n", "utf-8")
    return folder


def _distributions(*requirements: str) -> set[str]:
    """Return the names of the installed distributions that these requirements need."""
    left = [(Requirement(text).name, extra) for text in requirements for extra in ("", *Requirement(text).extras)]
    found: set[tuple[str, str]] = set()
    while left:
        name, extra = left.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            needs = [need for text in metadata.requires(name) or () if (need := Requirement(text))]
            marked = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
            left += [(need.name, wanted) for need in marked for wanted in ("", *need.extras)]
    return {name for name, _ in found}


def fill_python(root: Path) -> None:
    """Add this Python, with the packages of the pages, as `/usr/local`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    local, library = root / "usr" / "local" / "bin", root / "usr" / "local" / "lib" / version
    local.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), local / "python")
    packages = "site-packages", "dist-packages", "EXTERNALLY-MANAGED"
    unused = shutil.ignore_patterns("__pycache__", *packages, "test", "idlelib", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=unused)
    site = library / "site-packages"
    (library / "dist-packages").symlink_to("site-packages")  # where Debian's Python looks outside of an environment
    for name in sorted(_distributions(*PACKAGES)):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts and file.suffix != ".pth":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(distribution.locate_file(file))), site / file)
        for script in distribution.entry_points.select(group="console_scripts"):
            code = f"import sys\nfrom {script.module} import {script.attr}\nsys.exit({script.attr}())"
            (local / script.name).write_text(f"#!/usr/local/bin/python\n{code}\n", "utf-8")
            (local / script.name).chmod(0o755)
    for package in (*ROOT.glob("core/*/"), *ROOT.glob("backends/*/")):
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")  # Debian's pip has none of its own
    if authorities.exists():
        (root / authorities.parent.relative_to("/")).mkdir(parents=True)
        shutil.copy(authorities, root / authorities.relative_to("/"))
    _copy_programs(root, "sh", "cat", "env", "id", "useradd")


def _openbao(root: Path) -> None:
    _copy_programs(root, find_binary())


def _database(root: Path) -> None:
    installed = postgres.installed()
    for part in (installed, installed.parent.with_name(f"{installed.parent.name}.libs")):
        shutil.copytree(part, root / "opt" / part.relative_to(installed.parent.parent), symlinks=True)
    (root / "start").write_text(_POSTGRES, "utf-8")
    (root / "start").chmod(0o755)
    (root / "postgres").symlink_to(Path("opt") / installed.relative_to(installed.parent.parent))
    (root / "data").chmod(0o777)
    _copy_programs(root, "sh", "cat", "id", "setpriv")


IMAGES = {
    "python:3.13-slim": (
        fill_python,
        ["ENV PATH=/usr/local/bin:/usr/bin PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1"],
    ),
    "openbao/openbao:2.7": (_openbao, ['ENTRYPOINT ["bao"]']),
    "postgres:17": (_database, ['ENTRYPOINT ["/start"]', "ENV PATH=/postgres/bin:/usr/bin"]),
}
"""The images that the pages name."""


@contextlib.contextmanager
def running_docker() -> Iterator[str]:
    """Run a daemon with the images, for its address; skip the test if there can be none.

    A daemon that runs already is left alone: its images of the same names are those of its registry.
    """
    require("docker", "dockerd")
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon needs root")
    if _SYSTEM_SOCKET.exists():
        pytest.skip("a Docker daemon runs on this machine")
    home = Path(tempfile.mkdtemp(prefix="strongroom-docker-"))
    address = f"unix://{home}/docker.sock"
    folders = ("--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid")
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(["dockerd", "--host", address, *folders], stdout=log, stderr=log) as daemon,
    ):
        try:
            wait_until(lambda: _docker(address, "version", check=False).returncode == 0)
            for name, (fill, settings) in IMAGES.items():
                root = new_root(home / "root")
                fill(root)
                changes = [word for setting in settings for word in ("--change", setting)]
                pack = ["tar", "-C", root, "--owner=0", "--group=0", "--numeric-owner", "-c", "."]
                with subprocess.Popen(pack, stdout=subprocess.PIPE) as archive:
                    _docker(address, "import", *changes, "-", name, stdin=archive.stdout)
                shutil.rmtree(root)
            yield address
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
    shutil.rmtree(home, ignore_errors=True)


def _docker(
    address: str, *arguments: str, check: bool = True, stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = ["docker", "--host", address, *arguments]
    return subprocess.run(command, stdin=stdin, capture_output=True, check=check)

"""Databases of KeePass whose key is derived in a millisecond, and KeePassXC's own command to look into them."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from pykeepass import PyKeePass
from pykeepass.pykeepass import BLANK_DATABASE_LOCATION, BLANK_DATABASE_PASSWORD

from support.programs import require

PASSWORD = "correct-battery-horse"


def make_database(file: Path, password: str | None = PASSWORD, key_file: Path | None = None) -> Path:
    """Create an empty database of mode 0600."""
    opened = _blank()
    opened.password, opened.keyfile = password, key_file
    file.touch(0o600)
    with file.open("wb") as stream:
        opened.save(stream)
    return file


def edit(file: Path, password: str | None = PASSWORD) -> PyKeePass:
    """Open a database as another program does; its `save` is not ours."""
    return PyKeePass(str(file), password=password)


def keepassxc(file: Path, *arguments: str, password: str = PASSWORD) -> str:
    """Run keepassxc-cli on a database. Skip the test if it is not installed."""
    require("keepassxc-cli")
    command, *rest = arguments
    done = subprocess.run(
        ["keepassxc-cli", command, "--quiet", str(file), *rest],
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    return done.stdout


@cache
def _blank_key() -> bytes:
    """Derive the key of pykeepass's blank database once, in a second."""
    return bytes(PyKeePass(BLANK_DATABASE_LOCATION, password=BLANK_DATABASE_PASSWORD).transformed_key)


def _blank() -> PyKeePass:
    """Return pykeepass's blank database with the cheapest parameters of Argon2."""
    blank = PyKeePass(BLANK_DATABASE_LOCATION, transformed_key=_blank_key())
    parameters = blank.kdbx.header.value.dynamic_header.kdf_parameters.data.dict
    parameters["I"].value, parameters["M"].value, parameters["P"].value = 1, 1 << 13, 1
    return blank

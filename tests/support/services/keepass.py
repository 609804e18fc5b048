"""Databases of KeePass whose key is derived in a millisecond, and KeePassXC's own command to look into them."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from construct import Container
from pykeepass import PyKeePass
from pykeepass.kdbx_parsing import KDBX
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


def make_old_database(file: Path) -> Path:
    """Create an empty database of KDBX 3.1, which pykeepass itself does not."""
    tree = _blank().tree
    for element in tree.iter("*"):  # KDBX 3 has times in text
        if element.tag.endswith(("Time", "Changed")) and element.text:
            element.text = "2020-01-01T00:00:00Z"
    fields = {
        "cipher_id": "aes256",
        "compression_flags": Container(compression=True),
        "master_seed": os.urandom(32),
        "transform_seed": os.urandom(32),
        "transform_rounds": 100,
        "encryption_iv": os.urandom(16),
        "protected_stream_key": os.urandom(32),
        "stream_start_bytes": os.urandom(32),
        "protected_stream_id": "salsa20",
        "end": b"\r\n\r\n",
    }
    items = Container({name: Container(id=name, data=data) for name, data in fields.items()})
    signature = {"sig1": b"\x03\xd9\xa2\x9a", "sig2": b"\x67\xfb\x4b\xb5"}
    header = Container(value=Container(**signature, minor_version=1, major_version=3, dynamic_header=items))
    whole = Container(header=header, body=Container(payload=Container(xml=tree)))
    credentials = {"password": PASSWORD, "keyfile": None, "transformed_key": None, "decrypt": True}
    file.touch(0o600)
    file.write_bytes(KDBX.build(whole, **credentials))
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

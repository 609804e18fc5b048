"""The opener of the store `keepass`. It imports pykeepass when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from strongroom.errors import ConfigurationError
from strongroom.store import Option, checked_by
from strongroom_keepass.store import KeePassStore


def check_keepass(*, password: str | None = None, key_file: Path | None = None, **_: object) -> None:
    """Check the options without pykeepass.

    Raises:
        ConfigurationError: there is neither a password nor a key file.
    """
    if password is None and key_file is None:
        raise ConfigurationError("password: a database needs it, or key_file. Set KEEPASS_PASSWORD, for example")


@checked_by(check_keepass)
def open_keepass(
    *,
    file: Annotated[Path, Option("the database, a .kdbx file that exists", location=True)],
    password: Annotated[str | None, Option("the master password", ("KEEPASS_PASSWORD",), secret=True)] = None,
    key_file: Annotated[Path | None, Option("the key file, if the database has one")] = None,
) -> KeePassStore:
    """Entries of a KeePass database, such as that of KeePassXC. It opens the file at the first call.

    Raises:
        ConfigurationError: there is neither a password nor a key file.
        ImportError: pykeepass is not installed. Strongroom names the extra that brings it.
    """
    check_keepass(password=password, key_file=key_file)
    import pykeepass

    _ = pykeepass  # fail now if it is not installed
    from strongroom_keepass.database import Database

    return KeePassStore(Database(file, password, key_file))

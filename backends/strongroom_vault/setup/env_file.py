"""The lines of a `.env` file that say where the server is and which token to use. Pure: texts in, texts out."""

from __future__ import annotations

import io
from collections.abc import Mapping

from strongroom.errors import ConfigurationError
from strongroom.secret import SensitiveStr

ADDRESS, TOKEN, NAMESPACE = "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"

_OUTRANK = {"BAO_ADDR": ADDRESS, "BAO_TOKEN": TOKEN, "BAO_NAMESPACE": NAMESPACE}


def values(text: str, file: str) -> dict[str, SensitiveStr]:
    """What the text sets of ours.

    Raises:
        ConfigurationError: a line of it is no NAME=value, or it sets what would outrank what is to be written.
    """
    found: dict[str, SensitiveStr] = {}
    for number, (name, value, _) in enumerate(_bindings(text, file), 1):
        if name in _OUTRANK and value:
            raise ConfigurationError(
                f"--env-file {file}: its {name} (entry {number}) outranks {_OUTRANK[name]}: remove it, and try again"
            )
        if name in {ADDRESS, TOKEN, NAMESPACE}:
            found[name] = value
    return found


def with_values(text: str, wanted: Mapping[str, str], file: str) -> SensitiveStr:
    """The text with these values, each in the place of its name or at the end; all else as it was.

    Raises:
        ConfigurationError: as `values` does.
    """
    bindings = _bindings(text, file)
    last = {name: index for index, (name, _, _) in enumerate(bindings) if name in wanted}
    pieces: list[str] = []
    for index, (name, _, original) in enumerate(bindings):
        if last.get(name) == index:
            # The blank lines before an entry are a part of it to python-dotenv.
            pieces.append(original[: len(original) - len(original.lstrip())] + _line(name, wanted[name]))
        elif name not in last:
            pieces.append(original)
    kept = "".join(pieces)
    added = "".join(_line(name, value) for name, value in wanted.items() if name not in last)
    return SensitiveStr(kept + ("\n" if added and kept and not kept.endswith("\n") else "") + added)


def _line(name: str, value: str) -> str:
    return f"{name}={value}\n"


def _bindings(text: str, file: str) -> list[tuple[str, SensitiveStr, SensitiveStr]]:
    """Name, value and original text of each entry; comments and blank lines have no name."""
    from dotenv.parser import parse_stream

    found: list[tuple[str, SensitiveStr, SensitiveStr]] = []
    for binding in parse_stream(io.StringIO(text, newline="")):
        if binding.error:
            raise ConfigurationError(f"--env-file {file}, line {binding.original.line}: it is not NAME=value")
        found.append((binding.key or "", SensitiveStr(binding.value or ""), SensitiveStr(binding.original.string)))
    return found

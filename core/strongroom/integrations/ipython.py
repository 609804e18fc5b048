"""An extension of IPython and Jupyter: the magic `%secret`, and a session that shows no value.

::

    %load_ext strongroom.integrations.ipython
    key = %secret api-keys/payments#key
"""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.namespace import NamespaceMagics

from strongroom._manager.redacted_objects import RedactedScalar
from strongroom.errors import StrongroomError
from strongroom.paths import parse_reference
from strongroom.secret import REDACTED, SensitiveBytes, SensitiveStr
from strongroom.secrets_manager import get_secret

_WITH_TEXT = (SensitiveStr, SensitiveBytes, RedactedScalar)
"""The types whose `str` is the value."""


@magics_class
class SecretMagics(Magics):
    """The magics of this extension."""

    @line_magic
    def secret(self, line: str) -> object:
        """Return the secret at `PATH`, or its key at `PATH#KEY`.

        The history has the path. The output of a cell, `%whos` and `name?` show no value; `print(name)` does.
        """
        try:
            path, key = parse_reference(line.strip())
            return get_secret(path) if key is None else get_secret(path, key)
        except StrongroomError as error:
            raise UsageError(str(error)) from None

    @line_magic
    def whos(self, line: str = "") -> None:
        """List the variables with type and content, like IPython's own `%whos`, and secrets without content."""
        shell: Any = self.shell  # None only before the magics are registered
        names = shell.user_ns
        secrets = {name: value for name, value in names.items() if isinstance(value, _WITH_TEXT)}
        names.update((name, _redacted(value)) for name, value in secrets.items())
        try:
            NamespaceMagics(shell).whos(line)
        finally:
            names.update(secrets)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics, and redact `name?`."""
    inspector = shell.inspector
    show = type(inspector).info

    def info(obj: object, *args: Any, **options: Any) -> Any:
        return show(inspector, _redacted(obj), *args, **options)

    shell.register_magics(SecretMagics)
    vars(inspector)["info"] = info


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Restore IPython's own `%whos` and `name?`, and remove `%secret`."""
    shell.magics_manager.magics["line"].pop("secret", None)
    shell.register_magics(NamespaceMagics)
    vars(shell.inspector).pop("info", None)


def _redacted(value: object) -> object:
    """Return an object of the same type name and documentation, without the text of a secret. Others stay."""
    if not isinstance(value, _WITH_TEXT):
        return value
    kind = type(value)
    return type(kind.__name__, (), {"__doc__": kind.__doc__, "__str__": lambda _: REDACTED})()

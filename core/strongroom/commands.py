"""The published interface for commands that a plugin adds to `strongroom`.

A command is a click command, or a group, in the entry-point group `strongroom.commands`. It imports what it shares with
the built-in commands from here; every other module of `strongroom._cli` may change without notice::

    @click.command("count")
    @api.current
    def count(invocation: api.Invocation) -> None:
        with invocation.open() as secrets:
            api.write_lines([str(len(secrets.list_secrets()))])

Each name is imported when it is first used, because `strongroom --help` loads every command for its summary.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom._cli.exit_codes import ExitCode
    from strongroom._cli.operate.trust import trust_file
    from strongroom._cli.options import Invocation, current
    from strongroom._cli.process.child_process import run_command
    from strongroom._cli.terminal.confirmation import confirm
    from strongroom._cli.terminal.output import Cell, say, write_document, write_lines, write_rows, write_table
    from strongroom._config import VAULT, Config, Rank, Setting, StoreConfig
    from strongroom._config.discovery import FILE_NAME as CONFIG_FILE_NAME
    from strongroom._config.discovery import environments as config_environments
    from strongroom._config.discovery import load as load_config
    from strongroom._config.discovery import named_file as expand_config_file
    from strongroom._config.trust import is_trusted as is_file_trusted
    from strongroom._config.variables import option_variable
    from strongroom._plugins import settings as store_settings
    from strongroom.dotenv import parse_dotenv
    from strongroom.dotenv import set_values as set_dotenv_values
    from strongroom.durations import ALLOWED as DURATION_FORMAT
    from strongroom.durations import parse_duration
    from strongroom.private_file import prepare as prepare_private_file
    from strongroom.secrets_manager import Resolution, SecretsManager

_NAMES = {
    "_cli.operate.trust": "trust_file",
    "_cli.exit_codes": "ExitCode",
    "_cli.options": "Invocation current",
    "_cli.process.child_process": "run_command",
    "_cli.terminal.confirmation": "confirm",
    "_cli.terminal.output": "Cell say write_document write_lines write_rows write_table",
    "_config": "Config Rank Setting StoreConfig VAULT",
    "_config.discovery": (
        "CONFIG_FILE_NAME=FILE_NAME config_environments=environments expand_config_file=named_file load_config=load"
    ),
    "dotenv": "parse_dotenv set_dotenv_values=set_values",
    "durations": "DURATION_FORMAT=ALLOWED parse_duration",
    "_config.trust": "is_file_trusted=is_trusted",
    "_config.variables": "option_variable",
    "private_file": "prepare_private_file=prepare",
    "_plugins": "store_settings=settings",
    "secrets_manager": "Resolution SecretsManager",
}
"""The names that each module provides, as NAME or NAME=ATTRIBUTE."""
_SOURCES = {name.partition("=")[0]: (module, name) for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "CONFIG_FILE_NAME",
    "DURATION_FORMAT",
    "VAULT",
    "Cell",
    "Config",
    "ExitCode",
    "Invocation",
    "Rank",
    "Resolution",
    "SecretsManager",
    "Setting",
    "StoreConfig",
    "config_environments",
    "confirm",
    "current",
    "expand_config_file",
    "is_file_trusted",
    "load_config",
    "option_variable",
    "parse_dotenv",
    "parse_duration",
    "prepare_private_file",
    "run_command",
    "say",
    "set_dotenv_values",
    "store_settings",
    "trust_file",
    "write_document",
    "write_lines",
    "write_rows",
    "write_table",
]


def __getattr__(name: str) -> object:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, source = _SOURCES[name]
    value: object = getattr(import_module(f"strongroom.{module}"), source.rpartition("=")[2])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

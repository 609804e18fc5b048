"""The published interface for commands that a plugin adds to `strongroom`.

A command is a click command, or a group, in the entry-point group `strongroom.commands`. It imports what it shares with
the built-in commands from here; every other module of `strongroom._cli` may change without notice::

    from strongroom import commands

    @click.command("count")
    @commands.current
    def count(invocation: commands.Invocation) -> None:
        with invocation.open() as secrets:
            commands.write_lines([str(len(secrets.list_secrets()))])

Each name is imported when it is first used, because `strongroom --help` loads every command for its summary.
"""

from typing import TYPE_CHECKING

from strongroom._lazy_names import lazy_names

if TYPE_CHECKING:
    from strongroom._cli.configure.trust import trust_file as trust_file
    from strongroom._cli.exit_codes import ExitCode as ExitCode
    from strongroom._cli.options import Invocation as Invocation
    from strongroom._cli.options import current as current
    from strongroom._cli.process.child_process import run_command as run_command
    from strongroom._cli.terminal.confirmation import confirm as confirm
    from strongroom._cli.terminal.output import Cell as Cell
    from strongroom._cli.terminal.output import say as say
    from strongroom._cli.terminal.output import write_document as write_document
    from strongroom._cli.terminal.output import write_lines as write_lines
    from strongroom._cli.terminal.output import write_rows as write_rows
    from strongroom._cli.terminal.output import write_table as write_table
    from strongroom._config import VAULT as VAULT
    from strongroom._config import Rank as Rank
    from strongroom._config import Setting as Setting
    from strongroom._config import StoreConfig as StoreConfig
    from strongroom._config.discovery import CONFIG_FILE_NAME as CONFIG_FILE_NAME
    from strongroom._config.discovery import config_environments as config_environments
    from strongroom._config.discovery import expand_config_file as expand_config_file
    from strongroom._config.trust import is_file_trusted as is_file_trusted
    from strongroom._config.variables import option_variable as option_variable
    from strongroom._plugins import store_settings as store_settings
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "strongroom._cli.exit_codes": "ExitCode",
            "strongroom._cli.configure.trust": "trust_file",
            "strongroom._cli.options": "Invocation current",
            "strongroom._cli.process.child_process": "run_command",
            "strongroom._cli.terminal.confirmation": "confirm",
            "strongroom._cli.terminal.output": "Cell say write_document write_lines write_rows write_table",
            "strongroom._config": "VAULT Rank Setting StoreConfig",
            "strongroom._config.discovery": "CONFIG_FILE_NAME config_environments expand_config_file",
            "strongroom._config.trust": "is_file_trusted",
            "strongroom._config.variables": "option_variable",
            "strongroom._plugins": "store_settings",
        },
    )

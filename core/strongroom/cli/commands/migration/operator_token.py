"""The operator's token for the stores of a migration.

A `.env` file usually holds a token for the application, which may only read. This is a separate module because
`migrate` and the commands for its steps share it.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable

from strongroom.cli.terminal import output
from strongroom.config import Config, OptionValue, Rank
from strongroom.errors import shown
from strongroom.secret import SensitiveStr

_HINT = "To use an operator's token, set it and the address in the environment, or enter it on a terminal without --yes"


def with_operator_tokens(config: Config, sources: Iterable[str], *, ask: bool) -> Config:
    """Return the configuration with an operator's token for each store among the sources, asked for once."""
    for source in {name.partition(":")[0]: name for name in sources}.values():
        config = with_operator_token(config, source, ask=ask, is_source=True)
    return config


def with_operator_token(config: Config, store: str, *, ask: bool, is_source: bool = False) -> Config:
    """Return the configuration with an operator's token for the store, if its own token comes from `./.env`.

    Without a terminal, or with an empty answer, the token of the file is used.
    """
    from strongroom import plugins
    from strongroom.migrate.endpoints import located

    found, group = located(config, store, plugins.IMPORTERS if is_source else plugins.EXPORTERS)
    settings = plugins.settings(found, store, group)
    tokens = {name: setting for name, setting in settings.items() if setting.secret and setting.value}
    if [setting.rank for setting in tokens.values()] != [Rank.DOTENV]:
        return config
    [(option, token)] = tokens.items()
    name = store.partition(":")[0]
    used = f"store {shown(name)} uses {token.origin}"
    typed = SensitiveStr()
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        prompt = f"strongroom: {used}. Operator's token, or Enter for that one: "
        typed = SensitiveStr(getpass.getpass(prompt, stream=sys.stderr).strip())
    else:
        output.say(f"{used}. {_HINT}")
    if not typed:
        return config
    # Whoever types a token for this store means its address, which the same file may give.
    given = {
        other: OptionValue(setting.value, setting.origin, Rank.ARGUMENT)
        for other, setting in settings.items()
        if setting.address and setting.value
    }
    given[option] = OptionValue(typed, "the prompt", Rank.ARGUMENT)
    return config.with_store(config.store(name).with_options(given))

"""`strongroom generate`."""

from __future__ import annotations

import click

from strongroom._cli.options import Invocation, current, json_option, store_option, yes_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import announce, confirm, reasons
from strongroom.errors import ConfigurationError


@click.command("generate")
@store_option("Write to")
@yes_option()
@json_option()
@current
def generate_command(invocation: Invocation, *, store: str | None, yes: bool, as_json: bool) -> None:
    """Create the secrets of [secrets] that no store has and that have a rule `generate`.

    An existing secret is never changed, also if another process creates it meanwhile. No value is shown. An outage or a
    denial is an error. It asks for confirmation in production.

    Example: strongroom generate --store vault
    """
    with invocation.open_to_write() as secrets:
        rows = [row for row in secrets.config.secrets.values() if row.generate is not None]
        if not rows:
            raise ConfigurationError('No row of [secrets] has `generate`, such as generate = "password"')
        targets = {target.store: target for target in (secrets.write_target(row.path, store=store) for row in rows)}
        for target in targets.values():
            announce(secrets, target, "Creating missing secrets in")
        confirm([reason for target in targets.values() for reason in reasons(target, secrets.config)][:1], yes=yes)
        created = secrets.generate_missing(store=store)
    output.say(f"Created {', '.join(created)}" if created else "Nothing is missing")
    if as_json:
        output.write_document({"created": list(created)})

"""`strongroom delete`."""

from __future__ import annotations

import click

from strongroom._cli.options import Invocation, current, json_option, path_argument, store_option, yes_option
from strongroom._cli.terminal import output
from strongroom._cli.terminal.confirmation import announce, confirm, reasons
from strongroom.errors import shown


@click.command("delete")
@path_argument
@store_option("Delete from")
@yes_option()
@json_option()
@current
def delete_command(invocation: Invocation, path: str, *, store: str | None, yes: bool, as_json: bool) -> None:
    """Delete a whole secret from one store.

    It asks for confirmation in production, and if the store keeps no versions, because the secret cannot be restored.
    Without a terminal it then needs --yes. Reads then return the secret of a lower store in the chain, if there is one.

    Example: strongroom delete services/web --store vault
    """
    with invocation.open_to_write() as secrets:
        target = secrets.write_target(path, store=store)
        announce(secrets, target, f"Deleting {shown(path)} from")
        confirm(reasons(target, secrets.config, deletes=True), yes=yes)
        secrets.delete_secret(path, store=target.store)
    output.say(f"Deleted {shown(path)} from store {shown(target.store)}")
    if as_json:
        output.write_document({"path": path, "store": target.store})

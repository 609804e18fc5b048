"""`strongroom keys`."""

from __future__ import annotations

import click

from strongroom._cli.options import Invocation, current, json_option, path_argument
from strongroom._cli.terminal import output
from strongroom.errors import shown


@click.command("keys")
@path_argument
@json_option("Print a JSON object with the ids.")
@current
def keys_command(invocation: Invocation, path: str, *, as_json: bool) -> None:
    """Print the ids of the keys in a keyset of encrypted columns, and what each one does.

    One key encrypts, and all decrypt. During the grace time of a rotation the former key encrypts, and the new one is
    listed as next. No key is printed. The keyset is read past the cache.

    Example: strongroom keys columns/customer
    """
    from strongroom.encryption import Keyset

    with invocation.open() as secrets:
        found = secrets.resolve(path, fresh=True)
    keyset = Keyset.parse(found.value if isinstance(found.value, dict) else {}, path)
    if as_json:
        ids = {"encrypting": keyset.encrypting, "primary": keyset.primary, "previous": keyset.previous}
        output.write_document({"path": path, "store": found.store, **ids, "keys": sorted(keyset.keys)})
        return
    uses = dict.fromkeys(sorted(keyset.keys), "decrypts") | {keyset.primary: "next", keyset.encrypting: "encrypts"}
    output.write_listing(("key", "use"), list(uses.items()), caption=f"{shown(path)} from {found.store}")

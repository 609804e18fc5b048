"""`strongroom vault`: the set-up of a server, and least-privilege policies."""

from __future__ import annotations

import json

import click

from strongroom import commands
from strongroom.commands import Config
from strongroom.errors import ConfigurationError, shown
from strongroom_vault.cli import target_options
from strongroom_vault.setup import hcl
from strongroom_vault.setup.command import setup


@click.group()
def vault() -> None:
    """Set up a Vault or OpenBao server for an application, and print its policies.

    Example: strongroom vault setup --dry-run
    """


vault.add_command(setup)


@vault.command("policy")
@click.option("--store", metavar="NAME", help="Vault store to print the policy for. Default: the first of the chain.")
@click.option("--kv", type=click.Choice(("1", "2")), default="2", show_default=True, help="Version of the engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the policy as a JSON object.")
@commands.current
def policy(invocation: commands.Invocation, *, store: str | None, kv: str, as_json: bool) -> None:
    """Print the smallest policy that the application needs.

    It allows to read the paths in [secrets] that the chain reads from its Vault store, and nothing else: no listing, no
    writing. No request is sent.

    Example: strongroom vault policy | bao policy write billing -
    """
    config = invocation.load_to_write("decides what a token may read")
    target = target_options.find_location(config, store)
    paths = sorted(_paths(config, target.store))
    if not paths:
        raise ConfigurationError(f"[secrets] has no row that the chain reads from the store {target.store}")
    below = "/".join(part for part in (target.mount, "data" if kv == "2" else "", target.prefix) if part)
    rules = {f"{below}/{path}": ("read",) for path in paths}
    if as_json:
        policies = [{"namespace": target.namespace, **hcl.to_document(rules)}]
        click.echo(json.dumps({"version": 1, "policies": policies}, ensure_ascii=False, indent=2))
        return
    namespace = f", namespace {shown(target.namespace)}" if target.namespace else ""
    click.echo(f"# Read access for [secrets] in the store {shown(target.store)}{namespace}.\n")
    click.echo(hcl.to_hcl(rules), nl=False)


def _paths(config: Config, store: str) -> set[str]:
    """Return the paths in [secrets] that the chain may read from the store; all of them if no link uses it."""
    links = [link for link in config.chain if link.store == store]
    paths = {secret.path for secret in config.secrets.values()}
    return {path for path in paths if not links or any(link.covers(path) for link in links)}

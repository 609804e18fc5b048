"""`strongroom vault`: the set-up of a server, and least-privilege policies."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Literal

import click

from strongroom import commands
from strongroom.commands import Config
from strongroom.errors import ConfigurationError, shown
from strongroom_vault.cli import target_options
from strongroom_vault.policy import audit_log, document
from strongroom_vault.setup.command import setup


@click.group()
def vault() -> None:
    """Set up a Vault or OpenBao server for an application, and print its policies.

    Example: strongroom vault setup --dry-run
    """


vault.add_command(setup)


@vault.command("policy")
@click.option("--store", metavar="NAME", help="Vault store to print the policy for. Default: the first of the chain.")
@click.option("--mount", metavar="PATH", multiple=True, help="Mount of the engine; repeatable with --from-audit.")
@click.option("--kv", type=click.Choice(("1", "2")), default="2", show_default=True, help="Version of the engine.")
@click.option(
    "--from-audit", metavar="FILE", help="Allow what this audit log shows, not what [secrets] needs; - is stdin."
)
@click.option("--who", metavar="NAME", help="Count only the requests of this display name or role in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="Print the policy as a JSON object.")
@commands.current
def policy_command(
    invocation: commands.Invocation,
    *,
    store: str | None,
    mount: tuple[str, ...],
    kv: str,
    from_audit: str | None,
    who: str | None,
    as_json: bool,
) -> None:
    """Print the smallest policy that the application needs.

    It allows to read the paths in [secrets] that the chain reads from its Vault store, and nothing else: no listing, no
    writing. No request is sent. With --from-audit, it allows the successful requests in the log of an audit device (in
    JSON format), except those that the policy `default` allows. Malformed lines are counted on stderr.

    Example: strongroom vault policy | bao policy write billing -
    """
    if from_audit is not None:
        if store:
            raise click.UsageError("--store cannot be used with --from-audit, which covers a whole server")
        _print_used(from_audit, mount, who, as_json=as_json)
        return
    if who or len(mount) > 1:
        raise click.UsageError("--who, and more than one --mount, need --from-audit")
    config = invocation.load()
    target = target_options.find_location(config, store, {"mount": mount[0] if mount else None})
    paths = sorted(_paths(config, target.store))
    if not paths:
        raise ConfigurationError(f"[secrets] has no row that the chain reads from the store {target.store}")
    version: Literal[1, 2] = 1 if kv == "1" else 2
    rules = document.read_rules(paths, mount=target.mount, prefix=target.prefix, version=version)
    if as_json:
        _print_document({target.namespace or "": rules})
        return
    namespace = f", namespace {shown(target.namespace)}" if target.namespace else ""
    click.echo(f"# Read access for [secrets] in the store {shown(target.store)}{namespace}.\n")
    click.echo(document.to_hcl(rules), nl=False)


def _paths(config: Config, store: str) -> set[str]:
    """Return the paths in [secrets] that the chain may read from the store; all of them if no link uses it."""
    links = [link for link in config.chain if link.store == store]
    paths = {secret.path for secret in config.secrets.values()}
    return {path for path in paths if not links or any(link.covers(path) for link in links)}


def _print_document(rules: Mapping[str, document.Rules]) -> None:
    """Print the policies of each namespace as one document."""
    policies = [{"namespace": namespace, **document.to_document(rules[namespace])} for namespace in sorted(rules)]
    click.echo(json.dumps({"version": 1, "policies": policies}, ensure_ascii=False, indent=2))


def _print_used(file: str, mounts: tuple[str, ...], who: str | None, *, as_json: bool) -> None:
    with _open(file) as stream:
        usage = audit_log.summarize(stream, mounts=mounts, who=who)
    for line in _remarks(usage):
        commands.say(line)
    if as_json:
        _print_document(usage.rules)
    else:
        click.echo("\n".join(_sections(usage)), nl=False)


def _sections(usage: audit_log.Usage) -> Iterator[str]:
    for namespace, rules in sorted(usage.rules.items()):
        where = f" in the namespace {shown(namespace)}" if namespace else ""
        yield f"# Requests in the audit log{where}.\n\n{document.to_hcl(rules)}"


def _remarks(usage: audit_log.Usage) -> Iterable[str]:
    yield f"lines read: {usage.lines:,}; paths used: {usage.paths:,}"
    if usage.malformed:
        yield f"ignored lines that are not JSON entries of an audit device: {usage.malformed:,}"
    if usage.unknown_operations:
        yield f"ignored requests whose operation is not a capability: {usage.unknown_operations:,}"
    if len(usage.rules) > 1:
        yield "the policies are for several namespaces: write each part in its own namespace"


@contextmanager
def _open(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: PTH123, SIM115  # closed below; a fault is reported without its traceback
    except OSError as error:
        raise ConfigurationError(f"--from-audit {file}: {error.strerror or 'it cannot be read'}") from None
    with stream:
        yield stream

"""`strongroom vault`: setting a server up for an application, and the policies that the application needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Literal

import click

from strongroom.cli import api
from strongroom.config import Config
from strongroom.errors import ConfigurationError, shown
from strongroom_vault.cli import target_options
from strongroom_vault.cli.target_options import Target
from strongroom_vault.policy import audit_log, document
from strongroom_vault.setup.command import setup


@click.group()
def vault() -> None:
    """Set a Vault or OpenBao server up for an application, and print its policies.

    Example: strongroom vault setup --dry-run
    """


vault.add_command(setup)


@vault.command("policy")
@click.option("--store", metavar="NAME", help="For this Vault store, not the first of the chain.")
@click.option("--mount", metavar="PATH", multiple=True, help="Below this mount; of an audit log, any number of them.")
@click.option("--kv", type=click.Choice(("1", "2")), default="2", show_default=True, help="The version of the engine.")
@click.option(
    "--from-audit", metavar="FILE", help="What an audit log says was used, not what [secrets] needs; - is stdin."
)
@click.option("--who", metavar="NAME", help="Of the audit log, what this display name or role used alone.")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
@api.current
def policy_command(
    invocation: api.Invocation,
    *,
    store: str | None,
    mount: tuple[str, ...],
    kv: str,
    from_audit: str | None,
    who: str | None,
    as_json: bool,
) -> None:
    """Print the least policy that the [secrets] of the chain need, or that was used.

    No server is asked. It allows to read the rows of [secrets] that the chain asks its Vault store for, and nothing
    else: no listing, no writing. --from-audit takes every request that succeeded in the log of an audit device, in the
    JSON format, without what the policy `default` allows. Lines that are no entry are counted on stderr.

    Example: strongroom vault policy | bao policy write billing -
    """
    if from_audit is not None:
        if store:
            raise click.UsageError("--from-audit is of a whole server: --store goes without it")
        _print_used(from_audit, mount, who, as_json=as_json)
        return
    if who or len(mount) > 1:
        raise click.UsageError("--who, and more than one --mount, go with --from-audit")
    config = invocation.load()
    about = target_options.place(config, store, {"mount": mount[0] if mount else None})
    paths = sorted(_paths(config, about))
    if not paths:
        raise ConfigurationError(f"[secrets] has no row that the chain asks the store {about.store} for")
    version: Literal[1, 2] = 1 if kv == "1" else 2
    rules = document.reading(paths, mount=about.mount, prefix=about.prefix, version=version)
    if as_json:
        _print_document({about.namespace or "": rules})
        return
    within = f", in the namespace {shown(about.namespace)}" if about.namespace else ""
    click.echo(f"# What [secrets] needs of the store {shown(about.store)}{within}.\n")
    click.echo(document.to_hcl(rules), nl=False)


def _paths(config: Config, about: Target) -> set[str]:
    """The paths of [secrets] that the chain may ask the store for; all of them where it is in no chain."""
    asked = [link for link in config.chain if link.store == about.store]
    rows = {secret.path for secret in config.secrets.values()}
    return {path for path in rows if not asked or any(link.covers(path) for link in asked)}


def _print_document(rules: Mapping[str, document.Rules]) -> None:
    """The policies by namespace, as one document."""
    policies = [{"namespace": namespace, **document.to_document(rules[namespace])} for namespace in sorted(rules)]
    click.echo(json.dumps({"version": 1, "policies": policies}, ensure_ascii=False, indent=2))


def _print_used(file: str, mounts: tuple[str, ...], who: str | None, *, as_json: bool) -> None:
    with _opened(file) as stream:
        usage = audit_log.used(audit_log.lines_of(stream), mounts=mounts, who=who)
    for line in _remarks(usage):
        click.echo(f"strongroom: {line}", err=True)
    if as_json:
        _print_document(usage.rules)
    else:
        click.echo("\n".join(_sections(usage)), nl=False)


def _sections(usage: audit_log.Usage) -> Iterator[str]:
    for namespace, rules in sorted(usage.rules.items()):
        within = f" in the namespace {shown(namespace)}" if namespace else ""
        yield f"# What was used{within}.\n\n{document.to_hcl(rules)}"


def _remarks(usage: audit_log.Usage) -> Iterable[str]:
    yield f"lines read: {usage.lines:,}; paths used: {usage.paths:,}"
    if usage.malformed:
        yield f"lines left out, since they are no entry of an audit device in the JSON format: {usage.malformed:,}"
    if usage.odd:
        yield f"requests left out, since no capability is named after what they were for: {usage.odd:,}"
    if len(usage.rules) > 1:
        yield "there is more than one namespace: each has policies of its own, so take each part by itself"


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(file, "rb")  # noqa: PTH123, SIM115  # closed below; an error is told by its words alone
    except OSError as error:
        raise ConfigurationError(f"--from-audit {file}: {error.strerror or 'it cannot be read'}") from None
    with stream:
        yield stream

"""`strongroom vault setup`: from the command line to the steps, and what is said of them."""

from __future__ import annotations

import functools
import getpass
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from strongroom.cli import api
from strongroom.errors import shown
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom_vault.cli import target_options
from strongroom_vault.cli.target_options import Target
from strongroom_vault.session.session import Session
from strongroom_vault.setup import credential, screen, structure
from strongroom_vault.setup.connection import connect
from strongroom_vault.setup.credential_delivery import Delivery, secret_id_delivery, token_delivery
from strongroom_vault.setup.inspection import check_rights, look
from strongroom_vault.setup.runner import REFUSED, apply
from strongroom_vault.setup.setup_options import Given
from strongroom_vault.setup.steps import State, Step, Wanted, plan

_DIFFERENT, _PARTIAL = 10, 8
"""Of the table of exit codes: what was compared differs; done in part."""

_FILE = click.Path(path_type=Path)
_POLICIES = click.Choice((structure.APP_READ, structure.DATABASE_READ, structure.DATABASE_WRITE))


def _duration(_: click.Context, parameter: click.Parameter, value: str) -> int:
    seconds = api.parse_duration(value)
    if seconds is None or seconds != int(seconds):
        raise click.BadParameter(f"{value!r} is not {api.DURATION_FORMAT}", param=parameter)
    return int(seconds)


@click.command("setup")
@click.option("--store", metavar="NAME", help="Set up for this Vault store, not for the first of the chain.")
@click.option("--url", metavar="URL", help="At this address, not the store's.")
@click.option("--mount", metavar="PATH", help="With this mount, not the store's.")
@click.option("--namespace", metavar="NAME", help="In this namespace, not the store's.")
@click.option("--dry-run", is_flag=True, help="Change nothing. The exit code is 10 where something would be changed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--policy-prefix", metavar="TEXT", default="", help="Begin the names of the policies with this.")
@click.option(
    "--grant", multiple=True, type=_POLICIES, help="Give the application this, not app-read and database-read."
)
@click.option("--audit-file", metavar="FILE", help="Have an audit device write to this file of the server's machine.")
@click.option("--env-file", metavar="FILE", type=_FILE, help="Write the address and an application's token there.")
@click.option(
    "--token-ttl",
    metavar="DURATION",
    default="7d",
    callback=_duration,
    show_default=True,
    help="How long the token lives after each renewal.",
)
@click.option("--approle", metavar="NAME", help="Make this AppRole for the application to log in with.")
@click.option("--secret-id-file", metavar="FILE", type=_FILE, help="Write a secret_id of the AppRole to this file.")
@click.option(
    "--wrap-ttl",
    metavar="DURATION",
    default="10m",
    callback=_duration,
    show_default=True,
    help="How long the token lives that the secret_id is wrapped in; 0 is a bare one.",
)
@click.option("--kubernetes-role", metavar="NAME", help="Make this Kubernetes role for the application to log in with.")
@click.option("--service-account", metavar="NS/NAME", help="Who may use the Kubernetes role.")
@click.option("--audience", metavar="NAME", help="Whom the service account's tokens have to be for.")
@click.option("--auth-mount", metavar="PATH", help="Where the role's method is mounted, if not under its own name.")
@click.option("--reveal", is_flag=True, help="Print the new token or secret_id: mind who keeps the output.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as a JSON object.")
@api.current
def setup(invocation: api.Invocation, /, **options: Any) -> None:
    """Set a server up for an application, or see what of it is not there yet.

    There will be a KV version 2 engine; the places of the usual secrets, without a value; the policies app-read,
    database-read and database-write; with --env-file, a token of the application in that file; with --approle or
    --kubernetes-role, a role that it logs in with. No secret is touched, and what is there already stays, but for a
    policy, a role or a token that differs: then it asks.

    The operator's token is in BAO_TOKEN or VAULT_TOKEN, is what the store is configured with, or is asked for. What it
    may not do is said before anything is changed. In production it asks, too; without a terminal it needs --yes then.

    Example: strongroom vault setup --env-file .env
    """
    given = Given(**options)
    role = given.role()
    config = invocation.load()
    places = {"url": given.url, "mount": given.mount, "namespace": given.namespace}
    about = _with_token(target_options.target(config, given.store, places))
    policies = structure.policies(about.mount, about.prefix)
    wanted = Wanted(
        mount=about.mount,
        prefix=about.prefix,
        policies={f"{given.policy_prefix}{name}": texts for name, texts in policies.items()},
        structure=structure.STRUCTURE,
        audit_file=given.audit_file,
        role=role,
    )
    with closing(connect(**about.options)) as session:
        found = look(session, wanted)
        steps = plan(wanted, found)
        delivery = _delivery(given, about, wanted, session)
        handed = () if delivery is None else (delivery.step,)
        check_rights(session, (*steps, *handed), found.denied, origin=about.token)
        pending = [step for step in (*steps, *handed) if step.pending]
        report = screen.Report(about, dry_run=given.dry_run)
        if given.dry_run:
            for step in (*steps, *handed):
                report.would(step)
            report.finish(as_json=given.as_json)
            click.get_current_context().exit(_DIFFERENT if pending else 0)
        report.announce(pending, environment=config.environment, production=config.production)
        _ask([*(["this is production"] if config.production and pending else []), *_replaced(pending)], yes=given.yes)
        for step, done in apply(session, wanted, steps):
            report.did(step, done)
        if role is not None and role.method == "approle":
            report.role_id = credential.role_id(session, role)
        # Last, so that nothing can fail between what is made and its taker.
        if delivery is not None:
            secret, words = delivery.deliver(session) if delivery.step.pending else (None, "")
            report.handed(delivery.step, secret, words)
    report.finish(as_json=given.as_json, role=role, secret_id_file=given.secret_id_file, wrapped=bool(given.wrap_ttl))
    click.get_current_context().exit(_PARTIAL if REFUSED in report.outcomes else 0)


def _with_token(about: Target) -> Target:
    """With the operator's token, which is asked for where nothing has it.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    if about.token:
        return about
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("There is no token to set it up with: set VAULT_TOKEN")
    token = SensitiveStr(getpass.getpass("strongroom: the operator's token: ", stream=sys.stderr))
    return replace(about, options=SensitiveDict({**about.options, "token": token}), token="the prompt")  # noqa: S106  # in words


def _delivery(given: Given, about: Target, wanted: Wanted, session: Session) -> Delivery | None:
    """What the application gets, if it gets something."""
    if given.wants_secret_id and wanted.role is not None:
        return secret_id_delivery(given.secret_id_file, role=wanted.role, wrap_ttl=given.wrapping, session=session)
    if not given.wants_token:
        return None
    return token_delivery(
        given.env_file,
        policies=given.policies,
        period=given.token_ttl,
        environment=screen.environment(about),
        open_session=functools.partial(_session_with, about),
    )


def _session_with(about: Target, token: SensitiveStr) -> Session:
    return connect(**{**about.options, "auth": None, "token": token})


def _replaced(pending: Sequence[Step]) -> list[str]:
    return [f"the {step.what} is there and differs" for step in pending if step.state is State.DIFFERS]


def _ask(why: Sequence[str], *, yes: bool) -> None:
    """Goes on when there is no reason to ask, or when the answer is yes.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if yes or not why:
        return
    words = " and ".join(map(shown, why))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{words[0].upper()}{words[1:]}: without a terminal it needs --yes")
    click.echo(f"strongroom: {words}. Go on? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        click.echo("strongroom: nothing was changed", err=True)
        raise click.Abort

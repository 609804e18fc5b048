"""`strongroom vault setup`: from the command line to the steps and their report."""

from __future__ import annotations

import getpass
import sys
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
from strongroom_vault.setup import credential, report, structure
from strongroom_vault.setup.credential_delivery import Delivery, secret_id_delivery, token_delivery
from strongroom_vault.setup.inspection import check_rights, inspect
from strongroom_vault.setup.runner import REFUSED, apply, connect
from strongroom_vault.setup.setup_options import SetupOptions
from strongroom_vault.setup.steps import Goal, State, plan

_FILE = click.Path(path_type=Path)
_POLICIES = click.Choice((structure.APP_READ, structure.DATABASE_READ, structure.DATABASE_WRITE))


def _duration(_: click.Context, parameter: click.Parameter, value: str) -> int:
    seconds = api.parse_duration(value)
    if seconds is None or seconds != int(seconds):
        raise click.BadParameter(f"{value!r} is not {api.DURATION_FORMAT}", param=parameter)
    return int(seconds)


@click.command("setup")
@click.option("--store", metavar="NAME", help="Vault store to set up. Default: the first of the chain.")
@click.option("--url", metavar="URL", help="Address of the server. Default: the store's.")
@click.option("--mount", metavar="PATH", help="Mount of the key-value engine. Default: the store's.")
@click.option("--namespace", metavar="NAME", help="Namespace. Default: the store's.")
@click.option("--dry-run", is_flag=True, help="Change nothing. The exit code is 10 if anything would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--policy-prefix", metavar="TEXT", default="", help="Prefix for the names of the policies.")
@click.option(
    "--grant",
    multiple=True,
    type=_POLICIES,
    help="Policy of the application; repeatable. Default: app-read and database-read.",
)
@click.option("--audit-file", metavar="FILE", help="Enable an audit device that writes this file on the server.")
@click.option("--env-file", metavar="FILE", type=_FILE, help="Write the address and a token for the application here.")
@click.option(
    "--token-ttl",
    metavar="DURATION",
    default="7d",
    callback=_duration,
    show_default=True,
    help="Lifetime of the token after each renewal.",
)
@click.option("--approle", metavar="NAME", help="Create this AppRole for the application.")
@click.option("--secret-id-file", metavar="FILE", type=_FILE, help="Write a secret_id of the AppRole to this file.")
@click.option(
    "--wrap-ttl",
    metavar="DURATION",
    default="10m",
    callback=_duration,
    show_default=True,
    help="Lifetime of the token that wraps the secret_id; 0 writes it unwrapped.",
)
@click.option("--kubernetes-role", metavar="NAME", help="Create this Kubernetes role for the application.")
@click.option("--service-account", metavar="NS/NAME", help="Service account that may use the Kubernetes role.")
@click.option("--audience", metavar="NAME", help="Audience that the service account's tokens must have.")
@click.option("--auth-mount", metavar="PATH", help="Mount of the auth method. Default: its type.")
@click.option("--reveal", is_flag=True, help="Print the new token or secret_id to stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@api.current
def setup(invocation: api.Invocation, /, **options: Any) -> None:
    """Set up a server for an application, or show what is missing.

    This creates a KV version 2 engine; the paths of the usual secrets, without values; and the policies app-read,
    database-read and database-write. With --env-file it writes a token for the application to that file. With --approle
    or --kubernetes-role it creates a role for the application to log in with. It changes no secret and keeps what
    exists; it asks before it replaces a policy, a role or a token that differs.

    The operator's token comes from BAO_TOKEN or VAULT_TOKEN, from the store's configuration, or from a prompt. Missing
    rights are listed before anything is changed. In production, every change needs confirmation, or --yes without a
    terminal.

    Example: strongroom vault setup --env-file .env
    """
    given = SetupOptions(**options)
    role = given.role()
    config = invocation.load()
    overrides = {"url": given.url, "mount": given.mount, "namespace": given.namespace}
    target = _with_token(target_options.find_target(config, given.store, overrides))
    policies = structure.policies(target.mount, target.prefix)
    goal = Goal(
        mount=target.mount,
        prefix=target.prefix,
        policies={f"{given.policy_prefix}{name}": texts for name, texts in policies.items()},
        structure=structure.STRUCTURE,
        audit_file=given.audit_file,
        role=role,
    )
    context = click.get_current_context()
    with closing(connect(**target.options)) as session:
        found = inspect(session, goal)
        steps = plan(goal, found)
        delivery = _delivery(given, target, goal, session)
        every = steps if delivery is None else (*steps, delivery.step)
        check_rights(session, every, found.denied, origin=target.token_origin)
        pending = [step for step in every if step.pending]
        output = report.Report(target, dry_run=given.dry_run)
        if given.dry_run:
            for step in every:
                output.preview(step)
            output.finish(as_json=given.as_json)
            context.exit(api.ExitCode.DIFFERENT if pending else api.ExitCode.DONE)
        output.announce(pending, environment=config.environment, production=config.production)
        why = ["this is production"] if config.production and pending else []
        why += [shown(f"the {step.name} exists and differs") for step in pending if step.state is State.DIFFERS]
        api.confirm(why, yes=given.yes)
        for step, outcome in apply(session, goal, steps):
            output.performed(step, outcome)
        if role is not None and role.method == "approle":
            output.role_id = credential.role_id(session, role)
        # Last, so that no failure comes between the creation of a credential and its delivery.
        if delivery is not None:
            secret, message = delivery.deliver(session) if delivery.step.pending else (None, "")
            output.delivered(delivery.step, secret, message)
    output.finish(as_json=given.as_json, role=role, secret_id_file=given.secret_id_file, wrapped=bool(given.wrap_ttl))
    context.exit(api.ExitCode.PARTIAL if REFUSED in output.outcomes else api.ExitCode.DONE)


def _with_token(target: Target) -> Target:
    """Return the target with the operator's token, from a prompt if no other source has one.

    Raises:
        click.UsageError: there is no terminal for a prompt.
    """
    if target.token_origin:
        return target
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("No operator's token: set VAULT_TOKEN")
    token = SensitiveStr(getpass.getpass("strongroom: operator's token: ", stream=sys.stderr))
    options = SensitiveDict({**target.options, "token": token})
    return replace(target, options=options, token_origin="the prompt")  # noqa: S106  # its origin


def _delivery(given: SetupOptions, target: Target, goal: Goal, session: Session) -> Delivery | None:
    """Return the delivery of the application's credential, if one was requested."""
    if given.delivers_secret_id and goal.role is not None:
        return secret_id_delivery(given.secret_id_file, role=goal.role, wrap_ttl=given.wrap_duration, session=session)
    if not given.delivers_token:
        return None
    return token_delivery(
        given.env_file,
        policies=given.policies,
        period=given.token_ttl,
        environment=report.environment(target),
        open_session=lambda token: connect(**{**target.options, "auth": None, "token": token}),
    )

"""`strongroom vault`: `setup` with its steps and its output, and least-privilege policies."""

from __future__ import annotations

import getpass
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from strongroom import commands
from strongroom.errors import ConfigurationError, shown
from strongroom.secret import SensitiveDict, SensitiveStr
from strongroom_vault.setup import credential, policies, target_options
from strongroom_vault.setup.credential import ADDRESS, NAMESPACE, TOKEN, Credential
from strongroom_vault.setup.server import SetupServer, SetupStep, StepState, connect
from strongroom_vault.setup.steps import Role, plan
from strongroom_vault.setup.target_options import Target

if TYPE_CHECKING:
    from strongroom.secrets_manager import Config

_FILE = click.Path(path_type=Path)
_POLICIES = click.Choice((policies.APP_READ, policies.DATABASE_READ, policies.DATABASE_WRITE))

_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""A name that can be a segment of an API path."""

_TTL, _MAX_TTL = 3600, 4 * 3600
"""Lifetime of a login's token, and its maximum, in seconds."""

_DRY_RUN = {
    StepState.EXISTS: "exists",
    StepState.MISSING: "would be created",
    StepState.DIFFERS: "would be replaced",
}
_DONE = {StepState.EXISTS: "exists", StepState.MISSING: "created", StepState.DIFFERS: "replaced"}


def _name(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value and not _NAME.fullmatch(value):
        raise click.BadParameter("use letters, digits, '_', '-' and '.'", param=parameter)
    return value


def _role(given: SimpleNamespace, policies: list[str]) -> Role | None:
    """Return the requested role, if any.

    Raises:
        click.UsageError: options contradict each other.
    """
    role = given.approle or given.kubernetes_role
    namespace, _, account = (given.service_account or "").partition("/")
    for wrong, message in (
        (given.approle and given.kubernetes_role, "--approle and --kubernetes-role exclude each other"),
        (bool(given.kubernetes_role) != bool(given.service_account), "--kubernetes-role needs --service-account"),
        (given.service_account and not (namespace and account), "--service-account must be NAMESPACE/NAME"),
        (given.audience and not given.kubernetes_role, "--audience needs --kubernetes-role"),
        (given.secret_id_file and not given.approle, "--secret-id-file needs --approle"),
        (given.auth_mount and not role, "--auth-mount needs --approle or --kubernetes-role"),
        (given.env_file and role, "--env-file is for a token; the settings for a role are printed"),
    ):
        if wrong:
            raise click.UsageError(message)
    fields: dict[str, Any] = {"token_policies": policies, "token_ttl": _TTL, "token_max_ttl": _MAX_TTL}
    if given.approle:
        return Role("approle", given.auth_mount or "approle", given.approle, fields)
    if given.kubernetes_role:
        fields |= {"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace]}
        fields |= {"audience": given.audience} if given.audience else {}
        return Role("kubernetes", given.auth_mount or "kubernetes", given.kubernetes_role, fields)
    return None


@click.command("setup")
@click.option("--store", metavar="NAME", help="Vault store to set up. Default: the first of the chain.")
@click.option("--dry-run", is_flag=True, help="Change nothing. The exit code is 10 if anything would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--policy-prefix", metavar="TEXT", default="", callback=_name, help="Prefix for the names of the policies."
)
@click.option(
    "--grant",
    multiple=True,
    type=_POLICIES,
    help="Policy of the application; repeatable. Default: app-read and database-read.",
)
@click.option("--env-file", metavar="FILE", type=_FILE, help="Write the address and a token for the application here.")
@click.option("--approle", metavar="NAME", callback=_name, help="Create this AppRole for the application.")
@click.option(
    "--secret-id-file", metavar="FILE", type=_FILE, help="Write a wrapped secret_id of the AppRole to this file."
)
@click.option(
    "--kubernetes-role", metavar="NAME", callback=_name, help="Create this Kubernetes role for the application."
)
@click.option("--service-account", metavar="NS/NAME", help="Service account that may use the Kubernetes role.")
@click.option("--audience", metavar="NAME", help="Audience that the service account's tokens must have.")
@click.option("--auth-mount", metavar="NAME", callback=_name, help="Mount of the auth method. Default: its type.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@commands.current
def setup(invocation: commands.Invocation, /, **options: Any) -> None:
    """Set up a server for an application, or show what is missing.

    This creates a KV version 2 engine; the paths of the usual secrets, without values; and the policies app-read,
    database-read and database-write. With --env-file it writes a token for the application to that file. With --approle
    or --kubernetes-role it creates a role for the application to log in with. It changes no secret and keeps what
    exists; it asks before it replaces a policy, a role or a token that differs.

    The operator's token comes from BAO_TOKEN or VAULT_TOKEN, from the store's configuration, or from a prompt. In
    production, every change needs confirmation, or --yes without a terminal.

    Example: strongroom vault setup --env-file .env
    """
    given = SimpleNamespace(**options)
    granted = [f"{given.policy_prefix}{name}" for name in dict.fromkeys(given.grant or policies.DEFAULT_GRANTS)]
    role = _role(given, granted)
    config = invocation.load_to_write("grants rights at a server")
    target = _with_token(target_options.find_target(config, given.store))
    texts_by_name = policies.structure_policies(target.mount, target.prefix)
    with closing(connect(**target.options)) as session:
        server = SetupServer(session, target.token_origin)
        steps = plan(
            server,
            target.mount,
            policies={f"{given.policy_prefix}{name}": texts for name, texts in texts_by_name.items()},
            prefix=target.prefix,
            structure=policies.STRUCTURE,
            role=role,
        )
        wanted: Credential | None = None
        if given.env_file is not None:
            wanted = credential.token(server, given.env_file, granted, _environment(target))
        elif given.secret_id_file is not None and role is not None:
            wanted = credential.secret_id(server, given.secret_id_file, role)
        every = [*steps, wanted.step] if wanted else steps
        pending = [step for step in every if step.pending]
        if given.dry_run:
            for step in every:
                _print(step, _DRY_RUN[step.state])
            if given.as_json:
                _write_document(_document(target, every, _DRY_RUN) | {"pending": len(pending)})
            click.get_current_context().exit(commands.ExitCode.DIFFERENT if pending else commands.ExitCode.DONE)
        _announce(target, pending, "production" if config.production else config.environment)
        why = ["this is production"] if config.production and pending else []
        why += [shown(f"the {step.name} exists and differs") for step in pending if step.state is StepState.DIFFERS]
        commands.confirm(why, yes=given.yes)
        for step in steps:
            server.perform(step)
            hint = f": {step.detail}" if step.detail and step.state is StepState.MISSING else ""
            commands.say(f"{_DONE[step.state]}: {step.name}{hint}")
        role_id = credential.role_id(server, role) if role is not None and role.method == "approle" else None
        # Last, so that no failure comes between the creation of a credential and its delivery.
        if wanted is not None:
            _deliver(wanted, target)
    if given.as_json:
        _write_document(_document(target, every, _DONE) | {"pending": 0, "role_id": role_id})
        return
    for line in _settings(given, target, role, role_id):
        click.echo(line)


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


def _deliver(wanted: Credential, target: Target) -> None:
    """Create a credential that is pending, and write it into its file."""
    if not wanted.step.pending:
        commands.say(f"exists: {wanted.step.name}")
        return
    before = credential.read_text(wanted.file, wanted.option)
    what = "a secret_id"
    note = "; only its owner can read it now" if wanted.write() else ""
    if wanted.option == "--env-file":
        what = ", ".join([*_environment(target), TOKEN])
        if not credential.trust_env_file(wanted.file, before):
            note += f". It has other settings of Vault: review it, then run strongroom trust {wanted.file}"
    commands.say(f"wrote {what} to {wanted.file}{note}")


# --- output: each step on stderr, and the settings for the application on stdout --------------------------------------


def _environment(target: Target) -> dict[str, str]:
    """Return the variables that name the server and the namespace."""
    return {ADDRESS: ",".join(target.addresses), **({NAMESPACE: target.namespace} if target.namespace else {})}


def _announce(target: Target, pending: list[SetupStep], environment: str | None) -> None:
    """Print one line before the first change: the number of changes, and where. Then list the replacements."""
    if not pending:
        commands.say("nothing to do")
        return
    where = [", ".join(target.addresses), f"mount {target.mount}"]
    where += [f"namespace {target.namespace}"] if target.namespace else []
    where += [f"prefix {target.prefix}"] if target.prefix else []
    where += [f"environment {shown(environment)}"] if environment else []
    commands.say(f"{len(pending)} change{'s' if len(pending) > 1 else ''} at {', '.join(where)}")
    for step in pending:
        if step.state is StepState.DIFFERS:
            _print(step, "differs")


def _print(step: SetupStep, outcome: str) -> None:
    commands.say(f"{outcome}: {step.name}{f': {step.detail}' if step.pending and step.detail else ''}")
    for line in step.difference:
        click.echo(f"  {shown(line)}", err=True)


def _write_document(fields: Mapping[str, Any]) -> None:
    commands.write_document(fields, version=2)  # version 1 had a `state` of each step too, and the store's options


def _document(target: Target, steps: list[SetupStep], outcomes: Mapping[StepState, str]) -> dict[str, Any]:
    described = [
        {
            "what": step.name,
            "outcome": outcomes[step.state],
            "detail": step.detail if step.pending else "",
            "difference": list(step.difference),
        }
        for step in steps
    ]
    return {"steps": described, "environment": _environment(target)}


def _settings(given: SimpleNamespace, target: Target, role: Role | None, role_id: str | None) -> Iterator[str]:
    """Yield the lines for `.env` and strongroom.toml. No credential is among them."""
    if given.env_file is not None:
        return
    yield from (f"{name}={value}" for name, value in _environment(target).items())
    if role is None:
        commands.say("add this to .env. With --env-file .env, setup does that and adds a token for the application")
        return
    options = {"method": role.method} | ({} if role.mount == role.method else {"mount": role.mount})
    if role.method == "kubernetes":
        options["role"] = role.name
    else:
        file = "…" if given.secret_id_file is None else str(given.secret_id_file.absolute())
        options |= {"role_id": role_id or "", "role": role.name, "wrapping_token_file": file}
    yield ""
    yield f"# strongroom.toml, [stores.{target.store}]"
    yield f"auth = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in options.items())} }}"
    if role.method == "approle" and given.secret_id_file is None:
        commands.say("no secret_id was created. --secret-id-file FILE writes a wrapped one for the application")


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
        document = {"namespace": target.namespace, **policies.to_document(rules)}
        click.echo(json.dumps({"version": 1, "policies": [document]}, ensure_ascii=False, indent=2))
        return
    namespace = f", namespace {shown(target.namespace)}" if target.namespace else ""
    click.echo(f"# Read access for [secrets] in the store {shown(target.store)}{namespace}.\n")
    click.echo(policies.to_hcl(rules), nl=False)


def _paths(config: Config, store: str) -> set[str]:
    """Return the paths in [secrets] that the chain may read from the store; all of them if no link uses it."""
    links = [link for link in config.chain if link.store == store]
    paths = {secret.path for secret in config.secrets.values()}
    return {path for path in paths if not links or any(link.covers(path) for link in links)}

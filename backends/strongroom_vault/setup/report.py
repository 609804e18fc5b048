"""The output of `strongroom vault setup`: each step on stderr, and the settings for the application on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from strongroom.cli import api
from strongroom.errors import shown
from strongroom.secret import SensitiveStr
from strongroom_vault.cli.target_options import Target
from strongroom_vault.setup.env_file import ADDRESS, NAMESPACE, TOKEN
from strongroom_vault.setup.runner import REFUSED
from strongroom_vault.setup.steps import Role, State, Step

_DRY_RUN = {State.MISSING: "would be created", State.DIFFERS: "would be replaced"}


def environment(target: Target) -> dict[str, str]:
    """Return the variables that name the server and the namespace."""
    return {ADDRESS: ",".join(target.addresses), **({NAMESPACE: target.namespace} if target.namespace else {})}


class Report:
    """Prints the steps, and collects them for the end.

    Attributes:
        role_id: of the AppRole, if there is one.
    """

    def __init__(self, target: Target, *, dry_run: bool) -> None:
        self._target = target
        self._dry_run = dry_run
        self._steps: list[tuple[Step, str]] = []
        self._secret: SensitiveStr | None = None
        self._written = False
        self.role_id: str | None = None

    @property
    def outcomes(self) -> list[str]:
        """The outcome of each step so far."""
        return [outcome for _, outcome in self._steps]

    def announce(self, pending: Sequence[Step], *, environment: str | None, production: bool) -> None:
        """Print one line before the first change: the number of changes, and where. Then list the replacements."""
        if not pending:
            api.say("nothing to do")
            return
        target = self._target
        where = [", ".join(target.addresses), f"mount {target.mount}"]
        where += [f"namespace {target.namespace}"] if target.namespace else []
        where += [f"prefix {target.prefix}"] if target.prefix else []
        where += [f"environment {shown(environment)}"] if environment else []
        where += ["production"] if production else []
        api.say(f"{len(pending)} change{'s' if len(pending) > 1 else ''} at {', '.join(where)}")
        for step in pending:
            if step.state is State.DIFFERS:
                _print(step, step.state.value)

    def preview(self, step: Step) -> None:
        """Print the outcome that the step would have."""
        outcome = _DRY_RUN.get(step.state, step.state.value)
        self._steps.append((step, outcome))
        _print(step, outcome)

    def performed(self, step: Step, outcome: str) -> None:
        """Print the outcome of the step."""
        self._steps.append((step, outcome))
        if outcome == REFUSED:
            api.say(
                f"refused: {step.name} (HTTP 400). The server cannot write there, or takes audit devices from its "
                'configuration only, as OpenBao does: audit "file" "main" { options = { … } }'
            )
        else:
            api.say(f"{outcome}: {step.name}{f': {step.detail}' if step.state is State.SKIPPED else ''}")

    def delivered(self, step: Step, secret: SensitiveStr | None, message: str) -> None:
        """Print the outcome of the delivery of a credential."""
        self._steps.append((step, "created" if step.pending else step.state.value))
        self._secret = secret
        self._written = not step.pending or secret is None
        api.say(message or f"{step.state.value}: {step.name}")

    def finish(
        self, *, as_json: bool, role: Role | None = None, secret_id_file: Path | None = None, wrapped: bool = True
    ) -> None:
        """Print the settings for the application to stdout, or everything as one JSON object."""
        if as_json:
            api.write_document(self._document(role))
        elif not self._dry_run:
            for line in self._lines(role, secret_id_file, wrapped=wrapped):
                click.echo(line)

    def _lines(self, role: Role | None, secret_id_file: Path | None, *, wrapped: bool) -> Iterator[str]:
        written = role is None and self._written
        for name, value in {} if written else environment(self._target).items():
            yield f"{name}={value}"
        if role is None and self._secret is not None:
            yield f"{TOKEN}={_plain(self._secret)}"
        elif role is None and not written:
            api.say("add this to .env. With --env-file .env, setup does that and adds a token for the application")
        if role is not None or self._target.moved:
            yield from [] if written else [""]
            yield f"# strongroom.toml, [stores.{self._target.store}]"
        if self._target.moved:
            yield f"mount = {json.dumps(self._target.mount)}"
        if role is not None:
            yield from self._auth_table(role, secret_id_file, wrapped=wrapped)

    def _auth_table(self, role: Role, secret_id_file: Path | None, *, wrapped: bool) -> Iterator[str]:
        options = {"method": role.method}
        options |= {} if role.mount == role.method else {"mount": role.mount}
        if role.method == "kubernetes":
            options["role"] = role.name
        else:
            options |= {"role_id": self.role_id or ""}
            options |= {"role": role.name} if wrapped else {}
            file = "…" if secret_id_file is None else str(secret_id_file.absolute())
            options["wrapping_token_file" if wrapped else "secret_id_file"] = file
        yield f"auth = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in options.items())} }}"
        if role.method == "approle" and secret_id_file is None and self._secret is None:
            api.say("no secret_id was created. --secret-id-file FILE writes a wrapped one for the application")
        if self._secret is not None:
            yield ""
            yield f"{'wrapping_token' if wrapped else 'secret_id'} = {_plain(self._secret)}"

    def _document(self, role: Role | None) -> dict[str, Any]:
        target = self._target
        document: dict[str, Any] = {
            "dry_run": self._dry_run,
            "store": target.store,
            "mount": target.mount,
            "prefix": target.prefix,
            "pending": sum(step.pending for step, _ in self._steps) if self._dry_run else 0,
            "steps": [
                {
                    "what": step.name,
                    "state": step.state.value,
                    "outcome": outcome,
                    "detail": step.detail,
                    "difference": list(step.difference),
                }
                for step, outcome in self._steps
            ],
            "environment": environment(target),
            "role_id": self.role_id,
        }
        if self._secret is not None:
            document["token" if role is None else "secret_id"] = _plain(self._secret)
        return document


def _print(step: Step, outcome: str) -> None:
    api.say(f"{outcome}: {step.name}{f': {step.detail}' if step.detail else ''}")
    for line in step.difference:
        click.echo(f"  {shown(line)}", err=True)


def _plain(secret: SensitiveStr) -> str:
    """Return the secret for stdout: --reveal requested it."""
    return str(secret)

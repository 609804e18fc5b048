"""What `strongroom vault setup` says: each step on stderr, and at the end what to configure on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from strongroom.errors import shown
from strongroom.secret import SensitiveStr
from strongroom_vault.cli.target_options import Target
from strongroom_vault.setup.env_file import ADDRESS, NAMESPACE, TOKEN
from strongroom_vault.setup.steps import Role, State, Step

_DOCUMENT_VERSION = 1
_WOULD = {State.MISSING: "would be created", State.DIFFERS: "would be replaced"}


def environment(about: Target) -> dict[str, str]:
    """The variables that say where the server is."""
    return {ADDRESS: ",".join(about.addresses), **({NAMESPACE: about.namespace} if about.namespace else {})}


class Report:
    """Tells of the steps, and remembers them for the end.

    Args:
        about: what is set up.
        dry_run: nothing is done.

    Attributes:
        role_id: of the AppRole, where there is one.
    """

    def __init__(self, about: Target, *, dry_run: bool) -> None:
        self._about = about
        self._dry_run = dry_run
        self._steps: list[tuple[Step, str]] = []
        self._secret: SensitiveStr | None = None
        self._written = False
        self.role_id: str | None = None

    @property
    def outcomes(self) -> list[str]:
        """What became of each step, in a word or two."""
        return [outcome for _, outcome in self._steps]

    def announce(self, pending: Sequence[Step], *, environment: str | None, production: bool) -> None:
        """One line before anything is changed: where, and how much."""
        if not pending:
            _say("there is nothing to do")
            return
        about = self._about
        where = [", ".join(about.addresses), f"mount {about.mount}"]
        where += [f"namespace {about.namespace}"] if about.namespace else []
        where += [f"prefix {about.prefix}"] if about.prefix else []
        named = f", environment {shown(environment)}" if environment else ""
        kind = ", production" if production else ""
        _say(f"setting up {len(pending)} of what is wanted at {', '.join(where)}{named}{kind}")
        for step in pending:
            if step.state is State.DIFFERS:
                self._tell(step, step.state.value)

    def would(self, step: Step) -> None:
        """What would become of the step."""
        outcome = _WOULD.get(step.state, step.state.value)
        self._steps.append((step, outcome))
        self._tell(step, outcome)

    def did(self, step: Step, outcome: str) -> None:
        """What became of the step."""
        self._steps.append((step, outcome))
        if outcome == "refused":
            _say(
                f"refused: {step.what} (HTTP 400): the server may not be able to write there, or takes no audit device "
                'through its API, as OpenBao, whose configuration has them: audit "file" "main" { options = { … } }'
            )
        else:
            _say(f"{outcome}: {step.what}{f': {step.detail}' if step.state is State.LEFT else ''}")

    def handed(self, step: Step, secret: SensitiveStr | None, words: str) -> None:
        """What became of the application's token or secret_id."""
        self._steps.append((step, "created" if step.pending else step.state.value))
        self._secret = secret
        self._written = not step.pending or secret is None
        _say(words or f"{step.state.value}: {step.what}")

    def finish(
        self, *, as_json: bool, role: Role | None = None, secret_id_file: Path | None = None, wrapped: bool = True
    ) -> None:
        """What is to be configured, on stdout, or everything as one JSON object there."""
        if as_json:
            click.echo(json.dumps(self._document(role), ensure_ascii=False, indent=2))
        elif not self._dry_run:
            for line in self._lines(role, secret_id_file, wrapped=wrapped):
                click.echo(line)

    def _tell(self, step: Step, outcome: str) -> None:
        _say(f"{outcome}: {step.what}{f': {step.detail}' if step.detail else ''}")
        for line in step.lines:
            click.echo(f"  {shown(line)}", err=True)

    def _lines(self, role: Role | None, secret_id_file: Path | None, *, wrapped: bool) -> Iterator[str]:
        written = role is None and self._written
        for name, value in {} if written else environment(self._about).items():
            yield f"{name}={value}"
        if role is None and self._secret is not None:
            yield f"{TOKEN}={_open(self._secret)}"
        elif role is None and not written:
            _say("put this into .env; --env-file .env does that, with a token for the application")
        if role is not None or self._about.moved:
            yield from [] if written else [""]
            yield f"# strongroom.toml, [stores.{self._about.store}]"
        if self._about.moved:
            yield f"mount = {json.dumps(self._about.mount)}"
        if role is not None:
            yield from self._table(role, secret_id_file, wrapped=wrapped)

    def _table(self, role: Role, secret_id_file: Path | None, *, wrapped: bool) -> Iterator[str]:
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
            _say("no secret_id was made: --secret-id-file FILE writes one, wrapped, for the application to open")
        if self._secret is not None:
            yield ""
            yield f"{'wrapping_token' if wrapped else 'secret_id'} = {_open(self._secret)}"

    def _document(self, role: Role | None) -> dict[str, Any]:
        about = self._about
        document: dict[str, Any] = {
            "version": _DOCUMENT_VERSION,
            "dry_run": self._dry_run,
            "store": about.store,
            "mount": about.mount,
            "prefix": about.prefix,
            "pending": sum(step.pending for step, _ in self._steps) if self._dry_run else 0,
            "steps": [
                {
                    "what": step.what,
                    "state": step.state.value,
                    "outcome": outcome,
                    "detail": step.detail,
                    "difference": list(step.lines),
                }
                for step, outcome in self._steps
            ],
            "environment": environment(about),
            "role_id": self.role_id,
        }
        if self._secret is not None:
            document["token" if role is None else "secret_id"] = _open(self._secret)
        return document


def _say(message: str) -> None:
    click.echo(f"strongroom: {' '.join(message.splitlines())}", err=True)


def _open(secret: SensitiveStr) -> str:
    """As it is: it is printed, since that was asked for."""
    return str(secret)

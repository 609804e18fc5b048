"""Delivering a credential to the application: into a file, or to stdout if that was requested."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strongroom.bounded_file import load_text
from strongroom.cli import api
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.secret import SensitiveStr
from strongroom_vault.session.session import Session
from strongroom_vault.setup import credential, env_file
from strongroom_vault.setup.env_file import ADDRESS, TOKEN
from strongroom_vault.setup.steps import Role, State, Step

_MAX_SIZE = 1 << 20

OpenSession = Callable[[SensitiveStr], Session]
"""Opens a session with another token for the same store."""


@dataclass(frozen=True)
class Delivery:
    """A credential and its destination.

    Attributes:
        step: the state of the credential, and the rights that its creation needs.
        deliver: creates and delivers the credential; returns what to print on stdout, if anything, and a message.
    """

    step: Step
    deliver: Callable[[Session], tuple[SensitiveStr | None, str]]


def token_delivery(
    file: Path | None,
    *,
    policies: Sequence[str],
    period: int,
    environment: Mapping[str, str],
    open_session: OpenSession,
) -> Delivery:
    """Return the delivery of a token. The server is asked about the file's token if the file has the same address.

    Args:
        file: the `.env` file; None for stdout.
        policies: that the token shall have.
        period: seconds that it lives after each renewal.
        environment: the variables that belong to it: the address, and the namespace if there is one.
        open_session: for the file's token.

    Raises:
        ConfigurationError: the file cannot be read, or its folder cannot be written to.
        StoreError: the server did not answer.
    """
    rights = {credential.ORPHAN: {"update", "sudo"}}
    name = f"token in {file}" if file else "token"
    step = Step(name, State.MISSING, f"with the policies {', '.join(policies)}", rights=rights)
    values = env_file.values(_text(file, "--env-file"), str(file)) if file else {}
    if token := values.get(TOKEN):
        if values.get(ADDRESS) != environment[ADDRESS]:
            step = Step(name, State.DIFFERS, "the file has a token for another address", rights=rights)
        else:
            with closing(open_session(token)) as session:
                status = credential.token_status(session)
            if status.has_exactly(policies):
                step = Step(name, State.EXISTS)
            elif status.valid:
                policy_names = ", ".join(sorted(status.policies)) or "unknown policies"
                step = Step(name, State.DIFFERS, f"the file has a valid token with {policy_names}", rights=rights)
    if file and step.pending:
        _check_folder(file, "--env-file")
    return Delivery(step, partial(_deliver_token, file, policies, period, environment))


def _deliver_token(
    file: Path | None, policies: Sequence[str], period: int, environment: Mapping[str, str], session: Session
) -> tuple[SensitiveStr | None, str]:
    """Create the token once the file can be written, and write it; revoke it if writing fails."""
    if file is None:
        return credential.issue_token(session, policies, period), "created a token"
    with _replacement(file, "--env-file") as commit:
        text = _text(file, "--env-file")
        env_file.values(text, str(file))
        token = credential.issue_token(session, policies, period)
        failure: StrongroomError | None = None
        try:
            narrowed = commit(env_file.with_values(text, {**environment, TOKEN: token}, str(file)))
        except StrongroomError as error:
            failure, narrowed = error, False
        if failure is not None:
            with suppress(StrongroomError):  # the failed write is the error to report
                credential.revoke_token(session, token)
            raise failure.copy()
    note = "; only its owner can read it now" if narrowed else ""
    # The other settings of a file that nobody has reviewed could send the new token elsewhere.
    if api.is_file_trusted(file, text.encode(), os.environ) or env_file.sets_only_these(text, str(file)):
        with suppress(ConfigurationError):  # without a state folder the user runs `strongroom trust`
            api.trust_file(file)
    else:
        note += f". It has other settings of Vault: review it, then run strongroom trust {file}"
    return None, f"wrote {', '.join([*environment, TOKEN])} to {file}{note}"


def secret_id_delivery(file: Path | None, *, role: Role, wrap_ttl: str | None, session: Session) -> Delivery:
    """Return the delivery of a secret_id. The server is asked whether the file's secret_id can still be used.

    Raises:
        ConfigurationError: the file cannot be read, or its folder cannot be written to.
        StoreError: the server did not answer.
    """
    issued = SensitiveStr(_text(file, "--secret-id-file").strip()) if file else SensitiveStr()
    exists = bool(issued) and credential.is_usable(session, role, issued)
    name = f"secret_id in {file}" if file else "secret_id"
    rights = {f"{role.path}/secret-id": {"update"}}
    step = Step(name, State.EXISTS) if exists else Step(name, State.MISSING, rights=rights)
    if file and step.pending:
        _check_folder(file, "--secret-id-file")
    return Delivery(step, partial(_deliver_secret_id, file, role, wrap_ttl))


def _deliver_secret_id(
    file: Path | None, role: Role, wrap_ttl: str | None, session: Session
) -> tuple[SensitiveStr | None, str]:
    """Create the secret_id once the file can be written, and write it; destroy it if writing fails."""
    kind = "a wrapped secret_id" if wrap_ttl else "a secret_id"
    if file is None:
        return credential.issue_secret_id(session, role, wrap_ttl), f"created {kind}"
    with _replacement(file, "--secret-id-file") as commit:
        issued = credential.issue_secret_id(session, role, wrap_ttl)
        failure: StrongroomError | None = None
        try:
            commit(SensitiveStr(f"{issued}\n"))
        except StrongroomError as error:
            failure = error
        if failure is not None:
            with suppress(StrongroomError):  # the failed write is the error to report
                credential.destroy_secret_id(session, role, issued, wrapped=wrap_ttl is not None)
            raise failure.copy()
    return None, f"wrote {kind} to {file}"


def _text(file: Path, option: str) -> SensitiveStr:
    """Return the text of the file, empty if it does not exist."""
    text, fault, missing = load_text(file, _MAX_SIZE)
    if fault and not missing:
        raise ConfigurationError(f"{option} {file}: {fault}")
    return text


@contextmanager
def _replacement(file: Path, option: str) -> Iterator[Callable[[str], bool]]:
    """Prepare to replace a private file; yield the function that does, and returns True if others had access before.

    Raises:
        ConfigurationError: it cannot be replaced: when the block is entered if possible, otherwise by the function.
    """

    def commit(text: str) -> bool:
        try:
            replacement.commit(text.encode())
        except OSError as error:
            fault = error.strerror or "it cannot be written"
        else:
            return replacement.widened
        raise ConfigurationError(f"{option} {file}: {fault}")

    fault = ""
    with ExitStack() as stack:
        try:
            replacement = stack.enter_context(api.prepare_private_file(file))
        except OSError as error:
            fault = error.strerror or "it cannot be written"
        if fault:
            raise ConfigurationError(f"{option} {file}: {fault}")
        yield commit


def _check_folder(file: Path, option: str) -> None:
    """Check that a file can be created beside this one.

    Raises:
        ConfigurationError: its folder does not exist, or cannot be written to.
    """
    folder = Path(os.path.realpath(file)).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        fault = "cannot be written to" if folder.is_dir() else "does not exist"
        raise ConfigurationError(f"{option} {file}: its folder {fault}")

"""How an application gets what it proves itself with: into a file, or onto stdout where that was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from strongroom.bounded_file import load_text
from strongroom.cli import api
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.session.session import Session
from strongroom_vault.setup import credential, env_file
from strongroom_vault.setup.env_file import ADDRESS, TOKEN
from strongroom_vault.setup.steps import Role, State, Step, target

_MOST = 1 << 20

OpenSession = Callable[[SensitiveStr], Session]
"""Opens a session with another token, at the same place."""


class Delivery(Protocol):
    """One way to hand it over."""

    @property
    def step(self) -> Step:
        """How it is, and what it takes."""
        ...

    def deliver(self, session: Session) -> tuple[SensitiveStr | None, str]:
        """Makes it and hands it over. What is to be printed, if it is, and what was done in words."""
        ...


@dataclass(frozen=True)
class TokenDelivery:
    """A token with these policies, in a `.env` file beside the address, or printed.

    Attributes:
        policies: of the token.
        period: for how many seconds it lives after each renewal.
        environment: the variables that go with it: the address, and the namespace where there is one.
        file: the `.env` file; None prints it.
        step: how it is.
    """

    policies: Sequence[str]
    period: int
    environment: Mapping[str, str]
    file: Path | None
    step: Step

    def deliver(self, session: Session) -> tuple[SensitiveStr | None, str]:
        """Makes the token when the file can be written, and writes it; one that could not be written is revoked."""
        if self.file is None:
            return credential.issue_token(session, self.policies, self.period), "made a token"
        with _replacement(self.file, "--env-file") as commit:
            text = _text(self.file)
            env_file.values(text, str(self.file))
            token = credential.issue_token(session, self.policies, self.period)
            failure: StrongroomError | None = None
            try:
                narrowed = commit(env_file.with_values(text, {**self.environment, TOKEN: token}, str(self.file)))
            except StrongroomError as error:
                failure, narrowed = error, False
            if failure is not None:
                # Nobody has it: it would live on for nothing.
                with suppress(StrongroomError):  # what is told is why the file could not be written
                    session.request(ApiRequest("POST", target("auth/token/revoke"), {"token": token}))
                raise failure.copy()
        with suppress(ConfigurationError):  # without a state folder the user runs `strongroom trust`
            api.trust_file(self.file)
        others = ", and now only its owner can read it" if narrowed else ""
        return None, f"wrote {', '.join([*self.environment, TOKEN])} to {self.file}{others}"


def token_delivery(
    file: Path | None,
    *,
    policies: Sequence[str],
    period: int,
    environment: Mapping[str, str],
    open_session: OpenSession,
) -> TokenDelivery:
    """How the token in the file is, which the server is asked about if it is the one that the file says it is for.

    Args:
        file: the `.env` file; None is a token that is printed, of which nobody knows an earlier one.
        policies: what it has to have.
        period: as `TokenDelivery` has it.
        environment: as `TokenDelivery` has it.
        open_session: for the token that the file has.

    Raises:
        ConfigurationError: the file cannot be read, or has to be written where there is no folder.
        StoreError: there was no answer.
    """
    rights = {credential.ORPHAN: frozenset({"update", "sudo"})}
    what = f"token in {file}" if file else "token"
    step = Step(what, State.MISSING, f"with the policies {', '.join(policies)}", rights=rights)
    values = env_file.values(_text(file), str(file)) if file else {}
    if token := values.get(TOKEN):
        if values.get(ADDRESS) != environment[ADDRESS]:
            detail = "the file has one beside another address"
            step = Step(what, State.DIFFERS, detail, rights=rights)
        else:
            with closing(open_session(token)) as session:
                kept = credential.inspect(session)
            if kept.serves(policies):
                step = Step(what, State.THERE)
            elif kept.good:
                has = ", ".join(sorted(kept.policies)) or "policies that it may not tell"
                step = Step(what, State.DIFFERS, f"the file has one that is good, with {has}", rights=rights)
    if file and step.pending:
        _check_folder(file, "--env-file")
    return TokenDelivery(policies, period, environment, file, step)


@dataclass(frozen=True)
class SecretIdDelivery:
    """A secret_id of a role, wrapped or not, in a file of its own, or printed.

    Attributes:
        role: whose it is.
        wrap_ttl: for how long the token that it is wrapped in lives, as Vault writes it; None leaves it bare.
        file: where it goes; None prints it.
        step: how it is.
    """

    role: Role
    wrap_ttl: str | None
    file: Path | None
    step: Step

    def deliver(self, session: Session) -> tuple[SensitiveStr | None, str]:
        """Makes the secret_id when the file can be written, and writes it; one that could not be is destroyed."""
        kind = "a wrapped secret_id" if self.wrap_ttl else "a secret_id"
        if self.file is None:
            return credential.issue_secret_id(session, self.role, self.wrap_ttl), f"made {kind}"
        with _replacement(self.file, "--secret-id-file") as commit:
            made = credential.issue_secret_id(session, self.role, self.wrap_ttl)
            failure: StrongroomError | None = None
            try:
                commit(SensitiveStr(f"{made}\n"))
            except StrongroomError as error:
                failure = error
            if failure is not None:
                with suppress(StrongroomError):  # what is told is why the file could not be written
                    credential.destroy_secret_id(session, self.role, made, wrapped=self.wrap_ttl is not None)
                raise failure.copy()
        return None, f"wrote {kind} to {self.file}"


def secret_id_delivery(file: Path | None, *, role: Role, wrap_ttl: str | None, session: Session) -> SecretIdDelivery:
    """How the secret_id in the file is.

    Raises:
        ConfigurationError: the file cannot be read, or has to be written where there is no folder.
        StoreError: there was no answer.
    """
    delivered = SensitiveStr(_text(file).strip()) if file else SensitiveStr()
    there = bool(delivered) and credential.is_usable(session, role, delivered)
    rights = {f"{role.path}/secret-id": frozenset({"update"})}
    what = f"secret_id in {file}" if file else "secret_id"
    step = Step(what, State.THERE) if there else Step(what, State.MISSING, rights=rights)
    if file and step.pending:
        _check_folder(file, "--secret-id-file")
    return SecretIdDelivery(role, wrap_ttl, file, step)


def _text(file: Path) -> SensitiveStr:
    """The text of the file, empty where there is none."""
    text, fault, missing = load_text(file, _MOST)
    if fault and not missing:
        raise ConfigurationError(f"{file}: {fault}")
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

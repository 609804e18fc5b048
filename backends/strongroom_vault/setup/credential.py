"""The credential of an application, a token or the secret_id of an AppRole, and its delivery into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from strongroom import commands
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.files import private
from strongroom.files.bounded import load_text
from strongroom.formats.dotenv import parse_dotenv, set_values
from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.session.token_check import mount_request
from strongroom_vault.setup.server import SetupServer, SetupStep, StepState, target
from strongroom_vault.setup.steps import Role

ADDRESS, TOKEN, NAMESPACE = "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"

_OUTRANK = {"BAO_ADDR": ADDRESS, "BAO_TOKEN": TOKEN, "BAO_NAMESPACE": NAMESPACE}
_MAX_SIZE = 1 << 20
_DEFAULT_POLICY = "default"
_PERIOD = "168h"
"""Lifetime of the application's token after each renewal: a week."""
_WRAP_TTL = "10m"
"""Lifetime of the token that wraps a secret_id."""


@dataclass(frozen=True)
class Credential:
    """A credential that is created for the application.

    Attributes:
        step: its present state.
        file: the file for it.
        option: the option that names the file, for messages.
        create: creates it.
        content: returns the new text of the file, from its present text and the credential.
    """

    step: SetupStep
    file: Path
    option: str
    create: Callable[[], SensitiveStr]
    content: Callable[[SensitiveStr, SensitiveStr], SensitiveStr]

    def write(self) -> bool:
        """Create the credential and write it into its file; return True if other users had access to the file.

        Raises:
            StoreError: the server refused to create it.
            ConfigurationError: the file cannot be written.
        """
        failure: StrongroomError
        try:
            # The temporary file exists before the credential does, so that few failures come between them.
            with private.prepare(self.file) as replacement:
                text = read_text(self.file, self.option)
                replacement.commit(self.content(text, self.create()).encode())
                return replacement.widened
        except OSError as error:
            failure = ConfigurationError(f"{self.option} {self.file}: {error.strerror or 'it cannot be written'}")
        except StrongroomError as error:
            failure = error.copy()  # without frames that held the credential
        raise failure


def token(server: SetupServer, file: Path, policies: Sequence[str], environment: Mapping[str, str]) -> Credential:
    """Return the token of an application, which `.env` may hold already.

    Args:
        server: the server.
        file: the `.env` file.
        policies: that the token shall have.
        environment: the variables that belong to it: the address, and the namespace if there is one.

    Raises:
        ConfigurationError: the file cannot be read, or its folder does not exist.
        StoreError: the server did not answer.
    """
    state, detail = StepState.MISSING, f"with the policies {', '.join(policies)}"
    values = _values(read_text(file, "--env-file"), file)
    if found := values.get(TOKEN):
        if values.get(ADDRESS) != environment[ADDRESS]:
            state, detail = StepState.DIFFERS, "the file has a token for another address"
        elif (present := _policies(server.session, found)) is not None:
            state = StepState.EXISTS if present - {_DEFAULT_POLICY} == set(policies) else StepState.DIFFERS
            detail = f"the file has a valid token with {', '.join(sorted(present)) or 'unknown policies'}"
    return Credential(
        SetupStep(f"token in {file}", state, detail),
        file,
        "--env-file",
        create=lambda: _new_token(server, policies),
        content=lambda text, token: set_values(text, {**environment, TOKEN: token}),
    )


def secret_id(server: SetupServer, file: Path, role: Role) -> Credential:
    """Return a wrapped secret_id of the role. The server is asked whether that in the file can still be unwrapped.

    Raises:
        ConfigurationError: the file cannot be read, or its folder does not exist.
        StoreError: the server did not answer.
    """
    issued = SensitiveStr(read_text(file, "--secret-id-file").strip())
    state = StepState.EXISTS if issued and _is_wrapped(server.session, role, issued) else StepState.MISSING
    request = requests().approle.generate_secret_id(role.name, mount_point=role.mount, wrap_ttl=_WRAP_TTL)
    return Credential(
        SetupStep(f"secret_id in {file}", state),
        file,
        "--secret-id-file",
        create=lambda: _field(server, server.send(request), f"{role.path}/secret-id", "wrap_info", "token"),
        content=lambda _, issued: SensitiveStr(f"{issued}\n"),
    )


def role_id(server: SetupServer, role: Role) -> str:
    """Return the role_id of an AppRole. It is an identifier, not a secret."""
    reply = server.send(requests().approle.read_role_id(role.name, mount_point=role.mount))
    return str(_field(server, reply, f"{role.path}/role-id", "data", "role_id"))


def read_text(file: Path, option: str) -> SensitiveStr:
    """Return the text of the file, empty if it does not exist.

    Raises:
        ConfigurationError: it cannot be read, or its folder does not exist.
    """
    text, fault, missing = load_text(file, _MAX_SIZE)
    if missing:
        fault = "" if Path(os.path.realpath(file)).parent.is_dir() else "its folder does not exist"
    if fault:
        raise ConfigurationError(f"{option} {file}: {fault}")
    return text


def trust_env_file(file: Path, before: str) -> bool:
    """Trust the file that was written, if its earlier text was trusted or had no other settings of a Vault store.

    A proxy or an authority in a file that nobody has reviewed could send the new token elsewhere.
    """
    names = parse_dotenv(before, f"--env-file {file}").values
    others = [name for name in names if name.startswith(("VAULT_", "BAO_")) and name not in _OUTRANK.values()]
    if others and not commands.is_file_trusted(file, before.encode(), os.environ):
        return False
    with suppress(ConfigurationError):  # without a state folder the user runs `strongroom trust`
        commands.trust_file(file)
    return True


def _new_token(server: SetupServer, policies: Sequence[str]) -> SensitiveStr:
    """Create a periodic orphan token: it outlives the operator's token, and lives as long as it is renewed."""
    reply = server.send(
        requests().token.create_orphan(policies=list(policies), period=_PERIOD, display_name="strongroom")
    )
    return _field(server, reply, "auth/token/create-orphan", "auth", "client_token")


def _values(text: str, file: Path) -> dict[str, SensitiveStr]:
    """Return the address, token and namespace that the text sets.

    Raises:
        ConfigurationError: a line is not NAME=value, or sets a variable that outranks one of them.
    """
    entries = parse_dotenv(text, f"--env-file {file}")
    for name, outranked in _OUTRANK.items():
        if entries.get(name):
            raise ConfigurationError(f"--env-file {file}: {name} outranks {outranked}. Remove it and try again")
    return {name: entries.get(name) for name in _OUTRANK.values() if name in entries.values}


def _policies(session: Session, found: SensitiveStr) -> set[str] | None:
    """Return the policies of a token, an empty set if it may not look itself up; None if it is not valid any more."""
    reply = session.send(requests().token.lookup_self(), token=found)
    if reply.status not in {200, 403}:
        raise session.failure(reply, None)
    if reply.status == 403 and session.send(mount_request(session.mount), token=found).status != 200:
        return None
    policies = (member(document(reply), "data") or {}).get("policies")
    return set(map(str, policies if isinstance(policies, list) else ()))


def _is_wrapped(session: Session, role: Role, issued: SensitiveStr) -> bool:
    """Return True if this is an unopened wrapping token of a secret_id of the role."""
    # hvac has no method for the lookup of a wrapping token.
    reply = session.request(ApiRequest("POST", target("sys/wrapping/lookup"), {"token": issued}))
    origin = (member(document(reply), "data") or {}).get("creation_path") if reply.status == 200 else None
    return origin == f"{role.path}/secret-id"


def _field(server: SetupServer, reply: Reply, path: str, parent: str, name: str) -> SensitiveStr:
    if reply.status != 200:
        raise server.failure(reply, path, changes=True)
    value = (member(document(reply), parent) or {}).get(name)
    if not isinstance(value, str) or not value:
        raise malformed(None, server.session.location)
    return SensitiveStr(value)

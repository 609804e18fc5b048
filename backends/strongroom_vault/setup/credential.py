"""The credential of an application, a token or the secret_id of an AppRole, and its delivery into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from strongroom import commands
from strongroom.bounded_file import load_text
from strongroom.errors import ConfigurationError, StoreError, StrongroomError
from strongroom.secret import SensitiveStr
from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.http.messages import Reply
from strongroom_vault.responses import document, malformed, member
from strongroom_vault.session.session import Session
from strongroom_vault.setup.server import Role, State, Step, target

ADDRESS, TOKEN, NAMESPACE = "VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE"

_OUTRANK = {"BAO_ADDR": ADDRESS, "BAO_TOKEN": TOKEN, "BAO_NAMESPACE": NAMESPACE}
_MAX_SIZE = 1 << 20
_DEFAULT_POLICY = "default"
_ORPHAN = "auth/token/create-orphan"


@dataclass(frozen=True)
class Credential:
    """A credential that is created for the application.

    Attributes:
        step: its present state, and the rights that its creation needs.
        file: the file for it; None for stdout.
        option: the option that names the file, for messages.
        create: creates it.
        content: returns the new text of the file, from its present text and the credential.
    """

    step: Step
    file: Path | None
    option: str
    create: Callable[[], SensitiveStr]
    content: Callable[[SensitiveStr, SensitiveStr], SensitiveStr]

    def write(self, file: Path) -> bool:
        """Create the credential and write it into its file; return True if other users had access to the file.

        Raises:
            StoreError: the server refused to create it.
            ConfigurationError: the file cannot be written.
        """
        failure: StrongroomError
        try:
            # The temporary file exists before the credential does, so that few failures come between them.
            with commands.prepare_private_file(file) as replacement:
                text = read_text(file, self.option)
                replacement.commit(self.content(text, self.create()).encode())
                return replacement.widened
        except OSError as error:
            failure = ConfigurationError(f"{self.option} {file}: {error.strerror or 'it cannot be written'}")
        except StrongroomError as error:
            failure = error.copy()  # without frames that held the credential
        raise failure


def token(
    session: Session,
    file: Path | None,
    *,
    policies: Sequence[str],
    period: int,
    environment: Mapping[str, str],
    open_session: Callable[[SensitiveStr], Session],
) -> Credential:
    """Return the token of an application, which `.env` may hold already.

    Args:
        session: has the operator's token.
        file: the `.env` file; None for stdout.
        policies: that the token shall have.
        period: seconds that it lives after each renewal.
        environment: the variables that belong to it: the address, and the namespace if there is one.
        open_session: opens a session with the file's token, if the file has the same address.

    Raises:
        ConfigurationError: the file cannot be read, or its folder does not exist.
        StoreError: the server did not answer.
    """
    state, detail = State.MISSING, f"with the policies {', '.join(policies)}"
    values = {} if file is None else _values(read_text(file, "--env-file"), file)
    if found := values.get(TOKEN):
        if values.get(ADDRESS) != environment[ADDRESS]:
            state, detail = State.DIFFERS, "the file has a token for another address"
        else:
            with closing(open_session(found)) as other:
                present = _policies(other)
            if present is not None:
                state = State.EXISTS if present - {_DEFAULT_POLICY} == set(policies) else State.DIFFERS
                detail = f"the file has a valid token with {', '.join(sorted(present)) or 'unknown policies'}"
    return Credential(
        Step(f"token in {file}" if file else "token", state, detail, rights={_ORPHAN: {"update", "sudo"}}),
        file,
        "--env-file",
        create=lambda: issue_token(session, policies, period),
        content=lambda text, token: commands.set_dotenv_values(text, {**environment, TOKEN: token}),
    )


def secret_id(session: Session, file: Path | None, role: Role, wrap_ttl: int) -> Credential:
    """Return a secret_id of the role. The server is asked whether that in the file can still be used.

    Args:
        session: has the operator's token.
        file: the file for it; None for stdout.
        role: the AppRole.
        wrap_ttl: the seconds within which the wrapping token can be opened, once; 0 for a bare secret_id.

    Raises:
        ConfigurationError: the file cannot be read, or its folder does not exist.
        StoreError: the server did not answer.
    """
    issued = SensitiveStr() if file is None else SensitiveStr(read_text(file, "--secret-id-file").strip())
    state = State.EXISTS if issued and _is_usable(session, role, issued) else State.MISSING

    def create() -> SensitiveStr:
        wrap = f"{wrap_ttl}s" if wrap_ttl else None
        request = requests().approle.generate_secret_id(role.name, mount_point=role.mount, wrap_ttl=wrap)
        reply = session.request(request)
        return _field(session, reply, "wrap_info", "token") if wrap else _field(session, reply, "data", "secret_id")

    return Credential(
        Step(f"secret_id in {file}" if file else "secret_id", state, rights={f"{role.path}/secret-id": {"update"}}),
        file,
        "--secret-id-file",
        create=create,
        content=lambda _, issued: SensitiveStr(f"{issued}\n"),
    )


def issue_token(session: Session, policies: Collection[str], period: int) -> SensitiveStr:
    """Create a periodic orphan token: it outlives the operator's token, and lives as long as it is renewed.

    Args:
        session: has a token that may create others.
        policies: of the new token. It also has the policy `default`, which lets it renew itself.
        period: seconds that it lives after each renewal.

    Raises:
        StoreError: the server did not create it.
    """
    reply = session.request(
        requests().token.create_orphan(policies=list(policies), period=f"{period}s", display_name="strongroom")
    )
    if reply.status == 400:
        raise StoreError(None, f"{session.location} refused a token with these policies and this lifetime (HTTP 400)")
    return _field(session, reply, "auth", "client_token")


def role_id(session: Session, role: Role) -> str:
    """Return the role_id of an AppRole. It is an identifier, not a secret."""
    reply = session.request(requests().approle.read_role_id(role.name, mount_point=role.mount))
    return str(_field(session, reply, "data", "role_id"))


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
    names = commands.parse_dotenv(before, f"--env-file {file}").values
    others = [name for name in names if name.startswith(("VAULT_", "BAO_")) and name not in _OUTRANK.values()]
    if others and not commands.is_file_trusted(file, before.encode(), os.environ):
        return False
    with suppress(ConfigurationError):  # without a state folder the user runs `strongroom trust`
        commands.trust_file(file)
    return True


def _values(text: str, file: Path) -> dict[str, SensitiveStr]:
    """Return the address, token and namespace that the text sets.

    Raises:
        ConfigurationError: a line is not NAME=value, or sets a variable that outranks one of them.
    """
    entries = commands.parse_dotenv(text, f"--env-file {file}")
    for name, outranked in _OUTRANK.items():
        if entries.get(name):
            raise ConfigurationError(f"--env-file {file}: {name} outranks {outranked}. Remove it and try again")
    return {name: entries.get(name) for name in _OUTRANK.values() if name in entries.values}


def _policies(session: Session) -> set[str] | None:
    """Return the policies of the session's own token, none if it may not look itself up; None if it is not valid."""
    reply = session.request(requests().token.lookup_self())
    if reply.status not in {200, 403}:
        raise session.failure(reply, None)
    if reply.status == 403:
        return set() if session.token_is_good() else None
    policies = (member(document(reply), "data") or {}).get("policies")
    return set(map(str, policies if isinstance(policies, list) else ()))


def _is_usable(session: Session, role: Role, issued: SensitiveStr) -> bool:
    """Return True if this is an unopened wrapping token of a secret_id of the role, or a valid secret_id of it."""
    # hvac has no method for the lookup of a wrapping token.
    reply = session.request(ApiRequest("POST", target("sys/wrapping/lookup"), {"token": issued}))
    origin = (member(document(reply), "data") or {}).get("creation_path") if reply.status == 200 else None
    if origin == f"{role.path}/secret-id":
        return True
    reply = session.request(requests().approle.read_secret_id(role.name, issued, mount_point=role.mount))
    return reply.status == 200


def _field(session: Session, reply: Reply, parent: str, name: str) -> SensitiveStr:
    if reply.status != 200:
        raise session.failure(reply, None, changes=True)
    value = (member(document(reply), parent) or {}).get(name)
    if not isinstance(value, str) or not value:
        raise malformed(None, session.location)
    return SensitiveStr(value)

"""A token that the processes of one user share through a file, so that one login serves all of them.

The file holds the bare token and nothing else, as `~/.vault-token` does, and Vault's own command line accepts it. A
record beside it, `FILE.login`, has what such a file lacks: the login that the token belongs to, and its end. Its
digests are keyed with the token, and tell nothing to anybody who does not have it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from hmac import compare_digest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from strongroom.bounded_file import load_text, read_bytes
from strongroom.errors import ConfigurationError, StoreError, shown
from strongroom.files.private_file import lock, open_file
from strongroom.files.private_file import replace as replace_file
from strongroom.secret import SensitiveStr
from strongroom.store import remaining
from strongroom_vault.auth import Auth, Grant, Send
from strongroom_vault.auth.approle import AppRole
from strongroom_vault.auth.credential import MAX_SIZE
from strongroom_vault.auth.github import BEARER, URL
from strongroom_vault.auth.token import is_token
from strongroom_vault.auth.workload import JWT, Certificate, Kubernetes
from strongroom_vault.http.address import Address
from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.http.tls import TLSSettings
from strongroom_vault.responses import renewed_life

logger = logging.getLogger("strongroom.vault")

_RECORD_SIZE = 1024
"""Bytes of a record: it is written by one call, so that a process that is killed leaves the old one or the new one."""

_DUE = 1 / 3
"""The part of its life at whose beginning a token is renewed: see `lifetime.next_step`."""

_MARGIN = 1.0
"""Seconds before its end at which a token is of no more use to a process that starts."""

_CLOCK_TOLERANCE = 2.0
_WRITE_LIMIT = 5.0


@dataclass(frozen=True)
class _Record:
    """Facts about the token, beside its file.

    Attributes:
        tokens: digests of the last two tokens that were written into the file. Any other token there is somebody's own.
        login: digest of the login, keyed with the token.
        began: the wall clock at the login or at the last renewal.
        ttl: the length of the token's life at its login, in seconds; 0 for ever.
        left: the length of its life after `began`; 0 for ever.
        renewable: whether a renewal may extend it.
    """

    tokens: list[str]
    login: str
    began: float
    ttl: float
    left: float
    renewable: bool

    def seconds_left(self, now: float) -> float:
        """Return the seconds until the token ends. None are left if the clock was set back since."""
        if self.began > now + _CLOCK_TOLERANCE:
            return 0.0
        return self.began + self.left - now if self.left else float("inf")


class _Held(NamedTuple):
    """A token of this login that lives, with its record."""

    token: SensitiveStr
    record: _Record
    left: float


def share(auth: Auth, file: Path, addresses: Sequence[Address], namespace: str | None, tls: TLSSettings) -> SharedToken:
    """Return the method, with its token shared through a file.

    Raises:
        ConfigurationError: the method makes no login, or its options do not tell whose login it is: botocore and
            another distribution's method find credentials elsewhere.
    """
    if not isinstance(auth, AppRole | JWT | Kubernetes | Certificate):
        raise ConfigurationError(
            "shared_token_file: it needs `auth` with the method approle, jwt, kubernetes or cert, whose options tell "
            "whose token it is"
        )

    def login() -> Mapping[str, Any]:
        options = {field.name: getattr(auth, field.name) for field in fields(auth)}
        files = [value for value in options.values() if isinstance(value, Path)]
        if isinstance(auth, Certificate):
            files += [file for file in (tls.client_cert, tls.client_key) if file is not None]
        names = [] if not isinstance(auth, JWT) else [BEARER, URL] if auth.jwt_from else [auth.jwt_env or ""]
        return {
            "addresses": [str(address) for address in addresses],
            "namespace": namespace,
            "method": type(auth).__name__,
            "options": options,
            "files": {str(file): load_text(file, MAX_SIZE).text for file in files},
            "variables": {name: os.environ.get(name) for name in names},
        }

    return SharedToken(auth, file, login)


class SharedToken:
    """An `Auth` that takes the token in a file while it lives, and otherwise logs in and puts the new token there.

    One process at a time logs in or renews; the others wait for half of the time that their call has. A token is never
    revoked at the end of a process: it expires. A token with counted uses is not shared. If the file cannot be used,
    each process logs in for itself, with one warning.

    Args:
        auth: how to log in.
        file: the file of the token.
        login: returns the address, namespace and credentials that a token is bound to.
    """

    repeatable: ClassVar[bool] = True

    def __init__(self, auth: Auth, file: Path, login: Callable[[], Mapping[str, Any]]) -> None:
        self._auth = auth
        self._file = file
        self._record_file = file.with_name(f"{file.name}.login")
        self._login = login
        self._given: tuple[int, str] | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"SharedToken({str(self._file)!r})"

    def __hash__(self) -> int:
        return hash(self._auth)  # stores with equal credentials share one backoff

    def login(self, send: Send) -> Grant:
        """Return the token in the file, after its renewal if it is due, or that of a new login.

        A token that this object has returned before is due: the server refused it, or it is near its end.

        Raises:
            VaultAuthenticationError, ConfigurationError, StoreUnavailableError: see `Auth.login`.
        """
        found = self._find()
        if found is not None and not self._is_due(found):
            return self._adopted(found)
        with self._turn(0.0 if found is not None and not self._was_given(found) else remaining() / 2) as descriptor:
            if descriptor is None:
                return self._auth.login(send) if found is None else self._adopted(found)
            found = self._find()
            if found is not None:
                renewed = self._renewed(found, send, descriptor) if self._is_due(found) else found
                if renewed is not None:
                    return self._adopted(renewed)
            began = time.time()
            return self._shared(self._auth.login(send), began, descriptor)

    # --- the token in the file ----------------------------------------------------------------------------------------

    def _find(self) -> _Held | None:
        """Return the token of this login in the file; None without a token that lives."""
        try:
            record = _parsed(_private_content(self._record_file))
            token = self._content()
        except OSError as error:
            self._warn_of(error)
            return None
        if record is None or not is_token(token) or not compare_digest(record.login, self._login_digest(token)):
            return None
        left = record.seconds_left(time.time())
        return _Held(token, record, left) if left > _MARGIN else None

    def _content(self) -> SensitiveStr:
        return SensitiveStr(_private_content(self._file).decode("utf-8", "replace").strip())

    def _is_due(self, found: _Held) -> bool:
        return self._was_given(found) or (found.record.renewable and found.left < found.record.ttl * _DUE)

    def _was_given(self, found: _Held) -> bool:
        # A fork's child has been given nothing yet.
        return self._given == (os.getpid(), str(found.token))

    def _adopted(self, found: _Held) -> Grant:
        ttl = 0.0 if found.left == float("inf") else found.left
        return self._noted(Grant(found.token, ttl, adopted=True))

    def _noted(self, grant: Grant) -> Grant:
        self._given = (os.getpid(), str(grant.token))
        return grant

    # --- changes of the file, by the process that has the turn --------------------------------------------------------

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[int | None]:
        """Yield the descriptor of the record, locked; None if another process holds it, or it cannot be used."""
        held: int | None = None
        with ExitStack() as stack:
            try:
                self._file.parent.mkdir(0o700, parents=True, exist_ok=True)
                descriptor = open_file(self._record_file, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, descriptor)
                if stack.enter_context(lock(descriptor, seconds)):
                    held = descriptor
            except OSError as error:
                self._warn_of(error)
            yield held

    def _renewed(self, found: _Held, send: Send, descriptor: int) -> _Held | None:
        """Return the token after its renewal; None if only a login helps, since it is refused or near its last end."""
        before = found.record
        if not before.renewable:
            return None
        began = time.time()
        try:
            reply = send(requests().token.renew_self(), token=found.token, idempotent=True)
            life = renewed_life(reply) if reply.status == 200 else None
        except StoreError as error:
            logger.info("The shared token in %s was not renewed: %s", self._file, error.reason)
            return found
        if life is None or life[0] < max(_MARGIN, before.ttl * _DUE):
            return None
        ttl, renewable = life
        # A renewal that brings less than a full life has met the token's greatest age, and the next brings even less.
        after = replace(before, began=began, left=float(ttl), renewable=renewable and ttl >= int(before.ttl))
        try:
            _write(descriptor, after)
        except OSError as error:
            self._warn_of(error)
        return _Held(found.token, after, float(ttl))

    def _shared(self, grant: Grant, began: float, descriptor: int) -> Grant:
        """Put the token of a login into the file; return the grant, which is this process's own if that fails."""
        if grant.token is None or grant.ttl is None or grant.uses is not None:
            self._warn("the server counts its uses" if grant.uses else "its life is not known")
            return grant
        try:
            tokens = [self._replaceable(), _digest(grant.token)]
            login = self._login_digest(grant.token)
            # The record comes first: a token without one is somebody's own, and stays.
            _write(descriptor, _Record(tokens, login, began, grant.ttl, grant.ttl, grant.renewable))
            replace_file(self._file, grant.token.encode(), min(remaining(), _WRITE_LIMIT))
        except OSError as error:
            self._warn_of(error)
            return grant
        return self._noted(replace(grant, revocable=False, renewable=False))

    def _replaceable(self) -> str:
        """Return the digest of the token in the file, which may be absent or empty.

        Raises:
            OSError: it cannot be read, or Strongroom did not write it.
        """
        try:
            present = self._content()
        except FileNotFoundError:
            present = SensitiveStr("")
        before = _parsed(_private_content(self._record_file))
        if present and (before is None or _digest(present) not in before.tokens):
            raise FileExistsError(errno.EEXIST, "Strongroom did not write its content")
        return _digest(present)

    def _login_digest(self, token: str) -> str:
        key = hashlib.blake2b(token.encode(), digest_size=64, person=b"login").digest()
        content = json.dumps(self._login(), sort_keys=True, default=str).encode()
        return hashlib.blake2b(content, digest_size=32, key=key).hexdigest()

    # --- warnings -----------------------------------------------------------------------------------------------------

    def _warn_of(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            fault = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or "it cannot be used"
            self._warn(fault)

    def _warn(self, fault: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("The token is not shared through %s: %s", shown(str(self._file)), fault)


def _private_content(file: Path) -> bytes:
    """Return the content of a small file of this user, to which nobody else has access.

    Raises:
        OSError: it cannot be read, is a symbolic link, belongs to another user, or others have access to it.
    """
    content, status = read_bytes(file, MAX_SIZE, follow_links=False)
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "other users have access to it; run chmod 600 on it")
    return content


def _digest(token: str) -> str:
    return hashlib.blake2b(token.encode(), digest_size=32, person=b"token").hexdigest()


def _write(descriptor: int, record: _Record) -> None:
    os.pwrite(descriptor, json.dumps(asdict(record)).encode().ljust(_RECORD_SIZE - 1) + b"\n", 0)
    os.fsync(descriptor)


def _parsed(content: bytes) -> _Record | None:
    """Return the record; None if it is malformed, such as one that was half written to a full disk."""
    try:
        fields = json.loads(content)
        tokens = [str(token) for token in fields["tokens"]]
        began, ttl, left = (float(fields[name]) for name in ("began", "ttl", "left"))
        return _Record(tokens, str(fields["login"]), began, ttl, left, fields["renewable"] is True)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None

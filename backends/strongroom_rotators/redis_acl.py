"""The rotator `redis-acl`: the password of a user of Redis or Valkey, which can have two passwords at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from strongroom.errors import AuthenticationError, PermissionDeniedError, StoreUnavailableError, StrongroomError
from strongroom.rotate.spi import Credentials, PasswordRules, generate, required_text, user_key_of
from strongroom.secret import SensitiveDict, Value
from strongroom.store import Option, is_loopback, remaining
from strongroom_rotators import database_user as shared
from strongroom_rotators.database_user import Login

if TYPE_CHECKING:
    from redis import Redis

Tls = Annotated[bool | None, Option("require TLS; by default for every host but this machine's")]
CaCert = Annotated[
    str | None, Option("the file of the authority that signed the server's certificate; by default the system's")
]
Save = Annotated[bool, Option("save the users with ACL SAVE, for a server with an ACL file")]


class RedisAclRotator:
    """Adds a password with `ACL SETUSER user #HASH`, and removes the old one with `!HASH`.

    Args:
        admin: the path of the secret of a user with the right to `ACL SETUSER`; None lets the user change its own.
        user_key, password_key: the keys of the secret.
        host, port: the server; None takes the keys of the secret.
        tls: require TLS; None requires it for every host but this machine's.
        ca_cert: the file of the authority.
        save: save the users into the server's ACL file.
        length: number of characters of a password.
    """

    def __init__(
        self,
        *,
        admin: str | None,
        user_key: str | None,
        password_key: str,
        host: str | None,
        port: int | None,
        tls: bool | None,
        ca_cert: str | None,
        save: bool,
        length: int,
    ) -> None:
        import redis  # noqa: F401  # raises ImportError before anything is changed

        self._admin = admin
        self._user_key = user_key
        self._password_key = password_key
        self._host = host
        self._port = port
        self._tls = tls
        self._ca_cert = ca_cert
        self._save = save
        self._rules = PasswordRules(length)

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new password, and the URL with it if the secret has one."""
        login = Login(self._login(current).user, generate(self._rules))
        made: dict[str, Value] = {}
        if shared.URL_KEY in current:
            made[shared.URL_KEY] = shared.url_with(required_text(current, shared.URL_KEY), login)
        if self._password_key in current:
            made[self._password_key] = login.password
        return made

    def apply(self, credentials: Credentials) -> None:
        """Add the new password to the user."""
        self._set(credentials, credentials.old, "#", self._login(credentials.new))

    def prove(self, credentials: Credentials) -> None:
        """Log in with the new password."""
        with self._connected(credentials.new, self._login(credentials.new)):
            pass

    def revoke(self, credentials: Credentials) -> Sequence[str]:
        """Remove the old password from the user, if it has it."""
        old, new = self._login(credentials.old), self._login(credentials.new)
        if old.password != new.password and self._has(credentials, old):
            self._set(credentials, credentials.new, "!", old)
        return ()

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _login(self, secret: SensitiveDict) -> Login:
        known = shared.with_url_parts(secret)
        user = known.get(self._user_key or user_key_of(known)) or "default"
        return Login(str(user), required_text(known, self._password_key))

    def _set(self, credentials: Credentials, own: SensitiveDict, mark: str, login: Login) -> None:
        with self._administrator(credentials, own) as client:
            digest = hashlib.sha256(login.password.encode()).hexdigest()
            # Not `acl_setuser`, which would also switch the user on or off.
            client.execute_command("ACL", "SETUSER", login.user, f"{mark}{digest}")  # type: ignore[no-untyped-call]
            if self._save:
                client.acl_save()

    def _has(self, credentials: Credentials, login: Login) -> bool:
        """Return True if the user has this password: Redis refuses to remove one that it has not."""
        try:
            with self._connected(credentials.new, login):
                return True
        except AuthenticationError:
            return False

    @contextmanager
    def _administrator(self, credentials: Credentials, own: SensitiveDict) -> Iterator[Redis]:
        if self._admin is not None:
            secret = credentials.read(self._admin)
            user = str(secret.get(user_key_of(secret)) or "default")
            login = Login(user, required_text(secret, "password"))
            with self._connected(credentials.new, login) as client:
                yield client
            return
        # The user itself. If an attempt before has removed one password already, the other one works.
        logins = [self._login(own), self._login(credentials.new), self._login(credentials.old)]
        login = next((login for login in logins if self._has(credentials, login)), logins[0])
        with self._connected(credentials.new, login) as client:
            yield client

    @contextmanager
    def _connected(self, secret: SensitiveDict, login: Login) -> Iterator[Redis]:
        """Yield a client that has logged in, and translate redis-py's errors."""
        import redis
        from redis import exceptions
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        known = shared.with_url_parts(secret)
        host = shared.host_of(known, self._host)
        encrypted = not is_loopback(host) if self._tls is None else self._tls
        limit = max(1.0, remaining())
        options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": self._ca_cert} if encrypted else {}
        client = redis.Redis(
            host=host,
            port=shared.port_of(known, self._port, 6379),
            username=login.user,
            password=login.password.reveal(),
            socket_timeout=limit,
            socket_connect_timeout=limit,
            retry=Retry(NoBackoff(), 0),  # redis-py's own would repeat a refused login for seconds
            **options,
        )
        failure: StrongroomError | None = None
        try:
            with client:
                client.ping()
                yield client
        except (redis.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError):
            failure = shared.login_refused(login.user)
        except exceptions.NoPermissionError:
            reason = f"{login.user} has no right to that command"
            failure = PermissionDeniedError(None, reason, hint="Grant +acl|setuser to the administrator")
        except (redis.ConnectionError, redis.TimeoutError) as error:
            failure = StoreUnavailableError(None, f"the server does not answer ({type(error).__name__})")
        except redis.RedisError as error:
            failure = PermissionDeniedError(None, f"the server refuses the command ({type(error).__name__})")
        if failure is not None:
            raise failure


def open_redis_acl(
    *,
    admin: shared.Admin = None,
    user_key: shared.UserKey = None,
    password_key: shared.PasswordKey = "password",  # noqa: S107  # the name of a key
    host: shared.Host = None,
    port: shared.Port = None,
    tls: Tls = None,
    ca_cert: CaCert = None,
    save: Save = False,
    length: shared.Length = 32,
) -> RedisAclRotator:
    """Return a rotator for users of Redis 6 and later, and of Valkey. Nothing is connected yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: redis-py is not installed.
    """
    return RedisAclRotator(
        admin=admin,
        user_key=user_key,
        password_key=password_key,
        host=host,
        port=port,
        tls=tls,
        ca_cert=ca_cert,
        save=save,
        length=length,
    )

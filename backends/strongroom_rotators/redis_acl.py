"""The rotator `redis-acl`: the password of a user of Redis or Valkey, which can have two passwords at a time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from strongroom.errors import PermissionDeniedError, StoreUnavailableError, StrongroomError
from strongroom.rotate.spi import CredentialPair, read_address
from strongroom.secret import SensitiveDict, SensitiveStr, Value
from strongroom.store import Option, remaining
from strongroom_rotators import database_user as shared
from strongroom_rotators.database_user import UserLogin, UserRotator

if TYPE_CHECKING:
    from redis import Redis

Save = Annotated[bool, Option("save the users with ACL SAVE, for a server with an ACL file")]


class RedisServer:
    """Redis and Valkey, through redis-py."""

    def __init__(self, host: str | None, port: int | None, ca_cert: str | None, *, tls: bool | None) -> None:
        import redis  # noqa: F401  # raises ImportError before anything is changed

        self._host = host
        self._port = port
        self._ca_cert = ca_cert
        self._tls = tls

    def arguments(self, secret: Mapping[str, Value], login: UserLogin) -> dict[str, Any]:
        """Return redis-py's arguments. Options of the rotator for TLS replace those of the URL."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        found = shared.with_server(read_address(secret, kind="Redis"), self._host, self._port)
        known = found.redis()
        if self._tls is False:
            known = {key: value for key, value in known.items() if not key.startswith("ssl")}
        elif known["ssl"] or shared.is_encrypted(found.hosts[0], tls=self._tls):
            known |= {"ssl": True, **({"ssl_ca_certs": self._ca_cert} if self._ca_cert else {})}
        known |= dict.fromkeys(("socket_timeout", "socket_connect_timeout"), max(1.0, remaining()))
        known |= {"username": login.user, "password": login.password}
        known["retry"] = Retry(NoBackoff(), 0)  # redis-py's own would repeat a refused login for seconds
        shared.check_arguments(redis.Redis, known)
        return known

    def connect(self, secret: Mapping[str, Value], login: UserLogin) -> AbstractContextManager[Redis]:
        """Return a client: see `Connect`."""
        return self._opened(self.arguments(secret, login))

    @contextmanager
    def _opened(self, arguments: dict[str, Any]) -> Iterator[Redis]:
        """Yield a client that has logged in, and translate redis-py's errors."""
        import redis
        from redis import exceptions

        user, client = arguments["username"], redis.Redis(**arguments)
        failure: StrongroomError | None = None
        if (ca_cert := arguments.get("ssl_ca_certs")) is not None:
            shared.verifying_context(ca_cert)
        try:
            with client:
                client.ping()
                yield client
        except (redis.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError):
            failure = shared.login_refused(user)
        except exceptions.NoPermissionError:
            reason = f"{user} has no right to that command"
            failure = PermissionDeniedError(None, reason, hint="Grant +acl|setuser to the administrator")
        except (redis.ConnectionError, redis.TimeoutError) as error:
            silent = StoreUnavailableError(None, f"the server does not answer ({type(error).__name__})")
            failure = shared.unverified() if shared.is_unverified(error) else silent
        except redis.RedisError as error:
            failure = PermissionDeniedError(None, f"the server refuses the command ({type(error).__name__})")
        if failure is not None:
            raise failure


class RedisAclRotator(UserRotator):
    """Adds a password with `ACL SETUSER user #HASH`, and removes the old one with `!HASH`.

    A command of a process that was killed can reach the server at any later time. So that it never removes a password
    that is valid again, a removal takes two: the first adds a mark to the user, and the second takes the mark away
    together with the password, or fails as a whole. A password that is added takes its mark away too. The mark is not
    a password: nobody knows a text with that hash.

    Args:
        save: save the users into the server's ACL file.
        options: see `UserRotator`.
    """

    _default_user = SensitiveStr("default")

    def __init__(self, server: RedisServer, *, save: bool, **options: Any) -> None:
        super().__init__(server.connect, **options)
        self._save = save

    def apply(self, credentials: CredentialPair) -> None:
        """Add the new password to the user."""
        new = self._login(credentials.new)
        mark, digest = _mark(new), _digest(new)
        self._set_user(credentials, credentials.old, new.user, [f"#{mark}", f"!{mark}", f"#{digest}"])

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Remove the old password from the user; add it first, since Redis removes only one that is there."""
        old, new = self._login(credentials.old), self._login(credentials.new)
        if old.password != new.password:
            mark, digest = _mark(old), _digest(old)
            removal = [f"!{mark}", f"#{digest}", f"!{digest}"]
            self._set_user(credentials, credentials.new, old.user, [f"#{mark}"], removal)
        return ()

    def _set_user(self, credentials: CredentialPair, own: SensitiveDict, user: str, *commands: Sequence[str]) -> None:
        with self._connect(credentials.new, self._administrator(credentials, own)) as client:
            for rules in commands:
                # Not `acl_setuser`, which would also switch the user on or off.
                client.execute_command("ACL", "SETUSER", user, *rules)
            if self._save:
                client.acl_save()

    def _administrator(self, credentials: CredentialPair, own: SensitiveDict) -> UserLogin:
        """Return the login that may change the user: the administrator's, or the user's own."""
        if self._admin is not None:
            return shared.administrator_of(credentials, self._admin, self._default_user)
        # If an attempt before has removed one password already, the other one works.
        logins = [self._login(own), self._login(credentials.new), self._login(credentials.old)]
        return next((login for login in logins if self._accepts(credentials.new, login)), logins[0])


def _digest(login: UserLogin) -> str:
    return hashlib.sha256(login.password.encode()).hexdigest()


def _mark(login: UserLogin) -> str:
    """Return the mark of the removal of this password: the form of a hash, but of no known text."""
    return hmac.new(login.password.encode(), b"strongroom rotate", hashlib.sha256).hexdigest()


def open_redis_acl(
    *,
    admin: shared.Admin = None,
    user_key: shared.UserKey = None,
    password_key: shared.PasswordKey = "password",  # noqa: S107  # the name of a key
    host: shared.HostName = None,
    port: shared.Port = None,
    tls: shared.Tls = None,
    ca_cert: shared.CaCert = None,
    save: Save = False,
    length: shared.Length = 32,
) -> RedisAclRotator:
    """Return a rotator for users of Redis 6 and later, and of Valkey. Nothing is connected yet.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: redis-py is not installed.
    """
    server = RedisServer(host, port, ca_cert, tls=tls)
    return RedisAclRotator(server, save=save, admin=admin, user_key=user_key, password_key=password_key, length=length)

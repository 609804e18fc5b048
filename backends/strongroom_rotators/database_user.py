"""Common parts of the rotators of database users: logins, their server, and the administrator."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from inspect import signature
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias

from strongroom.errors import AuthenticationError, ConfigurationError, InvalidDataError
from strongroom.rotate.spi import (
    CredentialPair,
    DatabaseAddress,
    Host,
    PasswordRules,
    generate,
    read_address,
    required_text,
    url_with,
    user_key_of,
)
from strongroom.secret import SensitiveDict, SensitiveStr, Value
from strongroom.store import Option
from strongroom.store.option import is_loopback

Users = Annotated[
    list[str] | None,
    Option("two users that take turns, so that the old credential stays valid; without it the secret's user is kept"),
]
Admin = Annotated[
    str | None,
    Option("the path of a secret with `user` and `password` of one that may change passwords"),
]
UserKey = Annotated[
    str | None, Option("the key of the secret that holds the user's name; by default `user`, or else `username`")
]
PasswordKey = Annotated[str, Option("the key of the secret that holds the password")]
HostName = Annotated[str | None, Option("the server's host; by default the key `host` of the secret")]
Port = Annotated[
    int | None, Option("the server's port; by default the key `port` of the secret, or the server's usual one")
]
Name = Annotated[str | None, Option("the database to connect to; by default the key `name` of the secret")]
CaCert = Annotated[
    str | None, Option("the file of the authority that signed the server's certificate; by default the system's")
]
Tls = Annotated[bool | None, Option("require TLS; by default for every host but this machine's")]
Length = Annotated[int, Option("number of characters of a password")]


URL_KEY = "url"
PASSWORD_KEY = "password"  # noqa: S105  # the name of a key


class UserLogin(NamedTuple):
    """A user and its password."""

    user: str
    password: SensitiveStr

    def __repr__(self) -> str:
        return f"UserLogin({self.user!r})"


Connect: TypeAlias = Callable[[Mapping[str, Value], UserLogin], AbstractContextManager[Any]]
"""Returns a connection of the driver to the server that the secret names. It is opened when it is entered.

The call raises InvalidDataError if the driver cannot use the address: the secret names no server of this kind, or has
an option that the driver does not know. Entering it raises AuthenticationError if the server refuses the login,
ConfigurationError if its certificate cannot be verified, and StoreUnavailableError if it does not answer.
"""


class UserRotator:
    """The part of a rotator of passwords that does not depend on the service.

    The user, the password and the server come from keys of the secret, or from its key `url`. A URL that holds the
    password is rewritten too.

    Args:
        admin: the path of the secret of a user that may change passwords; None lets the user change its own.
    """

    _default_user: SensitiveStr | None = None

    def __init__(
        self, connect: Connect, *, admin: str | None, user_key: str | None, password_key: str, length: int
    ) -> None:
        self._connect = connect
        self._admin = admin
        self.reads: tuple[str, ...] = () if admin is None else (admin,)
        self._user_key = user_key
        self._password_key = password_key
        self._rules = PasswordRules(length)

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new password, and the URL with it if the secret has one."""
        return self._made(current, self._checked_login(current).user)

    def prove(self, credentials: CredentialPair) -> None:
        with self._connect(credentials.new, self._login(credentials.new)):
            pass

    def close(self) -> None:
        pass  # no connection stays open

    def _checked_login(self, secret: SensitiveDict) -> UserLogin:
        """Return the login of the secret. An address that the driver cannot use is refused before anything changes."""
        login = self._login(secret)
        self._connect(secret, login)  # not entered
        return login

    def _login(self, secret: SensitiveDict) -> UserLogin:
        found = read_address(secret)
        user = None if self._user_key in secret else found.user or self._default_user
        password = None if self._password_key in {*secret} - {PASSWORD_KEY} else found.password
        user = user or required_text(secret, self._user_key_of(secret))
        return UserLogin(user.reveal(), password or required_text(secret, self._password_key))

    def _user_key_of(self, secret: Mapping[str, Value]) -> str:
        return self._user_key or user_key_of(secret)

    def _made(self, current: SensitiveDict, user: str) -> dict[str, Value]:
        """Return the keys of the secret that hold a password, with a new one for this user."""
        login = UserLogin(user, generate(self._rules))
        made: dict[str, Value] = {}
        if URL_KEY in current:
            made[URL_KEY] = url_with(required_text(current, URL_KEY), login.user, login.password)
        if self._password_key in current:
            made[self._password_key] = login.password
        return made

    def _accepts(self, secret: SensitiveDict, login: UserLogin) -> bool:
        """Return False if the server refuses the login."""
        try:
            with self._connect(secret, login):
                return True
        except AuthenticationError:
            return False


class DatabaseServer(Protocol):
    """One kind of database server. Its connections are the driver's own."""

    def connect(self, secret: Mapping[str, Value], login: UserLogin) -> AbstractContextManager[Any]:
        """Return a connection: see `Connect`."""
        ...

    def set_password(self, connection: Any, login: UserLogin, *, own: bool) -> None:
        """Set the password of a user, without the password in clear text if the server allows that.

        Nothing that an earlier call has sent may change it afterwards, even if the process of that call was killed.

        Args:
            connection: of an administrator, or of the user itself.
            login: the user and its new password.
            own: True if the connection is the user's own.

        Raises:
            PermissionDeniedError: the connection's user may not do that, or there is no such user.
        """
        ...


class DatabaseUserRotator(UserRotator):
    """Replaces the password of a database user, or of the other one of two users.

    With two users, the old one keeps its password until `revoke` gives it one that nobody knows: its connections stay
    open. With one user, its password changes in `apply`, and the pending secret is the one that works until it is
    promoted.

    Args:
        users: two users that take turns; None keeps the user of the secret.
        admin, options: see `UserRotator`.
    """

    def __init__(
        self, server: DatabaseServer, *, users: Sequence[str] | None, admin: str | None, **options: Any
    ) -> None:
        if users is not None and len(set(users)) != 2:
            raise ConfigurationError("users: must name two users")
        if users is not None and admin is None:
            raise ConfigurationError(
                "admin: is missing. Only another user can change the password of two that take turns"
            )
        super().__init__(server.connect, admin=admin, **options)
        self._server = server
        self._users = tuple(map(str, users)) if users else None

    def create(self, current: SensitiveDict) -> Mapping[str, Value]:
        """Return a new password, with the other user if two take turns."""
        user = self._checked_login(current).user
        if self._users is None:
            return self._made(current, user)
        if user not in self._users:
            raise InvalidDataError(None, "the user of the secret is neither of the two in `users`")
        first, second = self._users
        other = second if user == first else first
        made = self._made(current, other)
        if (key := self._user_key_of(current)) in current:
            made[key] = other
        return made

    def apply(self, credentials: CredentialPair) -> None:
        """Set the new password, also if it is set: a late statement of an earlier attempt comes before this one."""
        new = self._login(credentials.new)
        if self._admin is not None:
            self._set_password_as(self._admin, credentials, new)
            return
        refused: AuthenticationError | None = None
        for login in (self._login(credentials.old), new):  # an attempt before may have changed the password already
            try:
                with self._connect(credentials.new, login) as connection:
                    self._server.set_password(connection, new, own=True)
            except AuthenticationError as error:
                refused = error.copy()
            else:
                return
        assert refused is not None  # noqa: S101  # each login was
        raise refused

    def revoke(self, credentials: CredentialPair) -> Sequence[str]:
        """Give the old user a password that nobody knows. One user alone has a single password, so nothing is left."""
        old, new = self._login(credentials.old), self._login(credentials.new)
        if self._admin is not None and old.user != new.user:
            self._set_password_as(self._admin, credentials, UserLogin(old.user, generate(self._rules)))
        return ()

    def _set_password_as(self, admin: str, credentials: CredentialPair, login: UserLogin) -> None:
        """Set the password of a user as the administrator whose secret is at this path."""
        with self._connect(credentials.new, administrator_of(credentials, admin)) as connection:
            self._server.set_password(connection, login, own=False)


def login_refused(user: str) -> AuthenticationError:
    """Return the error for a login that the server refuses. It quotes nothing of the server's message."""
    return AuthenticationError(None, f"the server refuses the login of {user}", hint="Check the password of this user")


def administrator_of(credentials: CredentialPair, path: str, default_user: SensitiveStr | None = None) -> UserLogin:
    """Return the login in the secret of an administrator.

    Raises:
        ConfigurationError: the secret has no login. The message names the path. Nothing was changed.
    """
    secret = credentials.read(path)
    try:
        found = read_address(secret)
        user = found.user or default_user or required_text(secret, user_key_of(secret))
        return UserLogin(user.reveal(), found.password or required_text(secret, PASSWORD_KEY))
    except InvalidDataError as error:
        message = str(error.copy(path=path))
    raise ConfigurationError(message)


def with_server(found: DatabaseAddress, host: str | None, port: int | None) -> DatabaseAddress:
    """Return the address with the host and the port of the rotator's options, if it has them.

    Raises:
        InvalidDataError: no host is left.
    """
    hosts = found.hosts if host is None else (Host(host, found.hosts[0].port if found.hosts else None),)
    if not hosts or not hosts[0].name:
        raise InvalidDataError(None, "the key 'host' of the secret is missing")
    return replace(found, hosts=hosts if port is None else tuple(Host(each.name, port) for each in hosts))


def check_arguments(driver: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Raise InvalidDataError if the driver does not know one of the arguments."""
    with suppress(TypeError):
        signature(driver).bind(**arguments)
        return
    raise InvalidDataError(None, "the driver does not know an option of the secret's URL")


def verifying_context(ca_cert: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in this file; None is the system's.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    fault = "it has no certificate"
    try:
        return ssl.create_default_context(cafile=ca_cert)
    except ssl.SSLError:
        pass
    except OSError as error:
        fault = type(error).__name__
    raise ConfigurationError(f"The file of the authority of the server cannot be used ({fault}): {ca_cert}")


def unverified() -> ConfigurationError:
    """Return the error for a server whose certificate the client does not trust."""
    return ConfigurationError(
        "The server's certificate cannot be verified. Check its host name and the authority's file"
    )


def is_unverified(error: BaseException | None) -> bool:
    """Return True if a failed check of the server's certificate is a cause of the error."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = getattr(error, "original_exception", None) or error.__cause__ or error.__context__  # PyMySQL's name
    return error is not None


def is_encrypted(server: Host, *, tls: bool | None) -> bool:
    """Return True if a connection needs TLS: `tls`, or by default unless the server is on this machine."""
    return not (server.is_socket or is_loopback(server.name)) if tls is None else tls

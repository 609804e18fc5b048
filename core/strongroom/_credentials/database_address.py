"""The one reader of database addresses: a URL, or the parts of a secret, as libpq reads them. Pure.

A parameter of the query wins over the same part before it. One port counts for all hosts; otherwise each host has its
own. A key of the secret fills a part that its URL lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from strongroom._chain.answer import MISSING, Missing
from strongroom.encoding import as_unicode
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveStr, Value

Kind: TypeAlias = Literal["PostgreSQL", "MySQL", "Redis"]

DATABASE_PATH = "database/connection"
WANTED = "key 'url', nor all of host, user, password and name"

_SCHEMES: dict[Kind, tuple[str, ...]] = {
    "PostgreSQL": ("postgresql", "postgres", "pgsql", "psql", "postgis", "cockroachdb", "redshift", "timescaledb"),
    "MySQL": ("mysql", "mariadb", "mysql2", "mysqlgis"),
    "Redis": ("redis", "rediss", "unix", "valkey", "valkeys"),
}
"""The schemes of URLs, before a `+`. The first one is that of a composed URL."""

_SERVER = {"host": "host", "port": "port", "user": "user", "password": "password"}
_IN_QUERY: dict[Kind | None, dict[str, str]] = {
    "PostgreSQL": {**_SERVER, "dbname": "name", "database": "name"},
    "MySQL": {**_SERVER, "unix_socket": "socket", "passwd": "password", "database": "name", "db": "name"},
    "Redis": {**_SERVER, "username": "user", "db": "name"},
    None: {"user": "user", "password": "password"},
}
"""The parameters of a query that are parts of the address: name -> part."""

_KEYS = {"user": ("user", "username"), "name": ("name", "dbname", "database")}
"""The keys of a secret for one part. Vault and AWS write `username`, AWS `dbname`."""

_TLS_KEYS = ("sslmode", "sslrootcert")
"""The keys of a secret that are options."""

_SCHEME = r"[A-Za-z][A-Za-z0-9+._-]*"  # compiled at first use
_URL = rf"({_SCHEME})://(?:([^/?#]*)@)?([^/?#@]*)(/[^?]*)?(?:\?(.*))?"
_HOST = r"(?:\[([^\[\]]+)\]|([^\[\]:\s]*))(?::([^\[\]:\s]*))?"
_NOT_QUOTED = r"%(?![0-9A-Fa-f]{2})|%00"
_PLUS = r"(?:^|&)(?:user|username|password|passwd)=[^&]*\+"  # a space for most drivers, a plus for libpq
_LOGIN = rf"({_SCHEME}://)([^/?#@:]*)(?::([^/?#]*))?(@[^/?#@]*(?:[/#].*)?)"
_OTHER_LOGIN = r"(?i)(?:^|[?&;\s])password\s*="  # such as `host=db password=…`


class Host(NamedTuple):
    """A server.

    Attributes:
        name: a name; an IP address; or a path: the folder of PostgreSQL's sockets, or the socket of MySQL or Redis.
        port: None is the usual one.
    """

    name: str
    port: int | None = None

    @property
    def is_socket(self) -> bool:
        """True for a Unix socket."""
        return self.name.startswith("/")


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseAddress:
    """The address of a database, and the login. Its `repr` shows nothing: each part is of a secret.

    Attributes:
        scheme: that of the URL, such as `postgresql+asyncpg`.
        hosts: the servers, in the order in which they are tried. Empty leaves the server to the driver.
        user, password: the login.
        name: the database.
        options: the other parameters of the query, in its order. One that is repeated counts with its last value.
    """

    scheme: str
    hosts: tuple[Host, ...] = ()
    user: SensitiveStr | None = None
    password: SensitiveStr | None = None
    name: SensitiveStr | None = None
    options: tuple[tuple[str, SensitiveStr], ...] = ()

    @property
    def kind(self) -> Kind | None:
        """The kind of database; None is one that Strongroom does not know, such as SQLite."""
        return _kind(self.scheme)

    @property
    def account(self) -> dict[str, str]:
        """`user` and `password`, as far as it has them, as plain text: asyncpg takes nothing else."""
        login = {"user": self.user, "password": self.password}
        return {key: value.reveal() for key, value in login.items() if value}

    def url(self) -> SensitiveStr:
        """Return the URL, with each part quoted, in the form that drivers agree on.

        Sockets and several hosts are in the query, the only place where SQLAlchemy reads them.
        """
        from urllib.parse import quote

        def quoted(text: str) -> str:
            return quote(text, safe="")

        scheme, pairs, hosts = self.scheme, self.options, list(self.hosts)
        where, path = "", "" if self.name is None else f"/{quoted(self.name)}"
        if hosts and hosts[0].is_socket and self.kind == "Redis":
            scheme, path = "unix", quote(hosts[0].name)
            pairs = (*pairs, ("db", self.name)) if self.name else pairs
        elif hosts and (len(hosts) > 1 or hosts[0].is_socket):
            is_mysql = self.kind == "MySQL"
            server = {"unix_socket" if is_mysql else "host": _names(hosts), "port": "" if is_mysql else _ports(hosts)}
            pairs = (*((key, SensitiveStr(value)) for key, value in server.items() if value), *pairs)
        elif hosts:
            name, port = hosts[0]
            where = (f"[{quote(name, safe=':')}]" if ":" in name else quoted(name)) + (f":{port}" if port else "")
        if scheme.endswith("+asyncpg"):  # its own name of the parameter, outside of its DSN
            pairs = tuple(("ssl" if key == "sslmode" else key, value) for key, value in pairs)
        account = quoted(self.user or "") + (f":{quoted(self.password)}" if self.password else "")
        where = f"{account}@{where}" if account else where
        query = "&".join(f"{quoted(key)}={quoted(value)}" for key, value in pairs)
        return SensitiveStr(f"{scheme}://{where}{path or ('/' if query else '')}{'?' if query else ''}{query}")

    def libpq(self) -> dict[str, Any]:
        """Return the address as keywords of libpq, for psycopg, without the login."""
        found = {"host": _names(self.hosts), "port": _ports(self.hosts), "dbname": self.name}
        return {**dict(self.options), **{key: value for key, value in found.items() if value}}

    def mysql(self) -> dict[str, Any]:
        """Return the address as arguments of PyMySQL and mysqlclient, without the login. Numbers have their types."""
        host = self.hosts[0] if self.hosts else Host("")
        server = {"unix_socket": host.name} if host.is_socket else {"host": host.name, "port": host.port}
        typed = {key: _typed(value) for key, value in self.options}
        return {**typed, **{key: value for key, value in {**server, "database": self.name}.items() if value}}

    def redis(self, path: str | None = None) -> dict[str, Any]:
        """Return the address as arguments of `redis.Redis`, without the login. It needs redis-py.

        Args:
            path: the path of the secret, for errors.

        Raises:
            InvalidDataError: the database is not a number, an option is of another type, or it asks for TLS in another
                way than by the scheme `rediss`.
        """
        from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

        scheme = self.scheme.replace("valkey", "redis")
        found: dict[str, Any] | None = None
        with suppress(ValueError):  # its message may have a part of the URL
            server = replace(self, scheme=scheme, user=None, password=None)
            found = dict(parse_url(server.url()))  # type: ignore[no-untyped-call]
        if found is None or not (self.name or "0").isdecimal():
            raise InvalidDataError(path, "key 'url' is not a URL of Redis", hint="Write redis://:password@host:6379/0")
        way = found.pop("connection_class", None)
        words = {key.lower() for key, _ in self.options}
        if "ssl" in words or (way is not SSLConnection and any(word.startswith("ssl") for word in words)):
            raise InvalidDataError(path, "key 'url' has options of TLS without TLS", hint="Write rediss://…")
        if way is UnixDomainSocketConnection:
            found["unix_socket_path"] = found.pop("path")
        return {**found, "ssl": way is SSLConnection}


def read_address(data: Mapping[str, Value], path: str | None = None, *, kind: Kind | None = None) -> DatabaseAddress:
    """Return the address in a secret: of its key `url`, or of its parts.

    A null or empty part counts as missing. `sslmode` and `sslrootcert` are options.

    Args:
        data: the secret.
        path: its path, for errors.
        kind: the database that the caller has a driver for; None takes any URL, and PostgreSQL for parts.

    Raises:
        InvalidDataError: the URL or a part is malformed, has an option without a value, or is that of another kind of
            database. A driver's message would quote it: mostly, its password has special characters that were not
            encoded.
    """
    url = _part(data, "url", path)
    found = _parsed(url) if url else DatabaseAddress(_SCHEMES[kind or "PostgreSQL"][0])
    if found is None:
        reason = "key 'url' is not a valid URL: write scheme://user:password@host/name"
        hint = "Encode special characters of user and password, such as @ as %40"
        raise InvalidDataError(path, reason, hint=hint)
    if kind is not None and found.kind != kind:
        raise InvalidDataError(path, f"key 'url' is not a URL of {kind}", hint=f"Write {_SCHEMES[kind][0]}://…")
    if found.kind is not None and not all(value for _, value in found.options):
        reason = "key 'url' has an option without a value, which some drivers would leave out"
        raise InvalidDataError(path, reason, hint="Delete the option, or write its value, such as sslmode=verify-full")
    if found.kind is not None:  # a file of SQLite needs none of the keys for another database
        own = dict(found.options)
        own |= {"sslmode": own["ssl"]} if "ssl" in own else {}  # another name of it
        tls = ((key, _part(data, key, path)) for key in _TLS_KEYS if key not in own)
        found = replace(
            found,
            hosts=_with_parts(found.hosts, data, path),
            user=found.user or _part(data, "user", path),
            password=found.password or _part(data, "password", path),
            name=found.name or _part(data, "name", path),
            options=(*found.options, *((key, value) for key, value in tls if value)),
        )
    if len(found.hosts) > 1 and found.kind in {"MySQL", "Redis"}:
        raise InvalidDataError(path, f"it names several hosts, and a driver of {found.kind} takes one")
    return found


def database_url(
    data: Mapping[str, Value], scheme: str | None = None, path: str = DATABASE_PATH
) -> SensitiveStr | Missing:
    """Return the `url` of the secret, or the one that its parts compose; `MISSING` if neither is complete.

    Args:
        data: the secret.
        scheme: see `with_scheme`. None is postgresql for a composed URL.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: see `read_address` and `with_scheme`. A stored URL that keeps its scheme is not read.
    """
    if url := _part(data, "url", path):
        return with_scheme(url, scheme, path)
    if not all(_part(data, key, path) for key in ("host", "user", "password", "name")):
        return MISSING
    found = read_address(data, path)
    return replace(found, scheme=scheme or found.scheme).url()


def check_scheme(scheme: object) -> None:
    """Raise ValueError if it is not the scheme of a URL, such as `postgresql+asyncpg`."""
    if scheme is not None and not (isinstance(scheme, str) and re.fullmatch(_SCHEME, scheme)):
        raise ValueError('scheme is the part of a URL before "://", such as postgresql+asyncpg')


def with_scheme(url: SensitiveStr, scheme: str | None, path: str = DATABASE_PATH) -> SensitiveStr:
    """Return the URL with this scheme in the place of its own; None keeps its own.

    Raises:
        InvalidDataError: a scheme is given, and the text is not a URL, such as `host=db dbname=app`.
    """
    if scheme is None:
        return url
    own, mark, rest = url.partition("://")
    is_url = mark and re.fullmatch(_SCHEME, own)
    if is_url:
        return SensitiveStr(f"{scheme}://{rest}")
    del own, rest
    raise InvalidDataError(path, "key 'url' is not a URL, so its scheme cannot be replaced")


def user_key_of(data: Mapping[str, Value]) -> str:
    """Return the key that holds the user's name: `user`, or `username` as Vault and AWS write it."""
    return _key(data, "user")


def changed_url(data: Mapping[str, Value], changes: Mapping[str, Value], path: str) -> dict[str, Value]:
    """Return the secret's `url` with the user or password of the changes; nothing if it stays, or is one of them.

    Args:
        data: the secret before.
        changes: the keys that change.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: see `url_with`; or the new user or password is not text.
    """
    url = data.get("url")
    if "url" in changes or not isinstance(url, str):
        return {}
    user_key = user_key_of({**data, **changes})
    user, password = (
        as_unicode("" if changes[key] is None else changes[key], path, key) if key in changes else None
        for key in (user_key, "password")
    )
    return {} if user is None and password is None else {"url": url_with(SensitiveStr(url), user, password, path)}


def url_with(
    url: SensitiveStr, user: str | None = None, password: str | None = None, path: str | None = None
) -> SensitiveStr:
    """Return the URL with another user and password, each only where the URL has one. None keeps its own.

    Args:
        url: such as `postgresql://app:password@db/name`. A text without a user and password is returned unchanged.
        user: the new user.
        password: the new password.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: the text holds a user or password in another way, such as unencoded.
    """
    from urllib.parse import quote

    head, mark, query = url.partition("?")
    found = re.fullmatch(_LOGIN, head, re.DOTALL)
    parts = _IN_QUERY[_kind(head.partition("://")[0])]
    new = {"user": user, "password": password}
    pairs = [pair.partition("=") for pair in query.split("&")]
    others = "&".join("".join(pair) for pair in pairs if parts.get(pair[0]) not in new)
    is_rewritable = (found or "@" not in url) and not re.search(_OTHER_LOGIN, f"{found[4] if found else head}?{others}")
    if is_rewritable:
        if found is not None:
            start, own_user, own_password, rest = found.groups()
            login = quote(user, safe="") if user is not None and own_user else own_user
            if own_password is not None:
                login += f":{own_password if password is None else quote(password, safe='')}"
            head = f"{start}{login}{rest}"
        values = (new.get(parts.get(key, "")) for key, _, _ in pairs)
        written = (
            pair if value is None else (*pair[:2], quote(value, safe=""))
            for pair, value in zip(pairs, values, strict=True)
        )
        return SensitiveStr(f"{head}{mark}{'&'.join(map(''.join, written))}")
    del found, head, query, pairs, others, new, url, password
    reason = "key 'url' holds a user or password that cannot be replaced"
    raise InvalidDataError(path, reason, hint="Set 'url' too, as scheme://user:password@host/name, percent-encoded")


def _kind(scheme: str) -> Kind | None:
    base = scheme.partition("+")[0].lower()
    return next((kind for kind, schemes in _SCHEMES.items() if base in schemes), None)


def _parsed(url: str) -> DatabaseAddress | None:
    """Return the address in a URL; None if it is malformed, or if drivers do not find the same login in it."""
    found = re.fullmatch(_URL, url, re.DOTALL)
    if found is None or not url.isprintable() or re.search(_NOT_QUOTED, url):
        return None
    scheme, login, where, path, query = found.groups()
    if login is None and where and "@" in f"{path}{query}":  # a password with a special character
        return None
    if re.search(r"[@\s\[\]]", login or "") or re.search(_PLUS, query or ""):
        return None
    try:
        return _of_parts(scheme, login or "", where, path or "", query or "")
    except ValueError:  # one for text that is not UTF-8 too. Its message may hold a part
        return None


def _of_parts(scheme: str, login: str, where: str, path: str, query: str) -> DatabaseAddress:
    from urllib.parse import parse_qsl, unquote

    def decoded(text: str) -> SensitiveStr | None:
        return SensitiveStr(unquote(text, errors="strict")) if text else None

    user, _, password = map(decoded, login.partition(":"))
    servers = [_host_and_port(text) for text in where.split(",")]
    names, ports = ([unquote(text, errors="strict") for text in texts] for texts in zip(*servers, strict=True))
    name = decoded(path[1:])
    if scheme == "unix":  # a socket of Redis
        names, name = [where + unquote(path, errors="strict")], None
    kind, options = _kind(scheme), []
    given: dict[str, list[str]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else ():
        if part := _IN_QUERY[kind].get(key):
            given.setdefault(part, []).append(value)
        else:
            options.append((key, SensitiveStr(value)))
    if "host" in given:
        servers = [_host_and_port(text, bare=True) for text in _listed(given["host"])]
        names = [host for host, _ in servers]
        ports = [port for _, port in servers] if any(port for _, port in servers) else ports
    names = given.get("socket", names)
    last = {part: SensitiveStr(values[-1]) for part, values in given.items() if values[-1]}
    return DatabaseAddress(
        scheme,
        _hosts(names, _listed(given["port"]) if "port" in given else ports),
        last.get("user", user),
        last.get("password", password),
        last.get("name", name),
        tuple(options),
    )


def _listed(values: list[str]) -> list[str]:
    """Return the values of a parameter that is a list, or that is repeated as in SQLAlchemy's URLs."""
    return values[-1].split(",") if len(values) == 1 else values


def _host_and_port(text: str, *, bare: bool = False) -> tuple[str, str]:
    """Return a host and its port, which may be empty. `bare`: the address of IPv6 may be without brackets."""
    from ipaddress import IPv6Address

    if bare and text.startswith("/"):
        return text, ""
    if bare and text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    found = re.fullmatch(_HOST, text)
    if found is None:
        raise ValueError
    address, name, port = found.groups("")
    return str(IPv6Address(address.replace("%25", "%"))) if address else name, port


def _hosts(names: list[str], ports: list[str]) -> tuple[Host, ...]:
    """Return the hosts with their ports. Raise ValueError if the numbers of both differ, or a port is not a number."""
    ports = ports * len(names) if len(ports) == 1 else ports
    if len(ports) != len(names) or (len(names) > 1 and not all(names)) or not all(map(_is_port, ports)):
        raise ValueError
    hosts = tuple(Host(name, int(port) if port else None) for name, port in zip(names, ports, strict=True))
    return () if hosts == (Host(""),) else hosts


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536)


def _with_parts(hosts: tuple[Host, ...], data: Mapping[str, Value], path: str | None) -> tuple[Host, ...]:
    """Return the hosts of a URL with the names or the ports that it lacks. A port belongs to the key `host`, if any."""
    own, own_ports = [host.name for host in hosts], [str(host.port or "") for host in hosts]
    host, port = (_part(data, key, path) or "" for key in ("host", "port"))
    if any(own) and (any(own_ports) or not port):
        return hosts
    servers: list[tuple[str, str]] | None = None
    with suppress(ValueError):
        servers = [_host_and_port(text, bare=True) for text in host.split(",")]
    if servers is None or any(server_port for _, server_port in servers):
        servers = None
        hint = "Give the port as key 'port', or the whole as key 'url'"
        raise InvalidDataError(path, "key 'host' holds more than a host", hint=hint)
    names = [name for name, _ in servers]
    if any(own) and host and names != own:
        return hosts
    with suppress(ValueError):
        return _hosts(own if any(own) else names, own_ports if any(own_ports) else port.split(","))
    servers = None
    raise InvalidDataError(path, "key 'port' does not hold a number, or one for each host")


def _key(data: Mapping[str, Value], part: str) -> str:
    keys = _KEYS.get(part, (part,))
    return next((key for key in keys if data.get(key)), keys[0])


def _part(data: Mapping[str, Value], part: str, path: str | None) -> SensitiveStr | None:
    key = _key(data, part)
    value: Value = data.get(key)
    return None if value is None or value == "" else as_unicode(value, path, key)


def _names(hosts: Sequence[Host]) -> str:
    return ",".join(host.name for host in hosts)


def _ports(hosts: Sequence[Host]) -> str:
    """Return the ports of PostgreSQL's hosts; empty for the usual one. SQLAlchemy wants one for each of several."""
    return ",".join(str(host.port or (5432 if len(hosts) > 1 else "")) for host in hosts)


def _typed(text: str) -> object:
    """Return a number or a boolean as such: a driver takes the text `false` for true."""
    if text.isascii() and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text)

"""The database URL of one secret: the stored one, or one composed of its parts, and its user and password. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from strongroom._chain.answer import MISSING, Missing
from strongroom.encoding import as_unicode
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveDict, SensitiveStr, Value

DATABASE_PATH = "database/connection"
WANTED = "key 'url', nor all of host, user, password and name"


DEFAULT_SCHEME = "postgresql"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"  # compiled at first use
_LOGIN = rf"({_SCHEME}://)([^/?#@:]*)(?::([^/?#]*))?(@[^/?#@]*(?:[/?#].*)?)"
_OTHER_FORM = r"(?i)(?:^|[?&;\s])password\s*="  # of a query, or of `host=db password=…`


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


def database_url(data: SensitiveDict, scheme: str | None = None, path: str = DATABASE_PATH) -> SensitiveStr | Missing:
    """Return the `url` of the secret, or `scheme://user:password@host[:port]/name` with each part quoted.

    A null or empty part counts as missing. Returns `MISSING` if neither form is complete. The user may be the key
    `username`: see `user_key_of`.

    Args:
        data: the secret.
        scheme: see `with_scheme`. None is postgresql for a composed URL.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: the host contains a port, or the port is not a number.
    """
    from urllib.parse import quote

    if url := _part(data, "url", path):
        return with_scheme(url, scheme, path)
    host, user, password, name = (_part(data, key, path) for key in ("host", user_key_of(data), "password", "name"))
    if not (host and user and password and name):
        return MISSING
    port = _part(data, "port", path)
    if port and not (port.isascii() and port.isdecimal()):
        raise InvalidDataError(path, "key 'port' does not hold a number")
    address = ",".join(_address(SensitiveStr(part), path) for part in host.split(","))
    where = f"{address}:{port}" if port else address
    scheme = scheme or DEFAULT_SCHEME
    return SensitiveStr(f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{where}/{quote(name, safe='')}")


def user_key_of(data: Mapping[str, Value]) -> str:
    """Return the key that holds the user's name: `user`, or `username` as Vault and AWS write it."""
    return "username" if data.get("username") and not data.get("user") else "user"


def changed_url(data: Mapping[str, Value], changes: Mapping[str, Value], path: str) -> dict[str, Value]:
    """Return the secret's `url` with the user or password of the changes; nothing if it stays, or is one of them.

    Args:
        data: the secret before.
        changes: the keys that change.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: see `url_with`; or the new user or password is not text.
    """
    url, user_key = data.get("url"), user_key_of({**data, **changes})
    if "url" in changes or not isinstance(url, str):
        return {}
    user, password = (
        as_unicode("" if changes[key] is None else changes[key], path, key) if key in changes else None
        for key in (user_key, "password")
    )
    return {} if user is None and password is None else {"url": url_with(SensitiveStr(url), user, password, path)}


def url_with(
    url: SensitiveStr, user: str | None = None, password: str | None = None, path: str | None = None
) -> SensitiveStr:
    """Return the URL with another user and password, each only if the URL has one. None keeps its own.

    Args:
        url: such as `postgresql://app:password@db/name`. A text without a user and password is returned unchanged.
        user: the new user.
        password: the new password.
        path: the path of the secret, for errors.

    Raises:
        InvalidDataError: the text holds a user or password in another way, such as unencoded or in the query.
    """
    from urllib.parse import quote

    found = re.fullmatch(_LOGIN, url, re.DOTALL)
    is_rewritable = found or "@" not in url
    if is_rewritable and not re.search(_OTHER_FORM, found[4] if found else url):
        if found is None:
            return url
        start, own_user, own_password, rest = found.groups()
        login = quote(user, safe="") if user is not None and own_user else own_user
        if own_password is not None:
            login += f":{own_password if password is None else quote(password, safe='')}"
        return SensitiveStr(f"{start}{login}{rest}")
    del found, is_rewritable, url, password
    reason = "key 'url' holds a user or password that cannot be replaced"
    raise InvalidDataError(path, reason, hint="Set 'url' too, as scheme://user:password@host/name, percent-encoded")


def _address(host: SensitiveStr, path: str) -> str:
    """Return a host as it appears in a URL: a name, an address, or the quoted folder of a PostgreSQL socket."""
    from urllib.parse import quote

    if ":" not in host or host.startswith("/"):
        return quote(host, safe="")
    from ipaddress import IPv6Address

    try:
        return f"[{quote(str(IPv6Address(host.removeprefix('[').removesuffix(']'))), safe=':')}]"
    except ValueError:
        hint = "Give the port as key 'port', or the whole as key 'url'"
        refusal = InvalidDataError(path, "key 'host' holds more than a host", hint=hint)
    raise refusal


def _part(data: SensitiveDict, key: str, path: str) -> SensitiveStr | None:
    value: Value = data.get(key)
    return None if value is None else as_unicode(value, path, key)
